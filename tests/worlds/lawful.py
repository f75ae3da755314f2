# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy file may say: random filters are brought into it, so that every world can be written as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xfrmd.model.selector import ANY_PORT, ICMP, ICMPV6
from xfrmd.policy.words import Action, AddressWord, ConnectionType, Filter, Rule

_SERVERS: Final = frozenset(AddressWord) - {AddressWord.ME, AddressWord.ANY}


def _ends(one: Filter) -> Filter:
    if one.src in _SERVERS:
        return replace(one, dst=AddressWord.ME)
    if one.dst in _SERVERS:
        return replace(one, src=AddressWord.ME)
    if isinstance(one.src, tuple) and isinstance(one.dst, tuple) and one.src[0].family != one.dst[0].family:
        return replace(one, dst=AddressWord.ANY)
    return one


def _icmp(one: Filter) -> Filter:
    if one.protocol not in (ICMP, ICMPV6):
        return one
    families = {spec[0].family for spec in (one.src, one.dst) if isinstance(spec, tuple)}
    if families:
        typed = (one.sports, one.dports) != ((ANY_PORT,), (ANY_PORT,))
        protocol = ICMP if families == {4} else ICMPV6 if typed else one.protocol
        one = replace(one, protocol=protocol)
    return one if one.sports != (ANY_PORT,) else replace(one, dports=(ANY_PORT,))  # a code is of a type


def _filter(one: Filter, *, negotiates: bool) -> Filter:
    return _icmp(_ends(replace(one, mirrored=one.mirrored or negotiates)))


def lawful(rule: Rule) -> Rule:
    """The rule, or one like it that a policy file may hold."""
    negotiates = rule.filter_action.action is Action.NEGOTIATE and rule.tunnel is None
    filters = tuple(_filter(one, negotiates=negotiates) for one in rule.filter_list.filters)
    everywhere = all(AddressWord.ME in (one.src, one.dst) for one in filters)
    conntype = rule.conntype if everywhere or rule.tunnel is not None else ConnectionType.ALL
    return replace(rule, conntype=conntype, filter_list=replace(rule.filter_list, filters=filters))
