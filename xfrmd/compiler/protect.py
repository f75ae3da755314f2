# SPDX-License-Identifier: GPL-2.0-or-later
"""What IKE is told: selectors and methods per negotiate filter and IP version, and who may be at an address pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from xfrmd.compiler.expand import Generic
from xfrmd.compiler.reqids import called
from xfrmd.compiler.weight import weigh
from xfrmd.model.addresses import BITS, Address, Prefix
from xfrmd.model.pad import MainMode, PadEntry
from xfrmd.model.plan import FilterOrigin, ProtectPolicy, SpecificFilter, Weight
from xfrmd.model.selector import ANY_PORT, Selector
from xfrmd.model.spd import Mode
from xfrmd.model.store import Store
from xfrmd.policy.words import Policy


@dataclass(slots=True)
class _Negotiated:
    """The outbound selectors of one reqid, gathered from both directions."""

    generic: Generic
    weight: Weight
    tunnel: tuple[Address, Address] | None
    selectors: dict[Selector, None] = field(default_factory=dict)


def _outbound(one: SpecificFilter) -> Selector:
    return one.selector.reversed if one.inbound else one.selector


def _holds_own(prefix: Prefix, own: Iterable[Address]) -> bool:
    return any(prefix.contains(address) for address in own)


class Nearness:
    """Is the source of an outbound selector this host? A filter between literal addresses stands in both directions;
    IKE needs the one that starts here.
    """

    def __init__(self, own: tuple[Address, ...]) -> None:
        self._own = own
        self._known: dict[Prefix, bool] = {}

    def has_own(self, prefix: Prefix) -> bool:
        """Does the prefix hold an address of this host?"""
        if prefix not in self._known:
            self._known[prefix] = _holds_own(prefix, self._own)
        return self._known[prefix]

    def starts_here(self, one: SpecificFilter) -> bool:
        """True unless only the far side of its outbound selector holds addresses of this host.

        What starts in a tunnel is what goes into it.
        """
        if one.tunnel is not None:
            return not one.inbound
        selector = _outbound(one)
        return self.has_own(selector.src) or not self.has_own(selector.dst)


def policies(
    negotiated: Iterable[SpecificFilter], generics: Mapping[int, Generic], own: tuple[Address, ...]
) -> tuple[ProtectPolicy, ...]:
    """One entry per reqid, heaviest first. Its weight is that of its heaviest selector, seen outbound.

    `negotiated`: the regions of negotiate filters.
    """
    near, found = Nearness(own), dict[int, _Negotiated]()
    for one in negotiated:
        if near.starts_here(one):
            weight = _outbound_weight(one)
            entry = found.setdefault(one.reqid, _Negotiated(generics[one.number], weight, one.tunnel))
            entry.weight = max(entry.weight, weight)
            entry.selectors[_outbound(one)] = None
    made = [_policy(reqid, entry) for reqid, entry in found.items()]
    return tuple(sorted(made, key=lambda one: (tuple(-part for part in one.weight), one.reqid)))


def _outbound_weight(one: SpecificFilter) -> Weight:
    weight = one.weight
    if not one.inbound:
        return weight
    reversed_ = one.selector.reversed
    return weight._replace(
        source_prefix=weight.prefix_sum - weight.source_prefix,
        destination_port_named=int(not reversed_.dport.is_any),
    )


def _policy(reqid: int, entry: _Negotiated) -> ProtectPolicy:
    action = entry.generic.rule.filter_action
    return ProtectPolicy(
        reqid=reqid,
        selectors=tuple(sorted(entry.selectors)),
        weight=entry.weight,
        proposals=action.qmsecmethods,
        pfs=action.qmpfs,
        mode=Mode.TRANSPORT if entry.tunnel is None else Mode.TUNNEL,
        origin=entry.generic.origin,
        soft=action.soft,
        inpass=action.inpass,
        tunnel=entry.tunnel,
        soft_seconds=entry.generic.policy.soft_seconds if action.soft else 0,
    )


def main_mode(policy: Policy) -> MainMode:
    """Main mode settings; master key PFS (`mmpfs`) means one quick mode per main mode."""
    return MainMode(
        policy.mmsecmethods,
        1 if policy.mmpfs else policy.qmpermm,
        encapsulate=policy.forceencapsulation,
        auth_seconds=policy.auth_seconds,
        resumption=policy.resumption,
    )


def peers(
    negotiated: Iterable[SpecificFilter], generics: Mapping[int, Generic], own: tuple[Address, ...]
) -> Iterator[PadEntry]:
    """A PAD entry for each negotiate filter's address pairs, in no particular order and with repeats.

    Of a tunnel these are its ends: it is with the far gateway that IKE speaks.
    """
    near, settings = Nearness(own), dict[Store, MainMode]()
    for one in negotiated:
        selector, (_, rule, _, _, policy, _) = _outbound(one), generics[one.number]
        if near.starts_here(one):
            local, remote = map(Prefix.host, one.tunnel) if one.tunnel else (selector.src, selector.dst)
            yield PadEntry(
                local=local,
                remote=remote,
                rule=rule.name,
                auth=rule.auth,
                main_mode=settings.get(policy.store) or settings.setdefault(policy.store, main_mode(policy)),
                at=rule.at,
                local_id=rule.local_id,
                remote_id=rule.remote_id,
                ppk=rule.ppk,
                store=policy.store,
                redirects=rule.redirects,
                redirect_to=rule.redirect_to,
            )


DEFAULT_RESPONSE: Final = "default response"


def responder(policies: Iterable[Policy]) -> Policy | None:
    """The policy whose default response rule holds: the first that has one."""
    return next((policy for policy in policies if policy.default_response is not None), None)


def default_names(policies: Iterable[Policy]) -> dict[int, str]:
    """What the default response rule is called for its reqids, by IP version; none when there is no such rule."""
    policy = responder(policies)
    if policy is None:
        return {}
    return {family: "\0".join((called(policy), DEFAULT_RESPONSE, str(family))) for family in BITS}


def default_response(policies: Iterable[Policy], reqids: Mapping[int, int]) -> Iterator[tuple[ProtectPolicy, PadEntry]]:
    """What IKE is told of the default response rule: who asks is answered, where no filter speaks of its traffic.

    `reqids` by IP version.
    """
    policy = responder(policies)
    rule = policy.default_response if policy else None
    if policy is None or rule is None:
        return
    for family, reqid in reqids.items():
        anybody = Prefix.any(family)
        origin = FilterOrigin(policy.name, DEFAULT_RESPONSE, "<Dynamic>", "Default Response", rule.at, policy.store)
        protect = ProtectPolicy(
            reqid=reqid,
            selectors=(Selector(anybody, anybody),),
            weight=weigh(0, 0, 0, ANY_PORT, ANY_PORT),
            proposals=rule.qmsecmethods,
            pfs=rule.qmpfs,
            mode=Mode.TRANSPORT,
            origin=origin,
            responds=True,
        )
        settings = main_mode(policy)
        yield protect, PadEntry(anybody, anybody, DEFAULT_RESPONSE, rule.auth, settings, rule.at, store=policy.store)
