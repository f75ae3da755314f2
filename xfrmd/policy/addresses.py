# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses in a policy: words, single addresses, subnets with a length or netsh's mask, DNS names, lists."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final, NamedTuple

from xfrmd.model.addresses import BITS, Address, Prefix, range_to_prefixes
from xfrmd.model.source import Span
from xfrmd.policy.kinds import Kind, Schema, scalar
from xfrmd.policy.nodes import Node, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.words import AddressWord

_OCTETS: Final = {str(value): value for value in range(256)}
SERVERS: Final = {
    "dns-servers": AddressWord.DNS_SERVERS,
    "wins-servers": AddressWord.WINS_SERVERS,
    "dhcp-server": AddressWord.DHCP_SERVER,
    "default-gateway": AddressWord.DEFAULT_GATEWAY,
}
"""Words for servers, which a host knows of by its network's settings. Windows wants `me` at the other end."""
NETSH_SERVERS: Final = {
    "dns": AddressWord.DNS_SERVERS,
    "wins": AddressWord.WINS_SERVERS,
    "dhcp": AddressWord.DHCP_SERVER,
    "gateway": AddressWord.DEFAULT_GATEWAY,
}
_WORDS: Final = {"me": AddressWord.ME, "any": AddressWord.ANY, **SERVERS, **NETSH_SERVERS}
_LOOPBACK: Final = (Prefix(4, 127 << 24, 8), Prefix(6, 1, 128))
_RANGE: Final = re.compile(r"([0-9A-Fa-f.:]+)\s*-\s*([0-9A-Fa-f.:]+)")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)+{_LABEL}", re.ASCII)
_LETTER: Final = re.compile("[A-Za-z]")
_WITH_PORT: Final = re.compile(r"([^:]+):([0-9]{1,5})|\[([^\[\]]+)\](?::([0-9]{1,5}))?", re.ASCII)
FORMS: Final = (
    "me, any, an address (10.1.0.5), a subnet (10.1.0.0/16, fd00::/64), a range (10.1.0.5-10.1.0.9), a DNS name, "
    + ", ".join(SERVERS)
)


class Block(NamedTuple):
    """An address as written, its host bits not yet looked at. `length` is None when none was given."""

    family: int
    value: int
    length: int | None


def ipv4(text: str) -> int | None:
    """The value of a dotted quad without leading zeros, else None. Exact, and twenty times quicker than `ipaddress`."""
    parts = text.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        octet = _OCTETS.get(part)
        if octet is None:
            return None
        value = value << 8 | octet
    return value


def ip(text: str) -> Address | None:
    """An IPv4 or IPv6 address, else None. A zone is refused, and so is an IPv4 address in IPv6 clothes."""
    value = ipv4(text)
    if value is not None:
        return Address(4, value)
    if ":" not in text or "%" in text or len(text) > 45:
        return None
    try:
        parsed = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    return None if parsed.ipv4_mapped else Address(6, int(parsed))


def mask_length(text: str, family: int) -> int | None:
    """Length of a mask given as "16" or, for IPv4, "255.255.0.0"; None when it is neither."""
    if text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) <= 3:
        return int(text) if int(text) <= BITS[family] else None
    value = ipv4(text) if family == 4 else None
    if value is None:
        return None
    ones = value.bit_count()
    return ones if value == Prefix(4, 0, ones).mask else None


def _read_address(node: Node, problems: Problems) -> Any:
    text = scalar(node, problems, FORMS)
    if text is None:
        return BAD
    word = _WORDS.get(text) or _WORDS.get(text.casefold())
    if word is not None:
        return word
    first, slash, mask = text.partition("/")
    address = ip(first)
    if address is None:
        return _no_address(text, node, problems)
    if not slash:
        return Block(address.family, address.value, None)
    length = mask_length(mask, address.family)
    if length is None:
        most = BITS[address.family]
        return problems.error(node, f"{quoted(mask)} is no prefix length for {first}", f"write /0 to /{most}")
    return Block(address.family, address.value, length)


def dns_name(text: str) -> str | None:
    """A DNS name with a dot in it, in lower case and without the dot of the root; None when it is none."""
    name = text.removesuffix(".")
    # A last label without a letter is a mistyped address or range: no top level domain is a number (RFC 3696 2).
    return name.lower() if _NAME.fullmatch(name) and _LETTER.search(name.rpartition(".")[2]) else None


def _no_address(text: str, node: Node, problems: Problems) -> Any:
    match = _RANGE.fullmatch(text)
    first, last = (ip(match[1]), ip(match[2])) if match else (None, None)
    if first is not None and last is not None:
        return _range(first, last, node, problems)
    name = dns_name(text)
    if name is not None:
        return name
    told = strange_address(text)
    if told is not None:
        return problems.error(node, *told)
    if not text.isascii():
        return problems.error(node, f"{quoted(text)} is no DNS name in ASCII letters", _in_ascii(text))
    numeric = text.replace(".", "").replace("/", "").isdigit() or ":" in text
    remedy = f"write {FORMS}" if numeric else did_you_mean(text, _WORDS, f"write {FORMS}; a DNS name needs a dot")
    return problems.error(node, f"{quoted(text)} is no address", remedy)


def strange_address(text: str) -> tuple[str, str] | None:
    """Message and remedy for what is an address elsewhere, but not in a policy. None for all else."""
    first, _, rest = text.partition("/")
    mapped = _mapped(first)
    if mapped is not None:
        return f"{quoted(text)} is an IPv4 address in IPv6 form", f"write {mapped}, and a length of IPv4 with a subnet"
    if "%" in text:
        return f"{quoted(text)}: a zone is not part of an address here", "leave out '%' and zone"
    if "://" in text:
        return f"{quoted(text)} is a URL", "write the host's name or address alone"
    if rest and dns_name(first):
        return f"a DNS name has no prefix length: {quoted(text)}", f"write {first}, or the subnet by its address"
    match = _WITH_PORT.fullmatch(text)
    if match is not None and (ip(match[1] or match[3]) or dns_name(match[1] or match[3])):
        port = match[2] or match[4]
        beside = f" here, and srcport or dstport: {port} in the filter" if port else ", without brackets"
        return f"{quoted(text)} is no address alone", f"write {match[1] or match[3]}{beside}"
    return _strange_range(text)


def _mapped(text: str) -> Address | None:
    """The IPv4 address that stands here in IPv6's clothes (RFC 4291 2.5.5.2)."""
    try:
        found = ipaddress.IPv6Address(text[:64]).ipv4_mapped
    except ValueError:
        return None
    return None if found is None else Address(4, int(found))


def _strange_range(text: str) -> tuple[str, str] | None:
    """A range of which one end is no whole address, such as 10.1.0.5-9."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not dash or (ip(first) is None) == (ip(last) is None):
        return None
    if ipv4(first) is not None and last in _OCTETS:
        return f"{quoted(last)} is no end of a range", f"write {first}-{first.rpartition('.')[0]}.{last}"
    bad = last if ip(last) is None else first
    return f"{quoted(bad)} is no end of a range", "write a whole address at both ends, such as 10.1.0.5-10.1.0.9"


def _in_ascii(text: str) -> str:
    """How to write a name that has other letters than ASCII's: two names may look alike, so it is not done silently."""
    try:
        name = dns_name(text.encode("idna").decode("ascii"))
    except UnicodeError:
        name = None
    return f"write it as the DNS has it: {name}" if name else f"write {FORMS}"


def _range(first: Address, last: Address, node: Node, problems: Problems) -> Any:
    if first.family != last.family:
        return problems.error(node, "this range begins in one IP version and ends in the other", "write one version")
    if first.value > last.value:
        return problems.error(node, "this range ends before it begins", f"write {last}-{first}")
    return range_to_prefixes(first.family, first.value, last.value)


def literal(block: Block, where: Node | Span, problems: Problems) -> Any:
    """The prefix of an address, its mask applied, as a tuple. BAD for what no filter can mean."""
    prefix = prefix_of(block)
    if prefix is None:
        return problems.error(where, f"bits behind the prefix /{block.length} are set", host_bits_remedy(block))
    if prefix.is_host and prefix.value == 0:
        return problems.error(where, f"{prefix} is no host's address", "write any for all addresses")
    if any(loop.contains(prefix) for loop in _LOOPBACK):
        remedy = "remove the filter; write me for this host's own addresses"
        problems.warning(where, f"loopback traffic is never filtered, so {prefix} has no effect", remedy)
    return (prefix,)


def _read_addresses(node: Node, problems: Problems) -> Any:
    if not isinstance(node, SequenceNode):
        return _read_address(node, problems)
    if not node.items:
        return problems.error(node, "the list of addresses is empty", "add addresses, or write any")
    found: dict[Any, None] = {}
    for item in node.items:
        one = _read_address(item, problems)
        one = literal(one, item, problems) if isinstance(one, Block) else one
        if one in found:
            problems.warning(item, "this address stands twice in the list", "remove one of the two")
        found[one] = None
    return BAD if BAD in found else list(found)


_ONE: Final[Schema] = {"type": "string", "minLength": 2, "maxLength": 254}
ADDRESSES: Final = Kind(
    f"{FORMS}, or a list of these", {"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}, _read_addresses
)
"""Read as a Block, prefixes, a word or a name; a list of these (without Blocks) where a list stands."""


def _read_mask(node: Node, problems: Problems) -> Any:
    text = scalar(node, problems, "a mask")
    return BAD if text is None else text


MASK: Final = Kind(
    "a mask (255.255.0.0) or prefix length (16)",
    {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 128}, {"type": "string"}]},
    _read_mask,
)


def prefix_of(block: Block) -> Prefix | None:
    """The block as a prefix; None when host bits are set."""
    bits = BITS[block.family]
    length = bits if block.length is None else block.length
    if block.value & ((1 << (bits - length)) - 1):
        return None
    return Prefix(block.family, block.value, length)


def host_bits_remedy(block: Block) -> str:
    """Both ways to mend a subnet whose host bits are set."""
    length = block.length or 0
    bits = BITS[block.family]
    subnet = block.value >> (bits - length) << (bits - length)
    network = f"{Address(block.family, subnet)}/{length}"
    return f"write {network} for the whole subnet, or {Address(block.family, block.value)} for the one host"
