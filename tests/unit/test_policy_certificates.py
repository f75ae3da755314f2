# SPDX-License-Identifier: GPL-2.0-or-later
"""`rootca` with files: what becomes of a good one, and what is told of each mistake in the words and in the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.unit import pki
from tests.unit.pki import issue, root
from tests.unit.policy_text import SECRET, changed
from xfrmd.credentials import sources
from xfrmd.credentials.own import ending, outdated
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.errors import CredentialError
from xfrmd.model.pad import Fetching, PskAuth, RootcaAuth
from xfrmd.model.secret import SecretRef, SecretSource
from xfrmd.model.source import Severity
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.resolve import blank
from xfrmd.policy.words import PolicySet

CA = root()
ONE = issue("One", by=CA, ca=True)
HOST = issue("host", by=ONE, san=["host.example", "10.0.0.1"])
GOOD = {
    "/ca.pem": CA.pem,
    "/host.pem": HOST.pem + ONE.pem,
    "/host.key": HOST.key_pem,
    "/psk": SECRET,
    "/crl.pem": pki.crl(CA),
}
WORDS = "ca: {file: /ca.pem}, certificate: {file: /host.pem}, key: {file: /host.key}"


def policy(words: str = WORDS, more: str = "") -> str:
    return changed("psk: a shared secret of some length", f"rootca: {{{words}}}{more}")


def files(**other: bytes) -> Callable[[SecretRef], bytes]:
    """A reader of the good files, with others in place of some: `ca_pem` is /ca.pem."""
    held = GOOD | {f"/{name.replace('_', '.')}": content for name, content in other.items()}

    def read(ref: SecretRef) -> bytes:
        if ref.name not in held:
            raise CredentialError(f"secret file {ref.name}: No such file or directory")
        return held[ref.name]

    return read


def loaded(text: str, read: Callable[[SecretRef], bytes] | None = None) -> PolicySet:
    return load(text, "policy.yaml", read or files())


def errors(text: str, read: Callable[[SecretRef], bytes] | None = None) -> list[str]:
    with pytest.raises(PolicyErrors) as caught:
        loaded(text, read)
    return [one.message for one in caught.value.problems if one.severity is Severity.ERROR]


def test_the_files_become_a_method() -> None:
    policies = loaded(policy(f"{WORDS}, name: 'O=Example, CN=Root', excludecaname: yes"))
    assert policies.warnings == ()
    (found,) = policies.policies[0].rules[0].auth
    assert isinstance(found, RootcaAuth)
    assert (found.authority, found.certificates) == (CA.der, (HOST.der, ONE.der))
    assert (found.key, found.name, found.exclude_ca_name) == (HOST.secret, "O=Example, CN=Root", True)
    assert "PRIVATE" not in repr(found)
    assert HOST.secret.reveal().hex() not in repr(found)


def test_revocation_lists_and_how_much_they_count() -> None:
    cases = (("", "", 1), ("strongcrlcheck: 2", "", 2), ("strongcrlcheck: 2", ", strongcrlcheck: 0", 0))
    for config, words, wanted in cases:
        text = policy(f"{WORDS}, crl: {{file: /crl.pem}}{words}")
        policies = loaded(text.replace("version: 1", f"version: 1\nconfig: {{{config}}}"))
        (found,) = policies.policies[0].rules[0].auth
        assert isinstance(found, RootcaAuth)
        assert (found.crl_check, len(found.crls)) == (wanted, 1)
        assert len(policies.warnings) == (wanted == 0), policies.warnings


def test_whom_to_ask() -> None:
    wanted = "{lists: ['http://crl.example/a'], ocsp: ['http://[::1]:8080/'], hosts: [PKI.example, 'b.example:81']}"
    hosts = (("pki.example", 80), ("b.example", 81))
    cases = {
        wanted: Fetching(("http://crl.example/a",), ("http://[::1]:8080/",), hosts),
        "no": None,
        "{hosts: [pki.example]}": Fetching(hosts=hosts[:1]),
    }
    for text, fetch in cases.items():
        (found,) = loaded(policy(f"{WORDS}, fetch: {text}")).policies[0].rules[0].auth
        assert isinstance(found, RootcaAuth)
        assert found.fetch == fetch
    vain = loaded(policy(f"{WORDS}, fetch: {{hosts: [a.example]}}, strongcrlcheck: 0"))
    assert [one.message for one in vain.warnings] == [
        "fetch fetches revocation lists that strongcrlcheck: 0 never looks at"
    ]


def test_our_own_certificate_says_whom_to_ask() -> None:
    ours = issue("host", by=CA, own_key=HOST.key, more=pki.places("ldap://x/", "http://crl.example/a"))
    (found,) = loaded(policy(f"{WORDS}, fetch: yes"), files(host_pem=ours.pem)).policies[0].rules[0].auth
    assert isinstance(found, RootcaAuth)
    assert sources.ahead([found]) == (sources.Source("http://crl.example/a", (CA.der,)),)
    shut = issue("host", by=CA, own_key=HOST.key, more=pki.places("http://127.0.0.1/a"))
    with pytest.raises(PolicyErrors):
        loaded(policy(f"{WORDS}, fetch: yes"), files(host_pem=shut.pem))


def test_beside_a_secret() -> None:
    text = changed("psk: a shared secret of some length", f"auth: [{{rootca: {{{WORDS}}}}}, {{psk: {{file: /psk}}}}]")
    assert [type(one) for one in loaded(text).policies[0].rules[0].auth] == [RootcaAuth, PskAuth]


def test_where_secrets_are_not_looked_at() -> None:
    policies = load(policy(), "policy.yaml", blank)
    (found,) = policies.policies[0].rules[0].auth
    assert isinstance(found, RootcaAuth)
    assert (found.certificates, found.name) == ((), "file /ca.pem")


ENCRYPTED = HOST.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
BAD_FILES = {
    "no authority": (files(ca_pem=b"nothing"), "file /ca.pem: it holds no certificate in PEM form"),
    "not a list": (files(crl_pem=CA.pem), "file /crl.pem: it holds no revocation list in PEM form"),
    "two authorities": (files(ca_pem=CA.pem + ONE.pem), "file /ca.pem: it holds 2 certificates; write a method for"),
    "a host as authority": (files(ca_pem=HOST.pem), "file /ca.pem: certificate 'O=Example, CN=host' is not that of"),
    "no key": (files(host_key=HOST.pem), "file /host.key: it holds no private key in PEM form"),
    "an encrypted key": (files(host_key=ENCRYPTED), "file /host.key: the key is encrypted"),
    "another's key": (files(host_key=CA.key_pem), "file /host.key: the key is not that of certificate 'O=Example, CN="),
    "the middle missing": (files(host_pem=HOST.pem), "file /host.pem: certificate 'O=Example, CN=host' was issued by"),
    "a stranger's": (files(ca_pem=root("Other").pem), "which is no authority of the rule ('O=Example, CN=Other')"),
    "a weak key": (files(host_pem=issue("weak", by=CA, own_key=pki.key("rsa1024")).pem), "an RSA key of 1024 bits"),
    "too many": (files(host_pem=HOST.pem * 9), "file /host.pem: it holds 9 certificates; 8 at most are taken"),
}


@pytest.mark.parametrize("case", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files(case: tuple[Callable[[SecretRef], bytes], str]) -> None:
    (message,) = errors(policy(f"{WORDS}, crl: {{file: /crl.pem}}"), case[0])
    assert case[1] in message


def test_a_missing_file() -> None:
    assert errors(policy(WORDS.replace("/ca", "/da"))) == ["secret file /da.pem: No such file or directory"]
    unused = policy(WORDS.replace("/ca", "/da")).replace("assign: yes", "assign: no")
    assert [one.message for one in loaded(unused).warnings if "/da.pem" in one.message]


BAD_WORDS = {
    "certmap": (f"{WORDS}, certmap: yes", "certmap: mapping certificates to accounts is not built yet"),
    "strongcrlcheck": (f"{WORDS}, strongcrlcheck: 3", "3 is not between 0 and 2"),
    "no list": (f"{WORDS}, strongcrlcheck: 2", "refuses everybody here: name a crl beside the ca, or write fetch: yes"),
    "nobody to ask": (f"{WORDS}, fetch: yes", "fetch: yes asks nobody, as no certificate in it"),
    "https": (f"{WORDS}, fetch: {{lists: ['https://crl.example/']}}", "'https://crl.example/' is no http:// address"),
    "no host": (f"{WORDS}, fetch: {{hosts: [crl.example/x]}}", "'crl.example/x' is no host"),
    "no responder": (f"{WORDS}, fetch: {{ocsp: ['http://a b/']}}", "'http://a b/' is no http:// address"),
    "no flag": (f"{WORDS}, fetch: maybe", "'maybe' is not yes or no"),
    "too many hosts": (f"{WORDS}, fetch: {{hosts: [{', '.join(['a.example'] * 17)}]}}", "hosts has 17 entries; 16 at"),
    "no list there": (f"{WORDS}, crl: {{file: /none.pem}}", "secret file /none.pem: No such file or directory"),
    "no key": (WORDS.rpartition(",")[0], "certification authority has no key"),
    "a relative path": (WORDS.replace("/host.key", "host.key"), "the file of a key needs an absolute path"),
    "no name": (f"{WORDS}, name: Example", "'Example' is no distinguished name"),
    "another's name": (f"{WORDS}, name: 'O=Example, CN=Other'", "it is the certificate of 'O=Example, CN=Root', not"),
}


@pytest.mark.parametrize("case", BAD_WORDS.values(), ids=BAD_WORDS)
def test_bad_words(case: tuple[str, str]) -> None:
    (message,) = errors(policy(case[0]))
    assert case[1] in message


def test_our_identity_must_be_in_our_certificate() -> None:
    for good in ("HOST.example", "10.0.0.1", "O=Example, CN=host"):
        loaded(policy(more=f'\n        local_id: "{good}"'))
    (message,) = errors(policy(more="\n        local_id: other.example"))
    assert message == "our certificate 'O=Example, CN=host' does not carry the identity other.example"


def test_our_own_certificate_outdates() -> None:
    (found,) = loaded(policy()).policies[0].rules[0].auth
    assert isinstance(found, RootcaAuth)
    assert outdated(found, pki.NOW) == ""
    assert "CN=host' expired at" in outdated(found, pki.NOW + 400 * pki.DAY)


def test_what_ends_soon() -> None:
    (found,) = loaded(policy(f"{WORDS}, crl: {{file: /crl.pem}}")).policies[0].rules[0].auth
    assert isinstance(found, RootcaAuth)
    assert ending(found, pki.NOW) == ()
    assert ending(found, pki.NOW + 31 * pki.DAY) == (
        "the revocation list of 'O=Example, CN=Root' held until 2030-07-01 00:00 UTC",
    )
    late = ending(found, pki.NOW + 336 * pki.DAY)
    assert late[0] == "certificate 'O=Example, CN=host' expires at 2031-06-01 00:00 UTC"
    assert [one.partition(" at ")[0] for one in late[1:3]] == [
        "certificate 'O=Example, CN=One' expires",
        "certificate 'O=Example, CN=Root' expires",
    ]


# rfc 8784: length
def test_postquantum_preshared_keys() -> None:
    def read(ref: SecretRef) -> bytes:
        return {"/long": bytes(range(32)), "/short": bytes(range(31))}[ref.name]

    for name, more, required, told in (("long", "", True, 0), ("short", ", required: no", False, 1)):
        words = f"psk: a shared secret of some length\n        ppk: {{id: x, secret: {{file: /{name}}}{more}}}"
        policies = loaded(changed("psk: a shared secret of some length", words), read)
        found = policies.policies[0].rules[0].ppk
        assert found is not None
        assert (found.id, found.required, len(policies.warnings)) == (b"x", required, told)
        assert "Secret(...)" in repr(found)
    assert "a PPK of 31 octets has less than 256 bits of entropy" in policies.warnings[0].message


def test_certificates_are_public_and_nobody_else_writes_them(tmp_path: Path) -> None:
    path, read = tmp_path / "ca.pem", secret_reader(None)
    path.write_bytes(CA.pem)
    public = SecretRef(SecretSource.FILE, str(path), public=True)
    path.chmod(0o644)
    assert read(public) == CA.pem.rstrip(b"\n")
    path.chmod(0o664)
    with pytest.raises(CredentialError, match=r"other users may write it \(mode 0664\); run chmod go-w"):
        read(public)
    path.chmod(0o644)
    with pytest.raises(CredentialError, match="other users may use it"):
        read(public._replace(public=False))
