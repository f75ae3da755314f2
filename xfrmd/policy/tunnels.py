# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnel rules: where a tunnel ends, and that two rules that mirror each other make one tunnel.

As in Windows, a tunnel is two rules with filters of one direction: the outbound one names the far gateway, the inbound
one an address of this host. Which is which, the compiler sees by the host's addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import ANY_PORT
from xfrmd.policy import authentication
from xfrmd.policy.addresses import dns_name, ip, strange_address
from xfrmd.policy.kinds import Kind, scalar
from xfrmd.policy.nodes import Node
from xfrmd.policy.problems import BAD, Problems, quoted
from xfrmd.policy.records import Read
from xfrmd.policy.words import Action, AddressSpec, AddressWord, Filter

_FORM: Final = "an address, or a DNS name"
_NO_ENDS: Final = (
    (Prefix(4, 0, 8), "names no host"),
    (Prefix(6, 0, 128), "names no host"),
    (Prefix(4, 127 << 24, 8), "is loopback, where a tunnel cannot end"),
    (Prefix(6, 1, 128), "is loopback, where a tunnel cannot end"),
    (Prefix(4, 0xE0 << 24, 3), "is not one host's address"),
    (Prefix(6, 0xFF << 120, 8), "is not one host's address"),
)


def _read_tunnel(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, _FORM)
    if value is None:
        return BAD
    address = ip(value)
    if address is None:
        told = strange_address(value) or (f"{quoted(value)} is neither an address nor a DNS name", f"write {_FORM}")
        return dns_name(value) or problems.error(node, *told)
    for prefix, why in _NO_ENDS:
        if prefix.contains(address):
            return problems.error(node, f"{address} {why}", "name a gateway, or remove tunnel for transport mode")
    return address


TUNNEL: Final = Kind(_FORM, {"type": "string", "minLength": 2, "maxLength": 254}, _read_tunnel)


def _read_gateway(node: Node, problems: Problems) -> Any:
    value = _read_tunnel(node, problems)
    if isinstance(value, str):
        return problems.error(node, f"{quoted(value)} is a name", "write the gateway's address: it is not looked up")
    return value


GATEWAY: Final = Kind("an address", {"type": "string", "minLength": 2, "maxLength": 45}, _read_gateway)


class Half(NamedTuple):
    """One filter of a tunnel rule."""

    rule: Read
    filter: Filter

    @property
    def terms(self) -> tuple[object, ...]:
        """What both halves of a tunnel must have alike: they share one SA pair."""
        words = tuple(one.words for one in authentication.methods(self.rule))
        keys = ("filteraction", "local_id", "remote_id", "ppk", "conntype", "redirects", "redirect_to")
        return (words, *(self.rule[key] for key in keys))


def check_rule(rule: Read, action: Read, problems: Problems) -> None:
    """What a tunnel rule and its action say together."""
    if not rule.good("tunnel"):
        return
    place = rule.place("tunnel")
    if action.good("action") and action["action"] is not Action.NEGOTIATE:
        message = f"a tunnel needs action: negotiate, not {action['action'].value}"
        problems.error(place, message, "remove tunnel, or name another filteraction")
        return
    for key, story in (("soft", "fall back to clear"), ("inpass", "let clear packets in")):
        if action.good(key) and action[key]:
            message = f"a tunnel cannot {story}: the networks behind it would be open to anyone on the way"
            problems.error(place, message, f"name a filteraction without {key}")


def check_gateways(rule: Read, problems: Problems) -> None:
    """What a rule says of other gateways."""
    for key in ("redirects", "redirect_to"):
        if not rule.given(key) or not rule.good(key):
            continue
        place = rule.place(key)
        found = rule[key] if key == "redirects" else [rule[key]]
        if not rule.given("tunnel"):
            problems.error(
                place, f"{key} without a tunnel: only tunnels are redirected", f"remove {key}, or add tunnel"
            )
        elif len(found) > limits.REDIRECT_GATEWAYS:
            many = f"{len(found)} gateways; {limits.REDIRECT_GATEWAYS} at most are taken"
            problems.error(place, many, "name those that are in use")
        elif rule["tunnel"] in found and key == "redirect_to":
            problems.error(place, "the tunnel ends there already", "name another gateway")


def check_filter(rule: Read, one: Filter, problems: Problems) -> None:
    """What a filter of a tunnel rule must be: all packets from one network to another, in one direction."""
    name = quoted(str(rule["name"]))
    if one.mirrored:
        remedy = "write mirrored: no; a second rule has the filter of the way back"
        problems.error(one.at, f"rule {name} is a tunnel, but this filter is mirrored", remedy)
    if one.protocol or one.sports != (ANY_PORT,) or one.dports != (ANY_PORT,):
        remedy = "remove protocol and ports, and filter what leaves the tunnel by rules of its own"
        problems.error(one.at, f"rule {name} is a tunnel, which carries all protocols and ports", remedy)


def check_pairs(halves: Iterable[Half], problems: Problems) -> None:
    """Each filter of the active tunnel rules of one policy needs its mirror in another of them."""
    by_ends: dict[tuple[AddressSpec, AddressSpec], list[Half]] = {}
    for half in halves:
        by_ends.setdefault((half.filter.src, half.filter.dst), []).append(half)
    told: set[tuple[str, str]] = set()
    for (src, dst), here in by_ends.items():
        # Between all and all, the way there and the way back look alike.
        there, back = (here[:1], here[1:]) if src == dst else (here, by_ends.get((dst, src), []))
        for half, message, remedy in _wrong(there, back):
            key = (half.rule["name"], message)
            if key not in told:
                told.add(key)
                problems.error(half.rule.place("tunnel"), message, remedy)


def _wrong(there: list[Half], back: list[Half]) -> Iterator[tuple[Half, str, str]]:
    """What is wrong between the rules of one filter and those of its mirror."""
    half = there[0]
    for other in there[1:]:
        message = f"rule {quoted(half.rule['name'])} has a tunnel with the same filter ({_ends(half.filter)})"
        yield other, message, "remove one of the two rules, or the filter from one of them"
    if not back:
        yield half, *_lone(half)
    elif (
        len(there) == len(back) == 1 and half.filter.at <= back[0].filter.at
    ):  # told from one end; a shared list has both
        other = back[0]
        if half.rule["tunnel"] == other.rule["tunnel"]:
            message = f"rule {quoted(other.rule['name'])} is the way back of this tunnel, but names the same end"
            yield half, message, "the rule for packets that leave names the far gateway, the other one this host"
        elif half.terms != other.terms:
            message = f"rule {quoted(other.rule['name'])} is the way back of this tunnel, but differs from it"
            yield half, message, "give both the same filteraction, authentication, identities, redirects and conntype"


def _lone(half: Half) -> tuple[str, str]:
    """That a rule is alone, and the rule that is missing."""
    rule, one = half.rule, half.filter
    listed = f"{{srcaddr: {_text(one.dst)}, dstaddr: {_text(one.src)}, mirrored: no}}"
    missing = f"name: {rule['name']} (back), filterlist: NEW, filteraction: {rule['filteraction']}, tunnel: END"
    message = f"this is one half of a tunnel ({_ends(one)}): no active rule has the filter of the way back"
    remedy = f"add a filter list NEW with {listed} and a rule {{{missing}}}"
    return message, f"{remedy} with the same authentication, where END is the tunnel's other end"


def _ends(one: Filter) -> str:
    return f"{_text(one.src)} to {_text(one.dst)}"


def _text(spec: AddressSpec) -> str:
    if isinstance(spec, AddressWord):
        return spec.value
    if isinstance(spec, str):
        return spec
    return str(spec[0]) if len(spec) == 1 else f"{spec[0].address}-{Address(spec[-1].family, spec[-1].last)}"
