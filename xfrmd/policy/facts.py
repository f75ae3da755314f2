# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts about a host from a YAML file, for work without that host: `--facts FILE`."""

from __future__ import annotations

from typing import Any, Final

from xfrmd import limits
from xfrmd.model.addresses import BITS, Address, is_nobody
from xfrmd.model.facts import HostFacts, Interface, InterfaceAddress, InterfaceKind
from xfrmd.policy.addresses import dns_name, ip, mask_length
from xfrmd.policy.composer import compose
from xfrmd.policy.kinds import Kind, list_of, scalar, text, word
from xfrmd.policy.nodes import MappingNode, Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, quoted
from xfrmd.policy.records import Field, Read, Record


def _read_host(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, "an address")
    if value is None:
        return BAD
    address = ip(value)
    if address is None:
        return problems.error(node, f"{quoted(value)} is no address", "write a.b.c.d or an IPv6 address")
    return BAD if _is_refused(address, value, node, problems) else address


def _is_refused(address: Address, value: str, node: Node, problems: Problems) -> bool:
    """Is it an address that no facts of a real host hold? What DNS and leases say at run time is judged alike."""
    if not is_nobody(address):
        return False
    message = f"{quoted(value)} is no address of one host: it is unspecified, loopback, multicast or broadcast"
    problems.error(node, message, "write the address that the host has on the network, or remove it")
    return True


def _read_own(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, "an address with its prefix length")
    if value is None:
        return BAD
    first, slash, mask = value.partition("/")
    address = ip(first)
    if address is None:
        return problems.error(node, f"{quoted(value)} is no address", "write it as 10.1.0.5/16")
    if _is_refused(address, first, node, problems):
        return BAD
    length = mask_length(mask, address.family) if slash else BITS[address.family]
    if length is None:
        return problems.error(node, f"{quoted(mask)} is no prefix length", f"write /0 to /{BITS[address.family]}")
    return InterfaceAddress(address, length)


_HOSTS: Final = list_of(Kind("an address", {"type": "string"}, _read_host), "addresses", empty=True)


def _read_names(node: Node, problems: Problems) -> Any:
    if not isinstance(node, MappingNode):
        return problems.error(node, "expected is a mapping of names to addresses", "write host.example: [10.1.0.5]")
    found: dict[str, tuple[Address, ...]] = {}
    for key, value in node.pairs:
        name = dns_name(key.value) if isinstance(key, ScalarNode) else None
        if name is None:
            problems.error(key, "expected is a DNS name with a dot", "write host.example: [10.1.0.5]")
        elif name in found:
            problems.error(key, f"{quoted(name)} stands twice", "write all its addresses in one list")
        else:
            found[name] = _answer(name, value, problems)
    return found


def _read_redirects(node: Node, problems: Problems) -> Any:
    if not isinstance(node, MappingNode):
        return problems.error(node, "expected is a mapping of addresses to addresses", "write 10.1.0.5: 10.1.0.6")
    found: dict[Address, Address] = {}
    for key, value in node.pairs:
        end, gateway = _read_host(key, problems), _read_host(value, problems)
        if end in found:
            problems.error(key, f"{end} stands twice", "a tunnel ends in one place")
        elif BAD not in (end, gateway):
            found[end] = gateway
    return found


def _answer(name: str, node: Node, problems: Problems) -> tuple[Address, ...]:
    """The addresses of a name: such as DNS could give it."""
    addresses = _HOSTS.read(node, problems)
    if addresses is BAD:
        return ()
    if isinstance(node, SequenceNode) and not node.items:
        problems.error(node, f"{name} has no address here", "leave the name out: it has none then, as in DNS")
    for family in BITS:
        count = sum(address.family == family for address in addresses)
        if count > limits.NAME_ADDRESSES:
            message = f"{name} has {count} IPv{family} addresses, an answer has {limits.NAME_ADDRESSES} at most"
            problems.error(node, message, "name a subnet in the policy in the place of the name")
    return tuple(addresses)


def _build_interface(read: Read, problems: Problems) -> Any:
    del problems
    if not read.whole:
        return BAD
    return Interface(read["name"], read["kind"], tuple(read["addresses"]))


_KINDS: Final = {kind.value: kind for kind in InterfaceKind}
_OWN: Final = Kind("an address with its prefix length", {"type": "string"}, _read_own)
INTERFACE: Final = Record(
    "interface",
    "A network interface.",
    (
        Field("name", text("a name", 1, 64), "name of the interface", required=True),
        Field("kind", word(_KINDS), "lan or dialup", default=InterfaceKind.LAN, shown="lan"),
        Field("addresses", list_of(_OWN, "addresses", empty=True), "its addresses", default=()),
    ),
    build=_build_interface,
)
FACTS: Final = Record(
    "facts file",
    "What the words of a policy stand for on one host.",
    (
        Field("interfaces", list_of(INTERFACE.kind(), "interfaces", empty=True), "behind me", default=()),
        Field("dns_servers", _HOSTS, "behind dns-servers", default=()),
        Field("wins_servers", _HOSTS, "behind wins-servers", default=()),
        Field("dhcp_servers", _HOSTS, "behind dhcp-server", default=()),
        Field("default_gateways", _HOSTS, "behind default-gateway", default=()),
        Field("names", Kind("names", {"type": "object"}, _read_names), "addresses by DNS name", default=None),
        Field(
            "redirects",
            Kind("redirects", {"type": "object"}, _read_redirects),
            "gateways where tunnels end, by those that have sent us there",
            default=None,
        ),
    ),
)
_FACTS: Final = FACTS.kind()


def load_facts(source: str | bytes, file: str) -> HostFacts:
    """Read a facts file; every key may be absent, and an empty file is a host without addresses.

    Raises PolicyErrors with every problem of the file.
    """
    problems = Problems(file)
    root = compose(source, problems)
    problems.check()
    if root is None:
        return HostFacts()
    read = _FACTS.read(root, problems)
    problems.check()
    return HostFacts(
        interfaces=tuple(read["interfaces"]),
        dns_servers=tuple(read["dns_servers"]),
        wins_servers=tuple(read["wins_servers"]),
        dhcp_servers=tuple(read["dhcp_servers"]),
        default_gateways=tuple(read["default_gateways"]),
        names=read["names"] or {},
        redirects=read["redirects"] or {},
    )
