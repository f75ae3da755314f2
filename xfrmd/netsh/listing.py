# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter lists of a policy as commands of a script."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.model.selector import ICMP, ICMPV6
from xfrmd.netsh import sayable, splitting
from xfrmd.netsh.outgoing import Outgoing
from xfrmd.netsh.values import PROTOCOLS, BadValue
from xfrmd.policy.words import Action, Filter, FilterList, Rule

_NAMES: Final = {number: name.upper() for name, number in PROTOCOLS.items()}
_WITH_PORTS: Final = frozenset({PROTOCOLS["tcp"], PROTOCOLS["udp"]})


class User(NamedTuple):
    """A rule that uses a filter list, and the filters that its own compete with."""

    rule: Rule
    rivals: splitting.Rivals


def write_list(one: FilterList, users: list[User], script: Outgoing) -> None:
    """The list with its filters; a filter that netsh knows already is not added again."""
    name = script.text(one.at, one.name, "the name of this filter list")
    description = script.text(one.at, one.description, "the description of this filter list")
    script.command("add filterlist", one.at, name=name, description=description)
    written: set[Filter] = set()
    for each in sorted(one.filters, key=lambda each: each.at):
        if _sayable(each, users, script):
            for piece in splitting.pieces(each):
                words = replace(piece, at=one.at, description="")
                if words not in written:
                    written.add(words)
                    _filter(piece, name, script)


def _sayable(one: Filter, users: list[User], script: Outgoing) -> bool:
    """Can netsh say this filter? Else that is reported."""
    try:
        _check(one)
        if splitting.is_range(one):
            _check_split(one, users, script)
    except BadValue as error:
        script.problems.error(one.at, error.message, error.remedy)
        return False
    return True


def _check(one: Filter) -> None:
    named = [ports for ports in (*one.sports, *one.dports) if not ports.is_any]
    if named and one.protocol in (ICMP, ICMPV6):
        raise BadValue("netsh knows no types of ICMP", "write the filter without icmptype, if all of ICMP may be meant")
    if named and one.protocol not in _WITH_PORTS:
        raise BadValue("netsh knows ports of TCP and UDP alone", "write the filter without ports, if all may be meant")
    if any(ports.first == 0 for ports in named):
        raise BadValue("netsh has no port 0, which means any port there", "begin the range with 1")


def _check_split(one: Filter, users: list[User], script: Outgoing) -> None:
    number = splitting.count(one)
    if number > limits.NETSH_EXPANSION:
        message = f"netsh has no ranges, and {number} filters would stand for this one"
        raise BadValue(message, "write subnets and single ports")
    for user in users:
        rival = user.rivals.felt(user.rule, one)
        if rival is not None:
            message = f"netsh has no ranges, and split up this filter could win over the one in line {rival.at.line}"
            raise BadValue(message, "write subnets and single ports in both")
    if any(user.rule.filter_action.action is Action.NEGOTIATE for user in users):
        remedy = "write these filters at the peer as well: both ends must speak of the same traffic"
        message = f"netsh has no ranges: {number} filters stand for this one"
        script.once(script.problems.warning, one.at, message, remedy)


def _filter(one: Filter, name: str, script: Outgoing) -> None:
    if any(isinstance(end, tuple) and end[0].family == 6 for end in (one.src, one.dst)):
        remedy = "leave them out for Windows Server 2003"
        script.once(script.problems.warning, one.at, "IPv6 addresses need Windows Vista or later", remedy)
    src, srcmask = _end(one, "src", script)
    dst, dstmask = _end(one, "dst", script)
    (sport,), (dport,) = one.sports, one.dports
    script.command(
        "add filter",
        one.at,
        filterlist=name,
        srcaddr=src,
        srcmask=srcmask,
        dstaddr=dst,
        dstmask=dstmask,
        protocol=_NAMES.get(one.protocol, str(one.protocol)) if one.protocol else "",
        srcport="" if sport.is_any else str(sport.first),
        dstport="" if dport.is_any else str(dport.first),
        mirrored="" if one.mirrored else "no",
        description=script.text(one.at, one.description, "the description of this filter"),
    )


def _end(one: Filter, side: str, script: Outgoing) -> tuple[str, str]:
    try:
        return sayable.address(getattr(one, side), side)
    except BadValue as error:
        script.problems.error(one.at, error.message, error.remedy)
        return "", ""
