# SPDX-License-Identifier: GPL-2.0-or-later
"""A Plan for people and for programs. Secrets never appear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from xfrmd.compiler.nft_text import render
from xfrmd.model.addresses import Prefix
from xfrmd.model.pad import PadEntry
from xfrmd.model.plan import FilterOrigin, Plan, ProtectPolicy, SpecificFilter
from xfrmd.model.proposals import Proposal, ProtocolId, TransformType
from xfrmd.model.spd import SpdEntry
from xfrmd.model.store import Store
from xfrmd.transforms.catalog import name_of

SCHEMA = 1
"""Version of the JSON form; it grows when a field changes its meaning."""


def _side(inbound: bool) -> str:
    return "in" if inbound else "out"


def _end(prefix: Prefix) -> str:
    return "any" if prefix.length == 0 else str(prefix)


def _where(one: FilterOrigin) -> str:
    """A rule and the place of its filter. Nothing is said of the local store, where most policies are."""
    return f"{_from(one.store)}{one.rule!r} at {one.at}"


def _from(store: Store) -> str:
    """What stands ahead of a rule's name."""
    return "" if store is Store.LOCAL else f"{store.value} "


def _filter(one: SpecificFilter) -> str:
    where = _where(one.origin)
    return f"  {_side(one.inbound):3} {one.weight!s:28} {one.verdict.value:9} {one.selector}  [{where}]"


def _entry(one: SpdEntry) -> str:
    words = " ah" * (one.protocol is ProtocolId.AH) + " optional" * one.optional
    tie = f" reqid {one.reqid:#x}{words}" if one.reqid else ""
    return f"  {one.direction.name.lower():3} {one.priority:#x} {one.action.value:7} {one.selector}{tie}{_ends(one)}"


def _ends(one: SpdEntry | ProtectPolicy) -> str:
    """The outer addresses of a tunnel."""
    return f" in {one.tunnel[0]} -> {one.tunnel[1]}" if one.tunnel else ""


def _protect(one: ProtectPolicy) -> Iterator[str]:
    flags = "".join(f" {name}" for name in ("pfs", "soft", "inpass") if getattr(one, name))
    yield f"  reqid {one.reqid:#x} {one.mode.name.lower()}{_ends(one)}{flags} [{_where(one.origin)}]"
    yield from (f"    {selector}" for selector in one.selectors)
    yield from (f"    {_proposal(proposal)}" for proposal in one.proposals)


def _proposal(one: Proposal) -> str:
    names = " ".join(f"{TransformType(t.type).name.lower()}={name_of(t)}" for t in one.transforms)
    volume = f", {one.lifetime.kilobytes} kB" if one.lifetime.kilobytes else ""
    return f"{one.protocol.name} {names}, {one.lifetime.seconds} s{volume}"


def _peer(one: PadEntry) -> str:
    methods = ", ".join(type(method).__name__.removesuffix("Auth").lower() for method in one.auth)
    return f"  {_end(one.local)} <-> {_end(one.remote)}: {methods} [{_from(one.store)}{one.rule!r} at {one.at}]"


def _filters(plan: Plan) -> Iterator[str]:
    yield f"specific filters, heaviest first ({len(plan.filters)}):"
    yield from map(_filter, plan.filters)


def _spd(plan: Plan) -> Iterator[str]:
    yield f"security policies ({len(plan.spd)}):"
    yield from map(_entry, plan.spd)


def _protected(plan: Plan) -> Iterator[str]:
    yield f"negotiated filters ({len(plan.protect)}):"
    for one in plan.protect:
        yield from _protect(one)


def _pad(plan: Plan) -> Iterator[str]:
    yield f"peers ({len(plan.pad)}):"
    for one in plan.pad:
        yield _peer(one)
        yield from (f"    {_proposal(proposal)}" for proposal in one.main_mode.proposals)


def _nft(plan: Plan) -> Iterator[str]:
    yield "# nftables, as `nft -f` loads it"
    yield render(plan.nft).rstrip("\n")


SECTIONS: Final[dict[str, Callable[[Plan], Iterator[str]]]] = {
    "filters": _filters,
    "spd": _spd,
    "protect": _protected,
    "pad": _pad,
    "nft": _nft,
}
"""The parts of a Plan under the names of its JSON form. "nft" is text that `nft -f` loads as it stands."""


def section_text(plan: Plan, section: str) -> str:
    """One part of a Plan as readable text."""
    return "\n".join(SECTIONS[section](plan)) + "\n"


def plan_text(plan: Plan) -> str:
    """The whole Plan as readable text."""
    head = f"policy {plan.policy!r}" if plan.policy else "no policy is assigned: nothing is filtered"
    return "\n".join([head + "\n", *(section_text(plan, name) for name in SECTIONS)])


def _filter_json(one: SpecificFilter) -> dict[str, object]:
    return {
        "direction": _side(one.inbound),
        "selector": str(one.selector),
        "verdict": one.verdict.value,
        "weight": list(one.weight),
        "reqid": one.reqid or None,
        "inpass": one.inpass,
        "store": one.origin.store.value,
        "rule": one.origin.rule,
        "filter_list": one.origin.filter_list,
        "filter_action": one.origin.filter_action,
        "at": str(one.origin.at),
    }


def _entry_json(one: SpdEntry) -> dict[str, object]:
    return {
        "direction": one.direction.name.lower(),
        "selector": str(one.selector),
        "action": one.action.value,
        "priority": one.priority,
        "reqid": one.reqid or None,
        "mode": one.mode.name.lower(),
        "tunnel": [*map(str, one.tunnel)] if one.tunnel else None,
        "optional": one.optional,
    }


def _protect_json(one: ProtectPolicy) -> dict[str, object]:
    return {
        "reqid": one.reqid,
        "selectors": [str(selector) for selector in one.selectors],
        "weight": list(one.weight),
        "proposals": [_proposal_json(proposal) for proposal in one.proposals],
        "pfs": one.pfs,
        "mode": one.mode.name.lower(),
        "tunnel": [*map(str, one.tunnel)] if one.tunnel else None,
        "soft": one.soft,
        "inpass": one.inpass,
        "rule": one.origin.rule,
        "at": str(one.origin.at),
    }


def _proposal_json(one: Proposal) -> dict[str, object]:
    return {
        "protocol": one.protocol.name.lower(),
        "algorithms": [name_of(transform) for transform in one.transforms],
        "transforms": [list(transform) for transform in one.transforms],
        "seconds": one.lifetime.seconds,
        "kilobytes": one.lifetime.kilobytes,
    }


def _peer_json(one: PadEntry) -> dict[str, object]:
    return {
        "local": str(one.local),
        "remote": str(one.remote),
        "rule": one.rule,
        "auth": [type(method).__name__.removesuffix("Auth").lower() for method in one.auth],
        "main_mode": [_proposal_json(proposal) for proposal in one.main_mode.proposals],
        "quick_modes": one.main_mode.quick_modes,
        "encapsulate": one.main_mode.encapsulate,
        "resumption": one.main_mode.resumption,
        "auth_seconds": one.main_mode.auth_seconds,
        "local_id": str(one.local_id) if one.local_id else None,
        "remote_id": str(one.remote_id) if one.remote_id else None,
        "redirects": [str(each) for each in one.redirects],
        "redirect_to": str(one.redirect_to) if one.redirect_to else None,
        "at": str(one.at),
    }


def plan_json(plan: Plan) -> dict[str, object]:
    """The whole Plan as a JSON object. The nftables part is the text that is loaded."""
    return {
        "schema": SCHEMA,
        "policy": plan.policy or None,
        "filters": [_filter_json(one) for one in plan.filters],
        "spd": [_entry_json(one) for one in plan.spd],
        "protect": [_protect_json(one) for one in plan.protect],
        "pad": [_peer_json(one) for one in plan.pad],
        "nft": render(plan.nft),
    }
