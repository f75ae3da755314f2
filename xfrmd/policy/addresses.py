# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses in a policy: words, single addresses, subnets with a length or netsh's mask."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final, NamedTuple

from xfrmd.model.addresses import BITS, Address, Prefix, range_to_prefixes
from xfrmd.policy.kinds import Kind, scalar
from xfrmd.policy.nodes import Node
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.words import AddressWord

_OCTETS: Final = {str(value): value for value in range(256)}
_WORDS: Final = {"me": AddressWord.ME, "any": AddressWord.ANY}
_LATER_WORDS: Final = (
    *("dns-servers", "wins-servers", "dhcp-server", "default-gateway"),
    *("dns", "wins", "dhcp", "gateway"),
)
_RANGE: Final = re.compile(r"([0-9A-Fa-f.:]+)\s*-\s*([0-9A-Fa-f.:]+)")
_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
FORMS: Final = "me, any, an address (10.1.0.5), a subnet (10.1.0.0/16, fd00::/64) or a range (10.1.0.5-10.1.0.9)"


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


def _no_address(text: str, node: Node, problems: Problems) -> Any:
    if text.casefold() in _LATER_WORDS:
        return problems.error(
            node, f"{text}: addresses filled in from the network's settings are not built yet", "write the addresses"
        )
    match = _RANGE.fullmatch(text)
    first, last = (ip(match[1]), ip(match[2])) if match else (None, None)
    if first is not None and last is not None:
        return _range(first, last, node, problems)
    if text.casefold().startswith("::ffff:"):
        return problems.error(node, f"{quoted(text)} is an IPv4 address in IPv6 form", "write it as a.b.c.d")
    if "%" in text:
        return problems.error(node, f"{quoted(text)}: a zone is not part of an address here", "leave out '%' and zone")
    numeric = text.replace(".", "").replace("/", "").isdigit() or ":" in text
    remedy = did_you_mean(text, _WORDS, f"write {FORMS}")
    if not numeric and "." in text and _NAME.fullmatch(text):
        return problems.error(node, f"{text}: DNS names are not built yet", "write the host's address")
    return problems.error(node, f"{quoted(text)} is no address", remedy)


def _range(first: Address, last: Address, node: Node, problems: Problems) -> Any:
    if first.family != last.family:
        return problems.error(node, "this range begins in one IP version and ends in the other", "write one version")
    if first.value > last.value:
        return problems.error(node, "this range ends before it begins", f"write {last}-{first}")
    return range_to_prefixes(first.family, first.value, last.value)


ADDRESS: Final = Kind(FORMS, {"type": "string", "minLength": 2, "maxLength": 64}, _read_address)


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
