# SPDX-License-Identifier: GPL-2.0-or-later
"""Choice of a proposal, RFC 7296 2.7 and 3.3, and the reasons when there is none."""

from __future__ import annotations

import pytest

from tests.unit import ike_cases as case
from xfrmd.ike import select
from xfrmd.ike.select import Choice, Mismatch
from xfrmd.ike.v2.payloads import Attribute, WireProposal, WireTransform
from xfrmd.model.proposals import Proposal, ProtocolId, Transform, TransformType

IKE, ESP = ProtocolId.IKE, ProtocolId.ESP


def wire(*texts: str, protocol: ProtocolId = IKE) -> tuple[WireProposal, ...]:
    return tuple(WireProposal.of(n, protocol, b"", case.transforms(text)) for n, text in enumerate(texts, 1))


def ours(*texts: str, protocol: ProtocolId = IKE) -> tuple[Proposal, ...]:
    return tuple(case.proposal(text, protocol) for text in texts)


CHOICES = (
    # ours in our order, theirs, and what is chosen
    (("AES128-GCM p:SHA256 X25519",), ("AES128-GCM p:SHA256 X25519",), "AES128-GCM/SHA256/X25519"),
    (
        ("AES256-GCM p:SHA256 X25519", "AES128-GCM p:SHA256 X25519"),
        ("AES128-GCM p:SHA256 X25519", "AES256-GCM p:SHA256 X25519"),
        "AES256-GCM/SHA256/X25519",
    ),
    (("AES128-GCM p:SHA256 X25519 ECP256",), ("AES128-GCM p:SHA256 ECP256 X25519",), "AES128-GCM/SHA256/X25519"),
    (
        ("AES256 i:SHA256 p:SHA256 MODP2048",),
        ("AES128 AES256 i:SHA512 i:SHA256 p:SHA256 MODP2048",),
        "AES256/SHA256/SHA256/MODP2048",
    ),
)
REFUSALS = (
    (
        ("AES128-GCM p:SHA256 X25519",),
        ("AES256-GCM p:SHA256 X25519",),
        "encryption: ours AES128-GCM, theirs AES256-GCM",
    ),
    (
        ("AES128-GCM p:SHA256 X25519",),
        ("AES128-GCM p:SHA384 X25519",),
        "pseudorandom function: ours SHA256, theirs SHA384",
    ),
    (
        ("AES128-GCM p:SHA256 X25519",),
        ("AES128-GCM p:SHA256 MODP2048 ECP256",),
        "key exchange: ours X25519, theirs MODP2048 or ECP256",
    ),
    (
        ("AES256 i:SHA256 p:SHA256 X25519",),
        ("AES256 i:SHA512 p:SHA256 X25519",),
        "integrity: ours SHA256, theirs SHA512",
    ),
    (("AES128-GCM p:SHA256 X25519",), ("AES128-GCM i:SHA256 p:SHA256 X25519",), "integrity: ours none, theirs SHA256"),
    # the closest pair is told, not the first
    (
        ("AES256 i:SHA256 p:SHA256 MODP2048", "AES128-GCM p:SHA256 X25519"),
        ("AES128-GCM p:SHA256 ECP384",),
        "key exchange: ours X25519, theirs ECP384",
    ),
)


# rfc 7296: one-suite proposal-numbers
@pytest.mark.parametrize(("mine", "theirs", "chosen"), CHOICES)
def test_choice(mine: tuple[str, ...], theirs: tuple[str, ...], chosen: str) -> None:
    found = select.choose(ours(*mine), wire(*theirs))
    assert isinstance(found, Choice)
    assert str(found.suite) == chosen
    assert WireProposal.of(found.theirs.number, IKE, b"", found.answer).understood == found.answer


# rfc 7296: one-suite
@pytest.mark.parametrize(("mine", "theirs", "reason"), REFUSALS)
def test_refusal_names_the_first_difference_of_the_closest_pair(
    mine: tuple[str, ...], theirs: tuple[str, ...], reason: str
) -> None:
    found = select.choose(ours(*mine), wire(*theirs))
    assert isinstance(found, Mismatch)
    assert found.reason == reason


def test_both_offers_are_told_in_the_same_words() -> None:
    found = select.choose(ours("AES128-GCM p:SHA256 X25519 ECP256"), wire("AES256 i:SHA256 p:SHA256 MODP2048"))
    assert isinstance(found, Mismatch)
    assert found.ours == "AES128-GCM/SHA256/X25519|ECP256"
    assert found.theirs == "AES256/SHA256/SHA256/MODP2048"


# rfc 7296: unknown-attribute
def test_a_transform_with_an_unknown_attribute_is_never_chosen() -> None:
    odd = WireTransform(1, 20, (Attribute(14, 128), Attribute(99, 1)))
    good = wire("p:SHA256 X25519")[0]
    offers = (good._replace(transforms=(odd, *good.transforms)),)
    assert isinstance(select.choose(ours("AES128-GCM p:SHA256 X25519"), offers), Mismatch)
    beside = good._replace(transforms=(odd, *wire("AES128-GCM")[0].transforms, *good.transforms))
    assert isinstance(select.choose(ours("AES128-GCM p:SHA256 X25519"), (beside,)), Choice)


# rfc 7296: transform-types
def test_a_proposal_with_an_unknown_transform_type_is_never_chosen() -> None:
    offer = wire("AES128-GCM p:SHA256 X25519")[0]
    more = offer._replace(transforms=(*offer.transforms, WireTransform(6, 35)))
    assert isinstance(select.choose(ours("AES128-GCM p:SHA256 X25519"), (more,)), Mismatch)


# rfc 7296: aead-apart
def test_absent_and_none_are_the_same() -> None:
    esp = ours("AES128-GCM NO-ESN", protocol=ESP)
    for text in ("AES128-GCM NO-ESN", "AES128-GCM"):
        assert isinstance(select.choose(esp, wire(text, protocol=ESP)), Choice)
    none = wire("AES128-GCM NO-ESN", protocol=ESP)[0]
    told = none._replace(transforms=(*none.transforms, WireTransform(TransformType.INTEG, 0)))
    found = select.choose(esp, (told,))
    assert isinstance(found, Choice)
    assert Transform(TransformType.INTEG, 0) in found.answer, "one transform of each type that was offered"
    assert found.suite.integrity is None
    assert isinstance(select.choose(ours("AES128-GCM ESN", protocol=ESP), wire("AES128-GCM", protocol=ESP)), Mismatch)


def test_protocols_do_not_mix() -> None:
    assert isinstance(select.choose(ours("AES128-GCM", protocol=ESP), wire("AES128-GCM", protocol=IKE)), Mismatch)


# rfc 7296: answer-was-offered answer-unchanged
def test_an_answer_must_be_one_of_our_offers() -> None:
    mine = ours("AES128-GCM p:SHA256 X25519 ECP256", "AES256 i:SHA256 p:SHA256 X25519")
    good = WireProposal.of(1, IKE, b"", case.transforms("AES128-GCM p:SHA256 ECP256"))
    assert isinstance(select.accepted(mine, (good,)), Choice)
    wrong = (
        (),
        (good, good),
        (good._replace(number=2),),
        (good._replace(number=0),),
        (good._replace(number=3),),
        (WireProposal.of(1, IKE, b"", case.transforms("AES128-GCM p:SHA256 X25519 ECP256")),),
        (WireProposal.of(1, IKE, b"", case.transforms("AES256-GCM p:SHA256 X25519")),),
        (good._replace(protocol=ESP),),
    )
    for answer in wrong:
        assert isinstance(select.accepted(mine, answer), Mismatch), answer


def test_key_exchanges_come_and_go() -> None:
    esp = ours("AES128-GCM NO-ESN", protocol=ESP)
    method = case.transform("X25519")
    with_pfs = select.with_key_exchange(esp, (method,))
    assert select.key_exchanges(with_pfs) == (method,)
    assert select.without_key_exchange(with_pfs) == esp
    own = ours("AES128-GCM ECP256", protocol=ESP)
    assert select.key_exchanges(select.with_key_exchange(own, (method,))) == (case.transform("ECP256"),)


def test_an_offer_of_both_kinds_of_sequence_numbers_tells_of_neither() -> None:
    for text in ("AES128-GCM ESN NO-ESN", "AES128-GCM NO-ESN"):
        assert select.describe(ours(text, protocol=ESP)) == "AES128-GCM"
        assert select.describe_wire(wire(text, protocol=ESP)) == "AES128-GCM"
    assert select.describe(ours("AES128-GCM ESN", protocol=ESP)) == "AES128-GCM/ESN"
