# SPDX-License-Identifier: GPL-2.0-or-later
"""OCSP: which answers are believed, and whose. The questions and answers of openssl stand in the lab's tests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.unit.pki import DAY, NOW, Holder, answered, issue, root
from xfrmd.credentials import ocsp as ours
from xfrmd.credentials import revocation
from xfrmd.errors import CredentialError

CA, STRANGER = root(), root("Root", own_key=root("Other").key)
HOST, OTHER = issue("host", by=CA), issue("other", by=CA)
SIGNING = [ExtendedKeyUsageOID.OCSP_SIGNING]
DELEGATE = issue("OCSP", by=CA, purposes=SIGNING)
HOUR = timedelta(hours=1)


def judged(der: bytes, by: Holder = CA) -> ours.Status:
    return ours.judge(der, HOST.certificate, by.certificate, NOW)


def test_the_question_names_the_certificate_and_its_issuer() -> None:
    asked = ocsp.load_der_ocsp_request(ours.request(HOST.certificate, CA.certificate))
    assert asked.serial_number == HOST.parsed.serial_number
    assert answered(CA, HOST)  # the answer's names are made by the library, from the certificates


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "p521", "ed25519", "ed448"])
@pytest.mark.parametrize("hash_", [hashes.SHA1(), hashes.SHA256()])
def test_good_answers_of_every_kind_of_key(kind: str, hash_: hashes.HashAlgorithm) -> None:
    ca = root("CA " + kind, kind=kind)
    host = issue("host", by=ca)
    der = answered(ca, host, hash_=hash_)
    status = ours.judge(der, host.certificate, ca.certificate, NOW)
    assert status == ours.Status(
        ours.about(host.certificate, ca.certificate), revoked=False, until=NOW + HOUR, said=status.said
    )


def test_a_revocation_holds_as_long_as_the_certificate_and_a_hold_until_the_next_news() -> None:
    ends = HOST.parsed.not_valid_after_utc
    assert judged(answered(CA, HOST, revoked=True)).until == ends
    assert judged(answered(CA, HOST, revoked=True, why=x509.ReasonFlags.key_compromise, end=HOUR)).until == ends
    hold = x509.ReasonFlags.certificate_hold
    assert judged(answered(CA, HOST, revoked=True, why=hold, end=7 * HOUR)).until == NOW + 7 * HOUR
    assert judged(answered(CA, HOST, revoked=True, why=hold, end=None, start=-HOUR / 2)).until == NOW + HOUR


def test_a_revoked_certificate_and_what_lists_say_beside_it() -> None:
    path = [HOST.certificate, CA.certificate]
    revoked, good = judged(answered(CA, HOST, revoked=True)), judged(answered(CA, HOST))
    assert "'O=Example, CN=host' was revoked by" in revocation.examine(path, [], NOW, [revoked]).revoked
    assert revocation.examine(path, [], NOW, [good]) == revocation.Finding()
    assert revocation.examine(path, [], NOW, []).lacking == (0,)
    later = revocation.examine(path, [], NOW + 2 * HOUR, [good])
    assert later.lacking == (0,)
    elsewhere = [HOST.certificate, STRANGER.certificate]
    assert revocation.examine(elsewhere, [], NOW, [good]).lacking == (0,)


def test_whom_the_authority_has_authorized_may_answer() -> None:
    assert not judged(answered(CA, HOST, by=DELEGATE)).revoked


EXPIRED = issue("OCSP", by=CA, purposes=SIGNING, end=NOW - DAY, start=NOW - 9 * DAY)
RSA = root("RSA", kind="rsa")
WEAK = issue("OCSP", by=RSA, purposes=SIGNING, hash_=hashes.SHA224, pss=True)
STRANGE = issue(
    "OCSP", by=CA, purposes=SIGNING, more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"x"), True)]
)
BAD = {
    "no answer": (b"\x30\x00", "cannot be read"),
    "try later": (
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
        "TRY_LATER",
    ),
    "of another certificate": (answered(CA, OTHER), "speaks of another certificate"),
    "of another issuer": (answered(STRANGER, HOST), "speaks of another certificate"),
    "by a stranger": (answered(CA, HOST, by=STRANGER), "signed by nobody|signature of the answer"),
    "by another host of the authority": (answered(CA, HOST, by=OTHER), "signature of the answer is not good"),
    "by a delegate of a stranger": (
        answered(CA, HOST, by=issue("OCSP", by=STRANGER, purposes=SIGNING)), "signature of the answer is not good",
    ),
    "by a delegate of the past": (answered(CA, HOST, by=EXPIRED), "signature of the answer is not good"),
    "by a delegate with an unknown critical extension": (
        answered(CA, HOST, by=STRANGE), "signature of the answer is not good",
    ),
    "stale": (answered(CA, HOST, start=-3 * HOUR, end=-HOUR), "held until 2030-05-31 23:00:00 UTC"),
    "stale without an end": (answered(CA, HOST, start=-3 * HOUR, end=None), "held until 2030-05-31 22:00:00 UTC"),
    "of tomorrow": (answered(CA, HOST, start=24 * HOUR, end=48 * HOUR), "holds only from 2030-06-02"),
    "unknown": (answered(CA, HOST, status=ocsp.OCSPCertStatus.UNKNOWN), "does not know the certificate"),
    "touched": (answered(CA, HOST)[:-1] + bytes([answered(CA, HOST)[-1] ^ 1]), "not good|cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_answers_that_prove_nothing(case: tuple[bytes, str]) -> None:
    with pytest.raises(CredentialError, match=case[1]):
        judged(case[0])


def test_a_delegate_whose_certificate_is_signed_over_a_weak_hash_is_none() -> None:
    host = issue("host", by=RSA)
    strong = issue("OCSP", by=RSA, purposes=SIGNING, pss=True)
    assert not ours.judge(answered(RSA, host, by=strong), host.certificate, RSA.certificate, NOW).revoked
    with pytest.raises(CredentialError, match="signature of the answer is not good"):
        ours.judge(answered(RSA, host, by=WEAK), host.certificate, RSA.certificate, NOW)


def test_every_octet_counts() -> None:
    der = answered(CA, HOST)
    for at in range(len(der)):
        broken = der[:at] + bytes([der[at] ^ 0x20]) + der[at + 1 :]
        try:
            status = judged(broken)
        except CredentialError:
            continue
        assert not status.revoked  # the optional parts around what is signed
