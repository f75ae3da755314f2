# SPDX-License-Identifier: GPL-2.0-or-later
"""Choice of a proposal (RFC 7296 2.7, 3.3), the same function on both sides, and why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.errors import LocalProtocolError
from xfrmd.ike.v2.payloads import WireProposal
from xfrmd.model.proposals import ADDITIONAL, Proposal, ProtocolId, Transform, TransformType
from xfrmd.transforms.catalog import name_of

_KNOWN_TYPES: Final = frozenset(int(kind) for kind in TransformType)
_MAY_BE_ABSENT: Final = frozenset({TransformType.INTEG, TransformType.KE, TransformType.ESN, *ADDITIONAL})
"""Types whose transform 0 (NONE, no ESN) says the same as their absence."""
METHODS: Final = frozenset({TransformType.KE, *ADDITIONAL})
"""Types of key exchanges."""
_WORDS: Final = {
    TransformType.ENCR: "encryption",
    TransformType.PRF: "pseudorandom function",
    TransformType.INTEG: "integrity",
    TransformType.KE: "key exchange",
    TransformType.ESN: "sequence numbers",
    **{kind: f"additional key exchange {number}" for number, kind in enumerate(ADDITIONAL, 1)},
}


@dataclass(frozen=True, slots=True)
class Suite:
    """One transform of each type, None where there is none."""

    encryption: Transform | None
    """None: AH."""
    integrity: Transform | None
    prf: Transform | None
    key_exchange: Transform | None
    esn: bool
    additional: tuple[Transform, ...] = ()
    """Key exchanges that are made after the first, in this order (RFC 9370)."""

    @property
    def protocol(self) -> ProtocolId:
        """ESP names an encryption always, NULL at the least, and AH never does (RFC 7296 3.3.3)."""
        if self.prf is not None:
            return ProtocolId.IKE
        return ProtocolId.AH if self.encryption is None else ProtocolId.ESP

    @property
    def cipher(self) -> Transform:
        """The encryption of an IKE SA or of ESP. LocalProtocolError for AH."""
        if self.encryption is None:
            raise LocalProtocolError("AH encrypts nothing")
        return self.encryption

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """Those there are, in the order of their types."""
        found = (self.encryption, self.prf, self.integrity, self.key_exchange, *self.additional)
        return tuple(transform for transform in found if transform is not None)

    def __str__(self) -> str:
        return _spoken(self)


@lru_cache(maxsize=limits.OFFERS)
def _spoken(suite: Suite) -> str:
    """Hosts of one kind agree on the same, and each of them is told of."""
    words = (*_named(suite.protocol), *map(name_of, suite.transforms), *(("ESN",) if suite.esn else ()))
    return "/".join(words)


class Choice(NamedTuple):
    """What both sides can do: our proposal, theirs as it came, and one transform of each type."""

    ours: Proposal
    theirs: WireProposal
    suite: Suite
    answer: tuple[Transform, ...]
    """The transforms to send back: those of their proposal that were chosen, one of each type it has."""


class Mismatch(NamedTuple):
    """No common proposal: both offers as text, and what kept the closest pair apart."""

    ours: str
    theirs: str
    reason: str


def still_named(suite: Suite, ours: Iterable[Proposal]) -> bool:
    """Do our proposals have what was agreed? A child SA's key exchange counts no more: its keys are made."""
    return naming(suite, ours) is not None


def naming(suite: Suite, ours: Iterable[Proposal]) -> Proposal | None:
    """The first of our proposals that has what was agreed."""
    wanted = [one for one in suite.transforms if suite.prf is not None or one.type not in METHODS]
    named = (one for one in ours if one.protocol == suite.protocol)
    return next((one for one in named if all(wish in one.transforms for wish in wanted)), None)


# rfc 7296: one-suite
def choose(ours: Sequence[Proposal], theirs: Sequence[WireProposal]) -> Choice | Mismatch:
    """The first proposal of ours, in our order, that one of theirs meets. The order within one is ours as well."""
    closest = (-1, _protocols(ours, theirs))
    offers = [(wire, _by_type(wire.understood)) for wire in theirs if _selectable(wire)]
    for proposal in ours:
        wanted = _by_type(proposal.transforms)
        for wire, offered in offers:
            if wire.protocol != proposal.protocol:
                continue
            found, missing = _common(wanted, offered)
            if not missing:
                return Choice(proposal, wire, _suite(found), _answer(found, wire))
            closest = max(closest, (len(found), missing), key=lambda pair: pair[0])
    return Mismatch(describe(ours), describe_wire(theirs), closest[1])


def with_key_exchange(
    proposals: Iterable[Proposal], methods: Sequence[Transform], additional: Sequence[Transform] = ()
) -> tuple[Proposal, ...]:
    """These proposals with their own key exchange methods, or `methods` where they have none (PFS) and, after those,
    the additional ones of the IKE SA.
    """
    return tuple(
        proposal if _methods(proposal) else replace(proposal, transforms=(*proposal.transforms, *methods, *additional))
        for proposal in proposals
    )


def without_key_exchange(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """These proposals without any key exchange method, as IKE_AUTH needs them (RFC 7296 1.2)."""
    return tuple(
        replace(proposal, transforms=tuple(t for t in proposal.transforms if t.type not in METHODS))
        for proposal in proposals
    )


def key_exchanges(proposals: Iterable[Proposal]) -> tuple[Transform, ...]:
    """All key exchange methods of these proposals, each once, in order of preference."""
    return tuple(dict.fromkeys(method for proposal in proposals for method in _methods(proposal)))


# rfc 7296: aead-apart
def offer(proposals: Iterable[Proposal], spi: bytes) -> tuple[WireProposal, ...]:
    """Our proposals as they are sent, numbered from 1."""
    return tuple(
        WireProposal.of(number, proposal.protocol, spi, proposal.transforms)
        for number, proposal in enumerate(proposals, 1)
    )


# rfc 7296: answer-was-offered answer-unchanged
def accepted(ours: Sequence[Proposal], theirs: Sequence[WireProposal]) -> Choice | Mismatch:
    """Judge the answer to our offer: one proposal, that we made, with one transform of each type (RFC 7296 3.3.6)."""
    if len(theirs) != 1 or not 0 < theirs[0].number <= len(ours):
        return Mismatch(describe(ours), describe_wire(theirs), "the answer is not one of the proposals")
    answer = theirs[0]
    if len({transform.type for transform in answer.transforms}) != len(answer.transforms):
        return Mismatch(describe(ours), describe_wire(theirs), "the answer has two transforms of one type")
    return choose(ours[answer.number - 1 : answer.number], theirs)


def describe(proposals: Iterable[Proposal]) -> str:
    """Our offer for people: "AES128-GCM/SHA256/X25519, AES256/SHA256/..."."""
    return _text((proposal.protocol, proposal.transforms) for proposal in proposals)


def describe_wire(proposals: Iterable[WireProposal]) -> str:
    """Their offer in the same words."""
    return _text(
        (proposal.protocol, tuple(wire.understood or Transform(wire.type, wire.id) for wire in proposal.transforms))
        for proposal in proposals
    )


_Types = dict[int, tuple[Transform, ...]]


def _by_type(transforms: Iterable[Transform]) -> _Types:
    found: _Types = {}
    for transform in transforms:
        found[transform.type] = (*found.get(transform.type, ()), transform)
    return found


# rfc 7296: unknown-attribute
def _selectable(wire: WireProposal) -> bool:
    """A type we do not know, or one of which we understand nothing, cannot be agreed to (RFC 7296 3.3.6)."""
    types = {transform.type for transform in wire.transforms}
    return types <= _KNOWN_TYPES and types == {transform.type for transform in wire.understood}


# rfc 7296: transform-types
def _common(wanted: _Types, offered: _Types) -> tuple[list[Transform], str]:
    """One transform per type, and the first type without a common one in words ("" when all agree)."""
    found: list[Transform] = []
    for kind in TransformType:
        absent = (Transform(kind, 0),) if kind in _MAY_BE_ABSENT else ()
        ours, theirs = wanted.get(kind, absent), offered.get(kind, absent)
        if not ours and not theirs:
            continue
        common = next((transform for transform in ours if transform in theirs), None)
        if common is None:
            return found, f"{_WORDS[kind]}: ours {_names(ours)}, theirs {_names(theirs)}"
        found.append(common)
    return found, ""


def _suite(found: Sequence[Transform]) -> Suite:
    chosen = {transform.type: transform for transform in found if transform.id or transform.type == TransformType.ENCR}
    return Suite(
        chosen.get(TransformType.ENCR),
        chosen.get(TransformType.INTEG),
        chosen.get(TransformType.PRF),
        chosen.get(TransformType.KE),
        TransformType.ESN in chosen,
        tuple(chosen[kind] for kind in ADDITIONAL if kind in chosen),
    )


# rfc 7296: proposal-numbers
def _answer(found: Sequence[Transform], wire: WireProposal) -> tuple[Transform, ...]:
    present = {transform.type for transform in wire.transforms}
    return tuple(transform for transform in found if transform.type in present)


def _methods(proposal: Proposal) -> tuple[Transform, ...]:
    return tuple(t for t in proposal.transforms if t.type == TransformType.KE and t.id)


def _names(transforms: Iterable[Transform]) -> str:
    return " or ".join(name_of(t) if t.id else "none" for t in transforms) or "none"


def _protocols(ours: Iterable[Proposal], theirs: Iterable[WireProposal]) -> str:
    words = [
        " or ".join(dict.fromkeys(_PROTOCOLS.get(number, str(number)) for number in numbers)) or "none"
        for numbers in ([one.protocol for one in ours], [one.protocol for one in theirs])
    ]
    if words[0] == words[1]:
        return "what theirs ask for is not known here"
    return f"protocol: ours {words[0]}, theirs {words[1]}"


_PROTOCOLS: Final = {int(one): one.name for one in ProtocolId}


def _named(protocol: int) -> tuple[str, ...]:
    """The word that tells AH, which has an integrity alone, from the rest."""
    return (ProtocolId.AH.name,) if protocol == ProtocolId.AH else ()


def _text(offers: Iterable[tuple[int, tuple[Transform, ...]]]) -> str:
    texts = []
    for protocol, transforms in offers:
        either = (
            Transform(TransformType.ESN, 0) in transforms
        )  # long sequence numbers are worth a word where they must be
        kinds = _by_type(t for t in transforms if t.type != TransformType.ESN or not either)
        words = ("|".join(name_of(t) for t in kinds[kind]) for kind in sorted(kinds))
        texts.append("/".join((*_named(protocol), *words)))
    return ", ".join(dict.fromkeys(texts)) or "nothing"
