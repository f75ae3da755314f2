# SPDX-License-Identifier: GPL-2.0-or-later
"""An entry of a filter list: its keys, what they say together, and the filters it stands for.

Lists of addresses make a filter for each pair of source and destination, all at the same place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import Any, Final

from xfrmd import limits
from xfrmd.model.addresses import BITS
from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6, PROTOCOL_NAMES, WITH_PORTS, Ports
from xfrmd.policy.addresses import ADDRESSES, MASK, SERVERS, Block, literal, mask_length
from xfrmd.policy.kinds import FLAG, Kind, Schema, integer, list_of, number, scalar, text
from xfrmd.policy.nodes import Node, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.protocols import ICMP_TYPES, PROTOCOLS
from xfrmd.policy.records import Field, Read, Record
from xfrmd.policy.words import AddressSpec, AddressWord, Filter

_PORTS: Final = re.compile(r"([0-9]+)\s*-\s*([0-9]+)", re.ASCII)
_PORT_FORMS: Final = "a port such as 80, a range such as 8000-8100, or a list such as [80, 443]"


def _read_protocol(node: Node, problems: Problems) -> Any:
    word = scalar(node, problems, "one protocol; another one needs a filter of its own")
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


def _read_range(value: str, node: Node, problems: Problems) -> Any:
    """One port or range of ports."""
    if value == "any":
        return ANY_PORT
    match = _PORTS.fullmatch(value)
    ends = [number(part, node, problems, _PORT_FORMS) for part in (match.groups() if match else (value,))]
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


def _read_ports(node: Node, problems: Problems) -> Any:
    """Ranges of ports in ascending order, whatever their order in the file: it has no meaning."""
    items = node.items if isinstance(node, SequenceNode) else [node]
    if not items:
        return problems.error(node, "the list of ports is empty", "add ports, or remove the key for any port")
    if len(items) > limits.PORT_RANGES:
        return problems.error(node, f"the list has {len(items)} entries", f"write {limits.PORT_RANGES} at most")
    found: dict[Any, None] = {}
    for item in items:
        text = scalar(item, problems, "a port or a range of ports")
        parts = [] if text is None else text.split(",", limits.PORT_RANGES)
        for part in parts:
            one = _read_range(part.strip() if len(parts) > 1 else part, item, problems)
            if one in found and one is not BAD:
                problems.warning(item, f"port {one} stands twice in the list", "remove one of the two")
            found[one] = None
        if text is None:
            found[BAD] = None
    if BAD in found:
        return BAD
    if ANY_PORT in found and len(found) > 1:
        return problems.error(node, "any port is meant, and others beside it", "remove the 0, or all the others")
    return tuple(sorted(found))


_PORT: Final[Schema] = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": 65535}, {"type": "string", "pattern": "^(any|[0-9 ,-]+)$"}]
}
PORTS: Final = Kind(
    "a port, a range such as 1000-2000, or a list of these (0 is any)",
    {"anyOf": [*_PORT["anyOf"], {"type": "array", "items": _PORT, "minItems": 1, "maxItems": limits.PORT_RANGES}]},
    _read_ports,
)
_ANY_PORTS: Final = (ANY_PORT,)


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
    return literal(block, read.place(f"{side}addr"), problems)


def _addresses(read: Read, side: str, problems: Problems) -> Any:
    """What one side of a filter may be: a list, mostly of one."""
    if not read.good(f"{side}addr", f"{side}mask"):
        return BAD
    spec = read[f"{side}addr"]
    if isinstance(spec, Block):
        found = _literal(read, side, spec, problems)
        return found if found is BAD else [found]
    if read.given(f"{side}mask"):
        beside = spec.value if isinstance(spec, AddressWord) else _FORMS_WITHOUT_MASK[type(spec)]
        remedy = f"remove {side}mask, or write an address"
        return problems.error(read.place(f"{side}mask"), f"a mask has no meaning beside {beside}", remedy)
    return spec if isinstance(spec, list) else [spec]


_FORMS_WITHOUT_MASK: Final[dict[type, str]] = {tuple: "a range", str: "a DNS name", list: "a list"}


def _families(specs: Iterable[AddressSpec]) -> set[int]:
    return {spec[0].family for spec in specs if isinstance(spec, tuple)}


def _meet(src: AddressSpec, dst: AddressSpec) -> bool:
    """Can there be a packet between the two? Not between literal addresses of two IP versions."""
    return not (isinstance(src, tuple) and isinstance(dst, tuple) and src[0].family != dst[0].family)


def _check_families(sources: list[Any], destinations: list[Any], read: Read, problems: Problems) -> None:
    for ours, others, side in ((sources, destinations, "src"), (destinations, sources, "dst")):
        lonely = next((one for one in ours if not any(_meet(one, other) for other in others)), None)
        if lonely is not None:
            one = "one end" if len(ours) == 1 else str(lonely[0])
            message = f"{one} is {_VERSION[lonely[0].family]} and the other {_VERSION[10 - lonely[0].family]}"
            remedy = "write both ends in one IP version, or me or any at one end"
            place = read.place(f"{side}addr" if len(ours) > 1 else "dstaddr")
            problems.error(place, f"{message}: no packet is both", remedy)
            return
    families = _families((*sources, *destinations))
    if read["protocol"] == ICMPV6 and families == {4}:
        problems.error(read.place("protocol"), "icmpv6 does not run over IPv4", "write icmp")
    elif read["protocol"] == ICMP and families == {6} and read.given("icmptype"):
        problems.error(read.place("protocol"), "ICMP types over IPv6 are those of icmpv6", "write icmpv6")


_VERSION: Final = {4: "IPv4", 6: "IPv6"}


def _check_words(sources: list[Any], destinations: list[Any], read: Read, problems: Problems) -> None:
    """Servers are a host's own, so at the other end is the host itself. Windows has the same rule."""
    for ours, others, side in ((sources, destinations, "dst"), (destinations, sources, "src")):
        server = next((one for one in ours if one in _SERVERS), None)
        if server is not None and others != [AddressWord.ME]:
            message = f"{server.value} stands for addresses of this host's network, so the other end must be me"
            problems.error(read.place(f"{side}addr"), message, f"write {side}addr: me, or write addresses at both ends")
            return
    if AddressWord.ME in sources and AddressWord.ME in destinations:
        remedy = "write any or an address at one end"
        problems.warning(read.place("dstaddr"), "traffic of this host with itself is never filtered", remedy)


_SERVERS: Final = frozenset(SERVERS.values())


def _check_ports(read: Read, problems: Problems) -> None:
    protocol = read["protocol"]
    for key in ("srcport", "dstport"):
        if read.good("protocol", key) and protocol not in WITH_PORTS and read[key] != _ANY_PORTS:
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
        return (_ANY_PORTS, _ANY_PORTS)
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
    return ((Ports(kind, kind),), (code,))


def _build(read: Read, problems: Problems) -> Any:
    errors = problems.errors
    sources, destinations = _addresses(read, "src", problems), _addresses(read, "dst", problems)
    _check_ports(read, problems)
    icmp = _icmp_type(read, problems)
    if sources is not BAD and destinations is not BAD:
        _check_words(sources, destinations, read, problems)
        if read.good("protocol"):
            _check_families(sources, destinations, read, problems)
    if not read.whole or problems.errors != errors:
        return BAD
    sports, dports = icmp if read.given("icmptype") else (read["srcport"], read["dstport"])
    count = len(sources) * len(destinations) * len(sports) * len(dports)
    if count > limits.FILTER_PRODUCT:
        remedy = f"write subnets and ranges: one entry may stand for {limits.FILTER_PRODUCT}"
        return problems.error(read.at, f"this entry stands for {count} filters", remedy)
    more = (read["protocol"], sports, dports, read["mirrored"], read["description"])
    return [Filter(src, dst, read.at, *more) for src, dst in product(sources, destinations) if _meet(src, dst)]


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
        Field("srcaddr", ADDRESSES, "source", required=True, netsh="srcaddr"),
        Field("dstaddr", ADDRESSES, "destination, in the same forms", required=True, netsh="dstaddr"),
        Field("srcmask", MASK, "mask or length of srcaddr, when it is not written behind it", netsh="srcmask"),
        Field("dstmask", MASK, "mask or length of dstaddr, when it is not written behind it", netsh="dstmask"),
        Field("protocol", PROTOCOL, "IP protocol by name or number", default=0, shown="any", netsh="protocol"),
        Field("srcport", PORTS, "source port", default=_ANY_PORTS, shown="0, which is any", netsh="srcport"),
        Field("dstport", PORTS, "destination port", default=_ANY_PORTS, shown="0, which is any", netsh="dstport"),
        Field("icmptype", ICMP_TYPE, "ICMP type, with protocol icmp or icmpv6", shown="any"),
        Field("icmpcode", _OCTET, "ICMP code, beside icmptype", shown="any"),
        Field("mirrored", FLAG, "yes: packets of the other direction too", default=True, shown="yes", netsh="mirrored"),
        Field("description", text(lines=True), "free text", default="", shown="empty", netsh="description"),
    ),
    build=_build,
)


def _read_filters(node: Node, problems: Problems) -> Any:
    entries = _ENTRIES.read(node, problems)
    return BAD if entries is BAD else [one for entry in entries for one in entry]


_ENTRIES: Final = list_of(FILTER.kind(), "filters")
FILTERS: Final = Kind(_ENTRIES.words, _ENTRIES.schema, _read_filters)
