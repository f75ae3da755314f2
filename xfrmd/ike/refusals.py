# SPDX-License-Identifier: GPL-2.0-or-later
"""What operators are told when two policies do not meet: both sides' wishes, where they first differ, the next step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from xfrmd import limits
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.notices import THEIR_JOURNAL, peer, who
from xfrmd.ike.select import Mismatch
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.model.notice import Level, Notice
from xfrmd.model.plan import FilterOrigin
from xfrmd.model.selector import PROTOCOL_NAMES, Selector

_INIT_REMEDIES: Final = {
    NotifyType.INVALID_MAJOR_VERSION: "the peer does not speak IKEv2: turn it on there",
    NotifyType.INVALID_KE_PAYLOAD: "the peer wants a key exchange that mmsecmethods lack: add it, or one of ours there",
    NotifyType.UNEXPECTED_NAT_DETECTED: "the peer does not negotiate through a NAT: let it, or go without one",
}


def no_proposal(sa: IkeSa, what: str, mismatch: Mismatch) -> Notice:
    """We have nothing in common with a peer's offer or answer. `what` is "IKE SA" or "child SA"."""
    return Notice(
        Level.WARNING,
        "no-proposal",
        f"no common proposal with {peer(sa)} for the {what} (rule {sa.pad.rule!r}): "
        f"ours {mismatch.ours}; theirs {mismatch.theirs}; first difference: {mismatch.reason}",
        who(sa) | {"ours": mismatch.ours, "theirs": mismatch.theirs, "difference": mismatch.reason},
        f"give both hosts one {_setting(what)} in common",
    )


def proposal_refused(sa: IkeSa, what: str, ours: str, told: Mismatch | None) -> Notice:
    """The peer refused all that we offered. `told`: what it said it would take, None when it did not say."""
    theirs = told.theirs if told is not None else f"not told ({THEIR_JOURNAL})"
    difference = f"; first difference: {told.reason}" if told is not None else ""
    return Notice(
        Level.WARNING,
        "no-proposal",
        f"{peer(sa)} answers NO_PROPOSAL_CHOSEN for the {what} (rule {sa.pad.rule!r}): "
        f"ours {ours}; theirs {theirs}{difference}",
        who(sa) | {"ours": ours, "theirs": theirs} | ({"difference": told.reason} if told is not None else {}),
        f"give both hosts one {_setting(what)} in common",
    )


def ah_behind_nat(sa: IkeSa, origin: FilterOrigin) -> Notice:
    """AH proves addresses, which a NAT changes (RFC 7296 2.23, RFC 3715 2.1); there is no AH in UDP."""
    return Notice(
        Level.WARNING,
        "ah-behind-nat",
        f"a NAT stands between us and {peer(sa)}, or forceencapsulation is set, and action {origin.filter_action!r} "
        f"(rule {origin.rule!r}) asks for AH, which no NAT lets through: no child SA is made",
        who(sa) | {"filter_action": origin.filter_action},
        "use ESP with these hosts, ESP[None,SHA256] to authenticate alone, or take the NAT away",
    )


def init_refused(sa: IkeSa, notify: int, ours: str) -> Notice:
    """The peer, or somebody in its name, refused our IKE_SA_INIT."""
    answer = NotifyType(notify)
    return Notice(
        Level.WARNING,
        "init-refused",
        f"{peer(sa)} answers {answer.name} to IKE_SA_INIT (rule {sa.pad.rule!r}): ours {ours}; "
        f"theirs not told ({THEIR_JOURNAL})",
        who(sa) | {"answer": answer.name, "ours": ours},
        _INIT_REMEDIES.get(answer, THEIR_JOURNAL),
    )


def traffic_refused(sa: IkeSa, ours: Sequence[Selector], theirs: Sequence[Selector]) -> Notice:
    """No filter of ours has the traffic that a peer proposes (TS_UNACCEPTABLE). Both as seen from here, outbound."""
    told = {"ours": _told(ours), "theirs": _told(theirs), "difference": difference(ours, theirs)}
    return Notice(
        Level.WARNING,
        "no-filter",
        f"no negotiate filter for the traffic with {peer(sa)} (rule {sa.pad.rule!r}): "
        f"ours {told['ours']}; theirs {told['theirs']}; first difference: {told['difference']}",
        who(sa) | told,
        "give both hosts negotiate filters that overlap (mirrored, and seen from each side)",
    )


def child_refused(sa: IkeSa, notify: int, ours: Sequence[Selector], theirs: Sequence[Selector]) -> Notice:
    """The peer made no child SA of what we proposed. `theirs`: what it would have taken, nothing when not told."""
    answer = NotifyType(notify).name
    fields = {"ours": _told(ours), "answer": answer}
    if theirs:
        fields |= {"theirs": _told(theirs), "difference": difference(ours, theirs)}
        said = f"theirs {fields['theirs']}; first difference: {fields['difference']}"
    else:
        said = f"theirs not told ({THEIR_JOURNAL})"
    return Notice(
        Level.WARNING,
        "no-filter" if notify == NotifyType.TS_UNACCEPTABLE else "child-refused",
        f"{peer(sa)} answers {answer} for a child SA (rule {sa.pad.rule!r}): ours {fields['ours']}; {said}",
        who(sa) | fields,
        "give both hosts negotiate filters and quick mode methods that overlap",
    )


def mode_mismatch(sa: IkeSa, ours: str, theirs: str) -> Notice:
    """One side wants a tunnel, the other transport mode."""
    return Notice(
        Level.WARNING,
        "mode-mismatch",
        f"{peer(sa)} wants {theirs} mode where rule {sa.pad.rule!r} has {ours} mode",
        who(sa) | {"ours": ours, "theirs": theirs, "difference": f"mode: ours {ours}, theirs {theirs}"},
        f"set both hosts to {ours} mode for this traffic",
    )


def difference(ours: Iterable[Selector], theirs: Iterable[Selector]) -> str:
    """What keeps the closest pair of selectors apart, as "protocol: ours tcp, theirs udp"."""
    pairs = [(one, other) for one in _few(ours) for other in _few(theirs)]
    if not pairs:
        return "one side has no negotiate filter between these hosts"
    agreements = [_agreement(one, other) for one, other in pairs]
    return max(agreements)[1] or "they overlap; the part in common is not what was asked for"


def _agreement(one: Selector, other: Selector) -> tuple[int, str]:
    """How many aspects agree before the first that does not, and that one; "" when all do."""
    for number, (aspect, ours, theirs, agree) in enumerate(_aspects(one, other)):
        if not agree:
            return number, f"{aspect}: ours {ours}, theirs {theirs}"
    return 9, ""


def _aspects(one: Selector, other: Selector) -> Iterator[tuple[str, object, object, bool]]:
    """In the order in which an operator looks at a filter."""
    yield "IP version", one.family, other.family, one.family == other.family
    yield "addresses here", one.src, other.src, one.src.overlaps(other.src)
    yield "addresses there", one.dst, other.dst, one.dst.overlaps(other.dst)
    same = one.protocol == other.protocol or 0 in (one.protocol, other.protocol)
    yield "protocol", _protocol(one), _protocol(other), same
    yield "ports here", one.sport, other.sport, one.sport.overlaps(other.sport)
    yield "ports there", one.dport, other.dport, one.dport.overlaps(other.dport)


def _protocol(selector: Selector) -> str:
    return PROTOCOL_NAMES.get(selector.protocol, str(selector.protocol)) if selector.protocol else "any"


def _few(selectors: Iterable[Selector]) -> list[Selector]:
    return list(selectors)[: limits.SELECTORS_TOLD]


def _told(selectors: Sequence[Selector]) -> str:
    more = f", and {len(selectors) - limits.SELECTORS_TOLD} more" if len(selectors) > limits.SELECTORS_TOLD else ""
    return (", ".join(map(str, _few(selectors))) or "none") + more


def _setting(what: str) -> str:
    return "of mmsecmethods" if what == "IKE SA" else "of qmsecmethods (and the same qmpfs)"
