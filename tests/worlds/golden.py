# SPDX-License-Identifier: GPL-2.0-or-later
"""A world in the words of the files that a golden case consists of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from tests.worlds.world import World
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, PROTOCOL_NAMES, WITH_PORTS, Packet, Ports
from xfrmd.policy.words import AddressSpec, AddressWord, Filter, Rule, Unresolved


def _end(spec: AddressSpec) -> str:
    if isinstance(spec, AddressWord):
        return spec.value
    if isinstance(spec, str):
        return spec
    if len(spec) == 1:
        return str(spec[0])
    return f"{spec[0].address}-{Address(spec[-1].family, spec[-1].last)}"


def _ports(ranges: tuple[Ports, ...], *, icmp: bool) -> str:
    texts = [str(ports) if ports != Ports(0, 0) or icmp else "0-0" for ports in ranges]  # 0 is any port
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _filter(one: Filter) -> str:
    words = [f"srcaddr: {json.dumps(_end(one.src))}", f"dstaddr: {json.dumps(_end(one.dst))}"]
    if one.protocol:
        words.append(f"protocol: {PROTOCOL_NAMES.get(one.protocol, one.protocol)}")
    icmp = one.protocol in (ICMP, ICMPV6)
    for key, ranges in (
        ("icmptype" if icmp else "srcport", one.sports),
        ("icmpcode" if icmp else "dstport", one.dports),
    ):
        if ranges != (ANY_PORT,):
            words.append(f"{key}: {_ports(ranges, icmp=icmp)}")
    if not one.mirrored:
        words.append("mirrored: no")
    return f"      - {{{', '.join(words)}}}"


def _action(rule: Rule, name: str) -> str:
    flags = "".join(f", {flag}: yes" for flag in ("inpass", "soft") if getattr(rule.filter_action, flag))
    return f"  - {{name: {name}, action: {rule.filter_action.action.value}{flags}}}"


def policy_text(world: World) -> str:
    """The policy file."""
    lists, actions, rules = [], [], []
    for number, rule in enumerate(world.rules, 1):
        lists += [f"  - name: list {number}", "    filters:", *map(_filter, rule.filter_list.filters)]
        name = f"action {number}" if rule.tunnel is None else "tunnel"  # both halves of a tunnel have the same
        actions.append(_action(rule, name))
        words = [f"name: rule {number}", f"filterlist: list {number}", f"filteraction: {name}"]
        if rule.auth:
            words.append("psk: {file: /etc/xfrmd/psk}")
        if rule.conntype.value != "all":
            words.append(f"conntype: {rule.conntype.value}")
        if not rule.active:
            words.append("activate: no")
        if rule.tunnel is not None:
            words.append(f"tunnel: {json.dumps(str(rule.tunnel))}")
        rules.append(f"      - {{{', '.join(words)}}}")
    level = world.policies.config.ipsecexempt
    config = [f"config: {{ipsecexempt: {level}}}"] if level != 3 else []
    head = ["# A counterexample that was found and shrunk.", "version: 1", *config]
    policies = ["policies:", "  - name: Test", "    assign: yes"]
    if world.policy.unresolved is not Unresolved.KEEP:
        policies.append(f"    unresolved: {world.policy.unresolved.value}")
    if world.policy.default_response is not None:
        policies += ["    activatedefaultrule: yes", "    defaultrule: {psk: {file: /etc/xfrmd/psk}}"]
    policies += ["    rules:", *rules]
    return "\n".join([*head, "filterlists:", *lists, "filteractions:", *dict.fromkeys(actions), *policies, ""])


def _list(addresses: Iterable[Address]) -> str:
    return f"[{', '.join(json.dumps(str(address)) for address in addresses)}]"


def facts_text(host: HostFacts) -> str:
    """The facts file."""
    lines = ["interfaces:"]
    for one in host.interfaces:
        own = ", ".join(f'"{address}/{length}"' for address, length in one.addresses)
        lines.append(f"  - {{name: {one.name}, kind: {one.kind.value}, addresses: [{own}]}}")
    servers = ("dns_servers", "wins_servers", "dhcp_servers", "default_gateways")
    lines += [f"{key}: {_list(getattr(host, key))}" for key in servers]
    names = {name: addresses for name, addresses in host.names.items() if addresses}
    if names:
        lines += ["names:", *(f"  {name}: {_list(addresses)}" for name, addresses in names.items())]
    return "\n".join([*lines, ""])


def packet_text(packet: Packet) -> str:
    """A line of packets.txt."""
    selector = packet.selector
    protocol = PROTOCOL_NAMES.get(selector.protocol, selector.protocol)
    words = [f"direction={'in' if packet.inbound else 'out'} src={selector.src} dst={selector.dst} protocol={protocol}"]
    if selector.protocol in (ICMP, ICMPV6):
        words.append(f"type={selector.sport} code={selector.dport}")
    elif selector.protocol in WITH_PORTS:
        words.append(f"sport={selector.sport.first} dport={selector.dport.first}")
    return " ".join(words)


def case(world: World, packets: Iterable[Packet]) -> Iterator[tuple[str, str]]:
    """The input files of a golden case with their names."""
    yield "policy.yaml", policy_text(world)
    yield "facts.yaml", facts_text(world.host)
    yield "packets.txt", "".join(f"{packet_text(packet)}\n" for packet in packets)


def story(world: World, packets: Iterable[Packet], said: Iterable[str]) -> str:
    """What a test tells about a failure: who said what, and a golden case to keep."""
    files = "\n".join(f"--- tests/golden/compiler/NAME/{name}\n{text}" for name, text in case(world, packets))
    return "\n".join([*said, "", files])
