# SPDX-License-Identifier: GPL-2.0-or-later
"""Revocation lists: what they say of a path, which of them are believed, and `openssl verify` as the second opinion."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from tests.unit.pki import NOW, Holder, crl, issue, root
from xfrmd import limits
from xfrmd.credentials import revocation
from xfrmd.credentials.revocation import Finding
from xfrmd.errors import CredentialError

CA = root()
ONE = issue("One", by=CA, ca=True)
HOST = issue("host", by=ONE, san=["host.example"])
NO_LISTS = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
MUTE = issue("Mute", by=CA, ca=True, key_usage=NO_LISTS)
BELOW_MUTE = issue("below", by=MUTE)
STRANGER = root("Root", own_key=root("Other").key)
PATH = (HOST, ONE, CA)
FRESH = (crl(CA), crl(ONE))
WHERE = [x509.UniformResourceIdentifier("http://crl.example/")]
POINT = {"full_name": WHERE, "relative_name": None, "only_some_reasons": None}
PAST, SOON = (-9, -2), (1, 2)


def point(**said: bool) -> x509.IssuingDistributionPoint:
    """What a list says of its scope."""
    scope = {"only_contains_user_certs": False, "only_contains_ca_certs": False}
    scope |= {"indirect_crl": False, "only_contains_attribute_certs": False}
    return x509.IssuingDistributionPoint(**POINT, **(scope | said))  # type: ignore[arg-type]  # passed through


def found(path: tuple[Holder, ...], lists: tuple[bytes, ...]) -> Finding:
    """Without `lacking`, which says again of whom nothing is known."""
    every = [one for pem in lists for one in revocation.lists_of(pem)]
    return revocation.examine([one.certificate for one in path], every, NOW)._replace(lacking=())


REVOKED = "certificate 'O=Example, CN=%s' was revoked by 'O=Example, CN=%s'"
OF_ONE, OF_ROOT = "the revocation list of 'O=Example, CN=One'", "the revocation list of 'O=Example, CN=Root'"
HOST_BY_ONE = REVOKED % ("host", "One")
CASES: dict[str, tuple[tuple[Holder, ...], tuple[bytes, ...], Finding]] = {
    "good": (PATH, FRESH, Finding()),
    "two in one file": (PATH, (crl(CA) + crl(ONE),), Finding()),
    "the host": (PATH, (crl(CA), crl(ONE, HOST)), Finding(revoked=HOST_BY_ONE)),
    "the middle": (PATH, (crl(CA, ONE), crl(ONE)), Finding(revoked=REVOKED % ("One", "Root"))),
    "an old list still tells": (PATH, (crl(CA), crl(ONE, HOST, days=PAST)), Finding(revoked=HOST_BY_ONE)),
    "another number": (PATH, (crl(CA), crl(ONE, BELOW_MUTE)), Finding()),
    "none": (PATH, (), Finding(unknown="there is no revocation list of 'O=Example, CN=Root'")),
    "none of the middle": (PATH, (crl(CA),), Finding(unknown="there is no revocation list of 'O=Example, CN=One'")),
    "outdated": (PATH, (crl(CA), crl(ONE, days=PAST)), Finding(unknown=f"{OF_ONE} held until 2030-05-30 00:00:00 UTC")),
    "of tomorrow": (PATH, (crl(CA, days=SOON), crl(ONE)), Finding(unknown=f"{OF_ROOT} is of 2030-06-02 00:00:00 UTC")),
    "a newer beside": (PATH, (crl(CA), crl(ONE, days=PAST), crl(ONE)), Finding()),
    "a stranger's of the same name": (
        (ONE, CA), (crl(STRANGER, ONE),), Finding(unknown="there is no revocation list of 'O=Example, CN=Root'"),
    ),
    "may not sign lists": (
        (BELOW_MUTE, MUTE, CA), (crl(CA), crl(MUTE, BELOW_MUTE)),
        Finding(unknown="there is no revocation list of 'O=Example, CN=Mute'"),
    ),
    "of hosts only": (PATH, (crl(CA), crl(ONE, HOST, more=[(point(only_contains_user_certs=True), True)])),
                      Finding(revoked=HOST_BY_ONE)),
    "of authorities only": (PATH, (crl(CA), crl(ONE, more=[(point(only_contains_ca_certs=True), True)])),
                            Finding(unknown="there is no revocation list of 'O=Example, CN=One'")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_lists_say(case: tuple[tuple[Holder, ...], tuple[bytes, ...], Finding]) -> None:
    assert found(*case[:2]) == case[2]


OPENSSL = "openssl verify -crl_check_all -CAfile ca -untrusted between -CRLfile crls"
SECOND_OPINION = ("good", "the host", "the middle", "none of the middle", "outdated", "of tomorrow")


@pytest.mark.parametrize("name", SECOND_OPINION)
def test_openssl_thinks_so_too(name: str, tmp_path: Path) -> None:
    path, lists, finding = CASES[name]
    host, ca, between, crls = (tmp_path / one for one in ("host", "ca", "between", "crls"))
    host.write_bytes(path[0].pem)
    between.write_bytes(b"".join(one.pem for one in path[1:-1]))
    ca.write_bytes(path[-1].pem)
    crls.write_bytes(b"".join(lists))
    done = subprocess.run(
        [*OPENSSL.split(), "-attime", f"{NOW.timestamp():.0f}", "host"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode == 0) == (finding == Finding()), done.stderr


STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
BAD = {
    "no list": (CA.pem, "it holds no revocation list in PEM form"),
    "broken": (b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n", "a revocation list that cannot be read"),
    "too many": (crl(CA) * (limits.CRLS + 1), "it holds 17 revocation lists; 16 at most are taken"),
    "a delta": (crl(CA, more=[(x509.DeltaCRLIndicator(1), True)]), "is a delta: name the complete list"),
    "indirect": (crl(CA, more=[(point(indirect_crl=True), True)]), "speaks of others' certificates"),
    "strange": (crl(CA, more=[(STRANGE, True)]), r"has a critical extension \(1.2.3.4\)"),
    "a strange entry": (crl(CA, HOST, entry=[(STRANGE, True)]), "entries whose critical extensions are not understood"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_lists_that_are_not_taken(case: tuple[bytes, str]) -> None:
    with pytest.raises(CredentialError, match=case[1]):
        revocation.lists_of(case[0])


def test_a_list_names_what_is_remembered_of_a_path() -> None:
    links = [revocation.link(one.certificate) for one in PATH[:-1]]
    assert revocation.listed(links, revocation.lists_of(crl(ONE, HOST)))
    assert revocation.listed(links, revocation.lists_of(crl(CA, ONE)))
    assert not revocation.listed(links, revocation.lists_of(crl(CA, HOST)))  # its number, another issuer
    assert not revocation.listed([], revocation.lists_of(crl(ONE, HOST)))
