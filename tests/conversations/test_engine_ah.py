# SPDX-License-Identifier: GPL-2.0-or-later
"""Child SAs of AH (RFC 4302): what is asked for, agreed, rekeyed and deleted, and what keeps them from being made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.dialogue import Dialogue, Side, datagrams, forge, read
from tests.conversations.plans import ENCR_CBC, INTEG, Settings, plan
from tests.conversations.scenes import A4, B4
from tests.conversations.test_engine_nat import OUTER, behind
from xfrmd.ike.events import Delete, Rekey, SaFailed
from xfrmd.ike.select import Mismatch, Suite, accepted, choose, still_named
from xfrmd.ike.v2.constants import ExchangeType, NotifyType
from xfrmd.ike.v2.payloads import DeletePayload, WireProposal
from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform

AH = Settings(esp=((INTEG,),), protocol=ProtocolId.AH)
ESP = Settings(esp=((ENCR_CBC, INTEG),))


def spi(side: Side) -> bytes:
    """The one inbound SPI."""
    (child,) = side.engine.ike_sas()[0].children
    return child.spi_in.to_bytes(4)


def test_both_install_integrity_alone_with_the_keys_that_the_other_has() -> None:
    talk = Dialogue(AH, AH)
    talk.connect()
    ours, theirs = talk.a.installed(), talk.b.installed()
    assert {sa.protocol for sa in (*ours, *theirs)} == {ProtocolId.AH}
    assert all(sa.encryption is None and not sa.encryption_key.reveal() and sa.esn for sa in (*ours, *theirs))
    keys = [{(sa.spi, sa.integrity_key.reveal()) for sa in side} for side in (ours, theirs)]
    assert keys[0] == keys[1]
    assert all(len(key) == 32 for _, key in keys[0])
    assert len({key for _, key in keys[0]}) == 2, "each direction has its own"


def test_a_rekey_names_ah_and_the_old_pair_is_deleted_by_its_protocol() -> None:
    talk = Dialogue(AH, AH)
    talk.connect()
    before = spi(talk.a)
    asked = talk.a.hear(Rekey(before), talk.now)
    (sent,) = datagrams(asked)
    named = read(talk.b, sent).notify(NotifyType.REKEY_SA)
    assert named is not None
    assert (named.protocol, named.spi) == (ProtocolId.AH, before)
    talk.talk(asked)
    assert spi(talk.a) != before
    assert len(talk.b.engine.ike_sas()[0].children) == 1


# rfc 7296: delete-own-spis
def test_a_deletion_says_ah_in_the_question_and_in_the_answer() -> None:
    talk = Dialogue(AH, AH)
    talk.connect()
    near, far = spi(talk.a), spi(talk.b)
    (sent,) = datagrams(talk.a.hear(Delete(near), talk.now))
    assert read(talk.b, sent).every(DeletePayload) == (DeletePayload(ProtocolId.AH, (near,)),)
    (answer,) = datagrams(talk.deliver(sent))
    assert read(talk.a, answer).every(DeletePayload) == (DeletePayload(ProtocolId.AH, (far,)),)


@pytest.mark.parametrize(
    ("here", "there", "words"), [(AH, ESP, "ours ESP, theirs AH"), (ESP, AH, "ours AH, theirs ESP")]
)
def test_esp_with_the_same_integrity_is_no_ah(here: Settings, there: Settings, words: str) -> None:
    talk = Dialogue(here, there)
    talk.talk(talk.acquire())
    assert talk.a.installed() == talk.b.installed() == []
    told = talk.b.told("no-proposal")
    assert words in told.message
    assert "AH/SHA256" in told.message
    assert "AES256/SHA256" in told.message


def test_a_policy_that_turns_to_esp_ends_what_ah_has() -> None:
    suite = Suite(None, INTEG, None, None, esn=False)
    ah = Proposal(ProtocolId.AH, (INTEG,), Lifetime(3600))
    esp = Proposal(ProtocolId.ESP, (ENCR_CBC, INTEG), Lifetime(3600))
    assert still_named(suite, [ah])
    assert not still_named(suite, [esp])
    assert not still_named(replace(suite, encryption=ENCR_CBC), [ah])


@pytest.mark.parametrize(
    "transforms", [(), (Transform(3, 0),), (ENCR_CBC, INTEG), (Transform(1, 11), INTEG), (Transform(3, 2),)]
)
def test_ah_without_its_integrity_or_with_an_encryption_is_refused(transforms: tuple[Transform, ...]) -> None:
    ours = [Proposal(ProtocolId.AH, (INTEG,), Lifetime(3600))]
    offer = [WireProposal.of(1, ProtocolId.AH, b"1234", transforms)]
    assert isinstance(choose(ours, offer), Mismatch)
    assert isinstance(accepted(ours, offer), Mismatch)


def test_a_kernel_without_ah_is_told_of_by_name() -> None:
    talk = Dialogue(AH, AH)
    talk.connect()
    (child,) = talk.a.engine.ike_sas()[0].children
    refused = SaFailed(child.spi_out, ProtocolId.AH, B4, "EPROTONOSUPPORT: Requested type not found")
    talk.talk(talk.a.hear(refused, talk.now))
    assert "modprobe ah4 ah6" in talk.a.told("sa-refused").remedy
    assert all(not sa.children for side in (talk.a, talk.b) for sa in side.engine.ike_sas())


def test_a_deletion_that_names_the_other_protocol_deletes_nothing() -> None:
    talk = Dialogue(AH, AH)
    talk.connect()
    far = talk.b.engine.ike_sas()[0].children[0].spi_in.to_bytes(4)
    for number, (protocol, left) in enumerate(((ProtocolId.ESP, 1), (ProtocolId.AH, 0))):
        talk.deliver(forge(talk.b, ExchangeType.INFORMATIONAL, [DeletePayload(protocol, (far,))], number))
        assert len(talk.a.engine.ike_sas()[0].children) == left


# rfc 7296: nat-detection
def test_behind_a_nat_nothing_is_made_and_both_learn_the_reason() -> None:
    scene = behind(plan(A4, [B4], AH), plan(B4, [OUTER], AH))
    assert [host.kernel.sas for host in scene.hosts] == [{}, {}]
    codes = {failure.notice.code for host in scene.hosts for failure in host.engine.snapshot().failures}
    assert "ah-behind-nat" in codes
    assert all(not sa.children for host in scene.hosts for sa in host.ike_sas())


def test_what_a_peer_has_made_of_ah_behind_a_nat_is_deleted_there() -> None:
    """The NAT is forced at our end alone: the other end agrees, and is told that we do not."""
    talk = Dialogue(replace(AH, encapsulate=True), AH)
    talk.talk(talk.acquire())
    assert talk.a.installed() == []
    assert all(not sa.children for side in (talk.a, talk.b) for sa in side.engine.ike_sas())
