# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows' strongcrlcheck between two engines, revocation under an SA, and what is told of both ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Dialogue
from tests.conversations.plans import Settings
from tests.conversations.scenes import A4, B4
from tests.unit.pki import DAY, NOW, crl, issue, method, root
from xfrmd import limits
from xfrmd.ike.events import Delete, PlanChanged
from xfrmd.ike.proven import Proven
from xfrmd.model.pad import CRL_ALWAYS, CRL_IF_KNOWN, CRL_OFF, PskAuth
from xfrmd.model.secret import Secret

CA = root()
A = issue("a", by=CA, san=["a.example"])
B = issue("b", by=CA, san=["b.example"], end=NOW + 90 * DAY)
GOOD, REVOKED, OLD = crl(CA), crl(CA, B), crl(CA, days=(-9, -2))
PSK = PskAuth(Secret(b"a secret that both have besides"))


def looking(check: int, *lists: bytes) -> Settings:
    """A, which holds B's certificate against these lists."""
    return Settings(auth=(method(CA, [A], crls=lists, check=check),))


def pair(check: int, *lists: bytes) -> Dialogue:
    return Dialogue(looking(check, *lists), Settings(auth=(method(CA, [B]),)))


CASES = (
    (CRL_OFF, (REVOKED,), "", False),
    (CRL_IF_KNOWN, (), "", False),
    (CRL_IF_KNOWN, (GOOD,), "", False),
    (CRL_IF_KNOWN, (OLD,), "", True),
    (CRL_IF_KNOWN, (REVOKED,), "certificate 'O=Example, CN=b' was revoked by 'O=Example, CN=Root'", False),
    (CRL_ALWAYS, (GOOD,), "", False),
    (CRL_ALWAYS, (OLD,), "held until 2030-05-30 00:00:00 UTC, and strongcrlcheck: 2 wants to know", False),
    (CRL_ALWAYS, (), "there is no revocation list of 'O=Example, CN=Root', and strongcrlcheck: 2", False),
    (CRL_ALWAYS, (REVOKED,), "was revoked by", False),
)


@pytest.mark.parametrize("initiates", ["a", "b"])
@pytest.mark.parametrize("case", CASES)
def test_each_level(case: tuple[int, tuple[bytes, ...], str, bool], initiates: str) -> None:
    check, lists, why, told = case
    talk = pair(check, *lists)
    talk.talk(talk.acquire(getattr(talk, initiates)))
    if why:
        assert why in talk.a.told("auth-failed").message
        assert not talk.a.installed()
    else:
        assert len(talk.a.installed()) == len(talk.b.installed()) == 2
    unknown = [one.message for one in talk.a.notices() if one.code == "revocation-unknown"]
    assert len(unknown) == told
    assert all("b.example at 10.0.0.2 is let in, and nobody knows whether its cert" in one for one in unknown)


def test_a_certificate_that_is_revoked_under_its_sa() -> None:
    talk = pair(CRL_ALWAYS, GOOD)
    talk.connect()

    def change(*lists: bytes) -> None:
        plan = plans.plan(A4, [B4], looking(CRL_ALWAYS, *lists))
        talk.talk(talk.a.hear(PlanChanged(plan), talk.now))

    change(crl(CA, A, days=(-1, 60)))  # a newer list, which does not name B
    assert [one.state for one in talk.a.engine.ike_sas()] == ["established"]
    change(REVOKED)
    assert not talk.a.engine.ike_sas()
    assert not talk.b.engine.ike_sas()
    talk.talk(talk.acquire())
    assert "was revoked by" in talk.a.told("auth-failed").message


def test_certificates_that_end_soon_are_told_at_both_ends() -> None:
    short = issue("b", by=CA, san=["b.example"], end=NOW + 20 * DAY)
    talk = Dialogue(looking(CRL_IF_KNOWN), Settings(auth=(method(CA, [short]),)))
    talk.connect()
    assert "certificate 'O=Example, CN=b' of 10.0.0.2, or one above it, expires at 2030-06-21" in (
        talk.a.told("peer-certificate-ends").message
    )
    assert "certificate 'O=Example, CN=b' expires at 2030-06-21" in talk.b.told("own-certificate-ends").message
    assert not [one for one in talk.b.notices() if one.code == "peer-certificate-ends"]
    assert not talk.a.engine.snapshot().failures


def test_a_certificate_of_ours_that_ends_soon_is_told_once_a_day_whoever_asks_for_it() -> None:
    short = issue("b", by=CA, san=["b.example"], end=NOW + 20 * DAY)
    talk = Dialogue(looking(CRL_IF_KNOWN), Settings(auth=(method(CA, [short]),)))
    told = []
    for _ in range(2):
        talk.talk(talk.acquire())
        told += [len([one for one in talk.b.notices() if one.code == "own-certificate-ends"])]
        (ike,) = talk.a.engine.ike_sas()
        talk.talk(talk.a.hear(Delete(ike.local_spi), talk.now))
        talk.pass_time(2 * limits.WHISPER_INTERVAL)
    assert told == [1, 1]


def test_how_each_end_has_proved_itself() -> None:
    talk = pair(CRL_IF_KNOWN)
    talk.connect()
    (of_a,), (of_b,) = talk.a.engine.ike_sas(), talk.b.engine.ike_sas()
    assert (of_a.proofs.local, of_a.proofs.remote) == (of_b.proofs.remote, of_b.proofs.local)
    serial, until = f"{B.parsed.serial_number:x}", (NOW + 90 * DAY).timestamp()
    wanted = Proven("rootca", "ecdsa with SHA2_256", "O=Example, CN=b", serial, "O=Example, CN=Root", until)
    assert replace(of_a.proofs.remote, links=()) == wanted
    secret = Dialogue(Settings(auth=(PSK,)))
    secret.connect()
    (found,) = secret.a.engine.ike_sas()
    assert (found.proofs.local, found.proofs.remote) == (Proven("psk"), Proven("psk"))
