# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken certificates, names and signatures: each is refused with a reason, or read; none does anything else."""

from __future__ import annotations

import random
import time

import pytest
from cryptography import x509

from tests.conversations.dialogue import Dialogue, datagrams, established, forge
from tests.conversations.plans import Settings
from tests.fuzz.mutate import COUNT, SEED
from tests.unit import pki
from tests.unit.pki import NOW, issue, method, root
from xfrmd.credentials import names, paths, signatures
from xfrmd.credentials.certificates import Certificate, parse
from xfrmd.errors import CredentialError
from xfrmd.ike.v2.message import open_sealed, parse_clear
from xfrmd.ike.v2.payloads import AuthPayload, CertPayload, CertreqPayload, IdiPayload, Payload
from xfrmd.model.pad import Identity, IdType

CA = root(path_length=2)
MIDDLE = issue("Middle", by=CA, ca=True, more=[(x509.NameConstraints([x509.DNSName("example")], None), True)])
HOST = issue("host", by=MIDDLE, san=["host.example", "10.0.0.1", "me@host.example"], purposes=[pki.IPSEC_IKE])
RSA, EDWARDS = (issue(kind, by=CA, kind=kind) for kind in ("rsa", "ed25519"))
SEEDS = [one.der for one in (CA, MIDDLE, HOST, RSA, EDWARDS)]


def broken(rng: random.Random, octets: bytes) -> bytes:
    """A few octets changed, left out, doubled, or put in from elsewhere."""
    data = bytearray(octets)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 40))
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes((rng.choice((0, 1, 5, 0x30, 0x31, 0x7F, 0x80, 0x84, 0xFF)),))
            case 1:
                data[at : at + size] = rng.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                other = rng.choice(SEEDS)
                start = rng.randrange(len(other))
                data[at : at + size] = other[start : start + size]
    return bytes(data)


def use(one: Certificate) -> None:
    """All that is asked of a certificate."""
    assert one.subject.isprintable()
    for identity in names.identities(one):
        assert names.spoken(identity).isprintable()
        assert names.carries(one, identity)
    for chain in ([one], [one, MIDDLE.certificate], [HOST.certificate, one]):
        try:
            paths.find(chain, [CA.certificate], NOW)
        except CredentialError as error:
            assert str(error).isprintable()  # noqa: PT017 (the family is the assertion)


def test_broken_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    """CVE-2017-9023: a CHOICE that was read for ever."""
    rng, read = random.Random(SEED), 0
    count = max(COUNT // 200, 500)
    begun = time.perf_counter()
    for number in range(count):
        octets = broken(rng, rng.choice(SEEDS))
        try:
            use(parse(octets))
            read += 1
        except CredentialError as error:
            assert str(error).isprintable()  # noqa: PT017 (the family is the assertion)
        except Exception as error:  # noqa: BLE001 (the test says which one it was)
            pytest.fail(f"seed {SEED}, certificate {number}: {error!r}\n{octets.hex()}")
    assert read > count // 50, "what is broken must be readable often enough to get anywhere"
    with capsys.disabled():
        print(f"{count} certificates, {read} of them read, in {time.perf_counter() - begun:.1f} s")


def test_a_broken_certificate_is_never_trusted() -> None:
    """Whatever is changed in it, its signature is not good any more."""
    rng = random.Random(SEED + 1)
    for _ in range(max(COUNT // 500, 200)):
        octets = broken(rng, HOST.der)
        if octets == HOST.der:
            continue
        try:
            found = parse(octets)
            paths.find([found, MIDDLE.certificate], [CA.certificate], NOW)
        except CredentialError:
            continue
        # DER leaves no second spelling; a signature of ECDSA has one, s and -s, which chance does not make.
        pytest.fail(octets.hex())


def test_broken_names() -> None:
    rng = random.Random(SEED)
    good = HOST.certificate.subject_octets
    for _ in range(max(COUNT // 100, 500)):
        one = Identity(rng.choice((*IdType, 0, 200)), broken(rng, good))
        assert names.spoken(one).isprintable()
        assert isinstance(names.same(Identity(IdType.DER_ASN1_DN, good), one), bool)


@pytest.mark.parametrize("kind", pki.KINDS)
def test_broken_signatures(kind: str) -> None:
    """CVE-2018-6459: parameters of a signature that were taken for there."""
    rng, who = random.Random(SEED), issue(f"signer {kind}", kind=kind)
    everything = signatures.announced(signatures.announcement())
    _, data = signatures.sign(who.secret, b"octets", everything)
    for _ in range(max(COUNT // 1000, 200)):
        octets = broken(rng, data)
        why = signatures.verify(who.certificate.key, rng.choice((14, 14, *signatures.METHODS)), b"octets", octets)
        assert why or octets == data


def test_broken_certificates_in_an_exchange() -> None:
    """Under right keys, from somebody who has proved nothing: told, answered once, and nothing comes of it."""
    rng, ca = random.Random(SEED), root()
    a, b = (Settings(auth=(method(ca, [issue(name, by=ca, san=[f"{name}.example"])]),)) for name in "ab")
    for number in range(max(COUNT // 5000, 50)):
        talk = Dialogue(a, b)
        (request,) = datagrams(talk.acquire())
        (answer,) = datagrams(talk.deliver(request))
        (auth,) = datagrams(talk.deliver(answer))
        said = open_sealed(parse_clear(auth.data), established(talk.a).agreed_channel._out).payloads
        spoilt = [_spoil(rng, one) for one in said]
        if list(said) == spoilt:
            continue
        try:
            effects = talk.deliver(forge(talk.a, 35, spoilt, 1))
        except Exception as error:  # noqa: BLE001 (the test says which one it was)
            pytest.fail(f"seed {SEED}, exchange {number}: {error!r}\n{spoilt}")
        harmless = all(one == two or isinstance(one, CertreqPayload) for one, two in zip(said, spoilt, strict=True))
        assert harmless or not talk.b.installed(), spoilt
        assert len(datagrams(effects)) == 1


def _spoil(rng: random.Random, one: Payload) -> Payload:
    if rng.random() < 0.5:
        return one
    match one:
        case CertPayload(encoding, data):
            return CertPayload(rng.choice((encoding, encoding, 0, 7, 12)), broken(rng, data))
        case CertreqPayload(encoding, data):
            return CertreqPayload(rng.choice((encoding, 0, 12)), broken(rng, data))
        case AuthPayload(number, data):
            return AuthPayload(rng.choice((number, number, 1, 9, 13, 200)), broken(rng, data))
        case IdiPayload(kind, data):
            return IdiPayload(rng.choice((kind, kind, 1, 9, 11)), broken(rng, data))
    return one
