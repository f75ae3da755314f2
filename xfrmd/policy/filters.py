# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter of a filter list: its keys, and what they say together."""

from __future__ import annotations

import re
from typing import Any, Final

from xfrmd.model.addresses import BITS, Prefix
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, PROTOCOL_NAMES, WITH_PORTS, Ports
from xfrmd.policy.addresses import ADDRESS, FORMS, MASK, Block, host_bits_remedy, mask_length, prefix_of
from xfrmd.policy.kinds import FLAG, Kind, integer, number, scalar, text
from xfrmd.policy.nodes import Node
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.protocols import ICMP_TYPES, PROTOCOLS
from xfrmd.policy.records import Field, Read, Record
from xfrmd.policy.words import AddressWord, Filter

_PORTS: Final = re.compile(r"([0-9]+)\s*-\s*([0-9]+)", re.ASCII)
_LOOPBACK: Final = (Prefix(4, 127 << 24, 8), Prefix(6, 1, 128))


def _read_protocol(node: Node, problems: Problems) -> Any:
    word = scalar(node, problems, "a protocol")
    if word is None:
        return BAD
    found = PROTOCOLS.get(word) if word in PROTOCOLS else PROTOCOLS.get(word.casefold())
    if found is not None:
        return found
    if not word[:1].isdigit():
        remedy = did_you_mean(word, PROTOCOLS, "write any, tcp, udp, icmp, icmpv6 or a number from 0 to 255")
        return problems.error(node, f"{quoted(word)} is no protocol known here", remedy)
    value = number(word, node, problems)
    if value is not BAD and value > 255:
        return problems.error(node, f"protocol {value} does not exist", "write a number from 0 (any) to 255")
    return value


PROTOCOL: Final = Kind(
    "any, tcp, udp, icmp, icmpv6, another name, or a number (0 is any)",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "string"}]},
    _read_protocol,
)


def _read_ports(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, "a port or a range of ports")
    if value is None:
        return BAD
    if value == "any":
        return ANY_PORT
    match = _PORTS.fullmatch(value)
    ends = [number(part, node, problems) for part in (match.groups() if match else (value,))]
    if BAD in ends:
        return BAD
    if max(ends) > 65535:
        return problems.error(node, f"port {max(ends)} does not exist", "write a port from 0 (any) to 65535")
    if ends == [0]:
        return ANY_PORT
    if ends[0] > ends[-1]:
        remedy = f"write {ends[-1]}-{ends[0]}"
        return problems.error(node, f"the range {value} ends before it begins", remedy)
    return Ports(ends[0], ends[-1])


PORTS: Final = Kind(
    "a port, or a range such as 1000-2000 (0 is any)",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 65535}, {"type": "string", "pattern": "^(any|[0-9 -]+)$"}]},
    _read_ports,
)


def _literal(read: Read, side: str, block: Block, problems: Problems) -> Any:
    """The prefix of a literal address with the mask that may stand beside it."""
    mask = f"{side}mask"
    if read.given(mask):
        if block.length is not None:
            place = read.place(mask)
            return problems.error(place, f"{side}addr has a length already", f"remove /{block.length} or {mask}")
        length = mask_length(read[mask], block.family)
        if length is None:
            forms = "255.255.0.0 or 16" if block.family == 4 else f"a length from 0 to {BITS[6]}"
            return problems.error(read.place(mask), f"{quoted(read[mask])} is no mask for {side}addr", f"write {forms}")
        block = block._replace(length=length)
    prefix = prefix_of(block)
    if prefix is None:
        place = read.place(f"{side}addr")
        return problems.error(place, f"bits behind the prefix /{block.length} are set", host_bits_remedy(block))
    if prefix.is_host and prefix.value == 0:
        return problems.error(
            read.place(f"{side}addr"), f"{prefix} is no host's address", "write any for all addresses"
        )
    if any(loop.contains(prefix) for loop in _LOOPBACK):
        remedy = "remove the filter; write me for this host's own addresses"
        problems.warning(
            read.place(f"{side}addr"), f"loopback traffic is never filtered, so {prefix} has no effect", remedy
        )
    return (prefix,)


def _address(read: Read, side: str, problems: Problems) -> Any:
    if not read.good(f"{side}addr", f"{side}mask"):
        return BAD
    spec = read[f"{side}addr"]
    if isinstance(spec, tuple) and not isinstance(spec, Block):
        return spec if not read.given(f"{side}mask") else _no_mask(read, side, "a range", problems)
    if isinstance(spec, Block):
        return _literal(read, side, spec, problems)
    return spec if not read.given(f"{side}mask") else _no_mask(read, side, spec.value, problems)


def _no_mask(read: Read, side: str, beside: str, problems: Problems) -> Any:
    remedy = f"remove {side}mask, or write an address"
    return problems.error(read.place(f"{side}mask"), f"a mask has no meaning beside {beside}", remedy)


def _check_families(src: Any, dst: Any, read: Read, problems: Problems) -> None:
    families = {spec[0].family for spec in (src, dst) if isinstance(spec, tuple)}
    if len(families) == 2:
        remedy = "write both ends in one IP version, or me or any at one end"
        problems.error(read.place("dstaddr"), "one end is IPv4 and the other IPv6: no packet is both", remedy)
    elif read["protocol"] == ICMPV6 and families == {4}:
        problems.error(read.place("protocol"), "icmpv6 does not run over IPv4", "write icmp")
    elif read["protocol"] == ICMP and families == {6} and read.given("icmptype"):
        problems.error(read.place("protocol"), "ICMP types over IPv6 are those of icmpv6", "write icmpv6")


def _check_ports(read: Read, problems: Problems) -> None:
    protocol = read["protocol"]
    for key in ("srcport", "dstport"):
        if read.good("protocol", key) and protocol not in WITH_PORTS and not read[key].is_any:
            place = read.place(key)
            if protocol == 0:
                problems.error(place, f"{key} needs a protocol that has ports", "add protocol: tcp or protocol: udp")
            else:
                name = PROTOCOL_NAMES.get(protocol, str(protocol))
                problems.error(place, f"protocol {name} has no ports", f"remove {key}, or write protocol: tcp or udp")


def _icmp_type(read: Read, problems: Problems) -> Any:
    """ICMP type and code as a selector holds them: in place of the ports."""
    if not read.given("icmptype"):
        if read.given("icmpcode"):
            return problems.error(read.place("icmpcode"), "icmpcode needs an icmptype", "add icmptype")
        return (ANY_PORT, ANY_PORT)
    if not read.good("protocol", "icmptype", "icmpcode"):
        return BAD
    names = ICMP_TYPES.get(read["protocol"])
    place = read.place("icmptype")
    if names is None:
        return problems.error(place, "icmptype needs protocol icmp or icmpv6", "write protocol: icmp or icmpv6")
    value = read["icmptype"]
    kind = names.get(value, value)
    if isinstance(kind, str):
        remedy = did_you_mean(kind, names, f"write a number from 0 to 255, or one of {', '.join(names)}")
        return problems.error(place, f"{quoted(kind)} is no type of this protocol known here", remedy)
    code = ANY_PORT if read["icmpcode"] is None else Ports(read["icmpcode"], read["icmpcode"])
    return (Ports(kind, kind), code)


def _build(read: Read, problems: Problems) -> Any:
    errors = problems.errors
    src, dst = _address(read, "src", problems), _address(read, "dst", problems)
    _check_ports(read, problems)
    icmp = _icmp_type(read, problems)
    if src is not BAD and dst is not BAD and read.good("protocol"):
        _check_families(src, dst, read, problems)
    if src is AddressWord.ME and dst is AddressWord.ME:
        remedy = "write any or an address at one end"
        problems.warning(read.place("dstaddr"), "traffic of this host with itself is never filtered", remedy)
    if not read.whole or problems.errors != errors:
        return BAD
    sport, dport = icmp if read.given("icmptype") else (read["srcport"], read["dstport"])
    return Filter(src, dst, read.at, read["protocol"], (sport,), (dport,), read["mirrored"], read["description"])


def _read_icmp_type(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, "an ICMP type")
    if value is None or not value[:1].isdigit():
        return BAD if value is None else value.casefold()
    return _OCTET.read(node, problems)


_OCTET: Final = integer(0, 255)
ICMP_TYPE: Final = Kind(
    "a number from 0 to 255, or a name such as echo-request",
    {"anyOf": [_OCTET.schema, {"type": "string"}]},
    _read_icmp_type,
)

FILTER: Final = Record(
    "filter",
    "Which packets: both addresses, the protocol, both ports. All that is given must match.",
    (
        Field("srcaddr", ADDRESS, f"source: {FORMS}", required=True, netsh="srcaddr"),
        Field("dstaddr", ADDRESS, "destination, in the same forms", required=True, netsh="dstaddr"),
        Field("srcmask", MASK, "mask or length of srcaddr, when it is not written behind it", netsh="srcmask"),
        Field("dstmask", MASK, "mask or length of dstaddr, when it is not written behind it", netsh="dstmask"),
        Field("protocol", PROTOCOL, "IP protocol by name or number", default=0, shown="any", netsh="protocol"),
        Field("srcport", PORTS, "source port", default=ANY_PORT, shown="0, which is any", netsh="srcport"),
        Field("dstport", PORTS, "destination port", default=ANY_PORT, shown="0, which is any", netsh="dstport"),
        Field("icmptype", ICMP_TYPE, "ICMP type, with protocol icmp or icmpv6", shown="any"),
        Field("icmpcode", _OCTET, "ICMP code, beside icmptype", shown="any"),
        Field("mirrored", FLAG, "yes: packets of the other direction too", default=True, shown="yes", netsh="mirrored"),
        Field("description", text(), "free text", default="", shown="empty", netsh="description"),
    ),
    build=_build,
)
