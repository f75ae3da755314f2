# SPDX-License-Identifier: GPL-2.0-or-later
"""Supported authentication methods (RFC 9593) between two engines: what is announced, what follows, what is ignored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations.dialogue import Dialogue, datagrams
from tests.conversations.plans import Settings
from tests.unit.pki import issue, method, root
from xfrmd.credentials import signatures
from xfrmd.ike.ike_sa import Accepted
from xfrmd.ike.v2 import announce
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload
from xfrmd.model.pad import AuthMethod, PskAuth
from xfrmd.model.secret import Secret

PSK = PskAuth(Secret(b"a secret that both have besides"))
CA = root()
A, B = (method(CA, [issue(name, by=CA, san=[f"{name}.example"])]) for name in "ab")
ED25519 = bytes.fromhex("300506032b6570")


def by(*methods: AuthMethod) -> Settings:
    return Settings(auth=methods)


def announced(data: bytes) -> list[tuple[int, bytes]]:
    """Each announcement: its method, and what follows its link to an authority."""
    found = []
    while data:
        found.append((data[1], data[3 : data[0]]))
        assert data[2:3] in (b"", b"\0") or data[0] == 2
        data = data[data[0] :]
    return found


# rfc 9593: announce
def test_what_is_announced() -> None:
    talk = Dialogue(by(A), by(B, PSK))
    (request,) = datagrams(talk.acquire())
    assert parse_clear(request.data).notify(NotifyType.SUPPORTED_AUTH_METHODS) is None  # the responder begins
    (answer,) = datagrams(talk.deliver(request))
    found = parse_clear(answer.data).notify(NotifyType.SUPPORTED_AUTH_METHODS)
    assert found is not None
    assert (found.protocol, found.spi) == (0, b"")
    listed = announced(found.data)
    assert [number for number, _ in listed if number != 14] == [1, 9, 10, 11, 2]
    assert (14, ED25519) in listed
    assert found.data.endswith(b"\x02\x02")
    secret = Dialogue(by(PSK))
    (answer,) = datagrams(secret.deliver(datagrams(secret.acquire())[0]))
    found = parse_clear(answer.data).notify(NotifyType.SUPPORTED_AUTH_METHODS)
    assert found is not None
    assert found.data == b"\x02\x02"


# rfc 9593: choice
def test_a_method_that_the_peer_does_not_take_is_not_tried() -> None:
    talk = Dialogue(by(A, PSK), by(PSK))
    talk.connect()
    assert [one.code for one in talk.a.notices()] == ["ike-up", "child-up"]
    (sa,) = talk.a.engine.ike_sas()
    assert sa.proofs.local.method == "psk"


def changed(data: bytes | None) -> Dialogue:
    """A with a certificate before a secret, and B with a secret alone, whose announcement is another or none."""
    talk = Dialogue(by(A, PSK), by(PSK))
    (answer,) = datagrams(talk.deliver(datagrams(talk.acquire())[0]))
    message = parse_clear(answer.data)
    kept = [one for one in message.payloads if getattr(one, "notify", 0) != NotifyType.SUPPORTED_AUTH_METHODS]
    if data is not None:
        kept.append(NotifyPayload(NotifyType.SUPPORTED_AUTH_METHODS, data))
    talk.talk([replace(answer, data=build_clear(message.header, kept))])
    return talk


# rfc 9593: formats
@pytest.mark.parametrize("data", [None, b"", b"\x00\x02", b"\x01", b"\x02", b"\x09\x02", b"\x02\xfe"])
def test_announcements_that_say_nothing_are_ignored(data: bytes | None) -> None:
    """The first method is tried, as without them, and refused; the next begins with an announcement that is good."""
    talk = changed(data)
    assert "trying method 2" in talk.a.told("auth-next").message
    assert len(talk.a.installed()) == 2
    assert "it proves itself by ECDSA_SHA256_P256" in talk.b.told("auth-failed").message


KEY = issue("rsa", by=CA, kind="rsa")
PKCS1, PSS, ECDSA = (
    next(one for one in signatures.understood() if signatures.told(14, bytes((len(one),)) + one) == name)
    for name in ("pkcs1 with SHA2_384", "pss with SHA2_512", "ecdsa with SHA2_256")
)


# rfc 9593: choice
@pytest.mark.parametrize(
    ("identifiers", "used"),
    [
        ((), "pss with SHA2_256"),
        ((PKCS1,), "pkcs1 with SHA2_384"),
        ((PKCS1, PSS), "pss with SHA2_512"),
        ((ECDSA, b"unknown"), "pss with SHA2_256"),
    ],
)
def test_a_signature_is_one_that_the_peer_has_announced(identifiers: tuple[bytes, ...], used: str) -> None:
    number, data = signatures.sign(KEY.secret, b"octets", (2, 3, 4), identifiers)
    assert signatures.told(number, data) == used
    assert signatures.verify(KEY.certificate.key, number, b"octets", data) == ""


# rfc 9593: choice
def test_who_announces_nothing_may_take_everything() -> None:
    cases: tuple[tuple[Accepted, bool, bool], ...] = (
        (None, True, True),
        (frozenset(), False, False),
        (frozenset({(2, b"")}), True, False),
        (frozenset({(14, ED25519)}), False, True),
    )
    for accepted, secret, certificate in cases:
        assert (announce.takes(accepted, PSK), announce.takes(accepted, A)) == (secret, certificate)
