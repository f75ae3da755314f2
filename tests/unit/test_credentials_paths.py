# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths of certificates: which are good, which are not and why; `openssl verify` has the second opinion."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.unit import pki
from tests.unit.pki import DAY, NOW, Holder, issue, root, usage
from xfrmd import limits
from xfrmd.credentials import paths
from xfrmd.errors import CredentialError


class Case(NamedTuple):
    """A chain, leaf first, below authorities. `why`: part of the reason, "" for a good one.

    `ours_alone`: openssl's general profile takes what RFC 4945 or our bounds refuse.
    """

    chain: list[Holder]
    anchors: list[Holder]
    why: str = ""
    ours_alone: bool = False


def plain() -> Case:
    ca = root()
    return Case([issue("host", by=ca, san=["host.example"])], [ca])


def through_two() -> Case:
    ca = root(path_length=1)
    one = issue("One", by=ca, ca=True, path_length=0)
    return Case([issue("host", by=one), one], [ca])


def in_any_order() -> Case:
    ca = root()
    one = issue("One", by=ca, ca=True)
    two = issue("Two", by=one, ca=True)
    return Case([issue("host", by=two), one, two], [ca])


def of_the_second_authority() -> Case:
    other, ca = root("Other"), root()
    return Case([issue("host", by=ca)], [other, ca])


def of_any_kind(kind: str) -> Callable[[], Case]:
    def made() -> Case:
        ca = root(f"Root {kind}", kind)
        return Case([issue(f"host {kind}", by=ca, kind=kind)], [ca])

    return made


def without_extensions() -> Case:
    ca = root()
    return Case([issue("host", by=ca, bare=True)], [ca])


def for_ike() -> Case:
    ca = root()
    return Case([issue("host", by=ca, purposes=[pki.IPSEC_IKE])], [ca])


def for_ike_by_windows() -> Case:
    ca = root()
    return Case([issue("host", by=ca, purposes=[ObjectIdentifier("1.3.6.1.5.5.8.2.2")])], [ca])


def cross_signed() -> Case:
    """Two authorities that signed one another, of which one is trusted: the way around is found, and ends."""
    old, ca = root("Old"), root("New")
    bridge = issue("Old", by=ca, ca=True, own_key=old.key)
    back = issue("New", by=old, ca=True, own_key=ca.key)
    return Case([issue("host", by=old), back, bridge], [ca])


def expired() -> Case:
    ca = root()
    return Case([issue("host", by=ca, end=NOW - DAY / 2)], [ca], "'O=Example, CN=host' expired at 2030-05-31 12:00:00")


def not_yet() -> Case:
    ca = root()
    return Case([issue("host", by=ca, start=NOW + DAY)], [ca], "is valid only from 2030-06-02 00:00:00 UTC on")


def expired_between() -> Case:
    ca = root()
    one = issue("One", by=ca, ca=True, end=NOW - DAY / 2)
    return Case([issue("host", by=one), one], [ca], "'O=Example, CN=One' expired")


def expired_authority() -> Case:
    ca = root(end=NOW - DAY / 2)
    return Case([issue("host", by=ca)], [ca], "'O=Example, CN=Root' is not valid now")


def of_a_stranger() -> Case:
    ca, other = root(), root("Other")
    why = "was issued by 'O=Example, CN=Other', which is no authority of the rule ('O=Example, CN=Root')"
    return Case([issue("host", by=other), other], [ca], why)


def of_a_namesake() -> Case:
    """An authority that only says to be ours."""
    ca, false = root(), root("Root", own_key=pki.new_key("p256"))
    return Case([issue("host", by=false), false], [ca], "whose key has not signed it")


def self_signed() -> Case:
    return Case([issue("host")], [root()], "which is no authority of the rule")


def middle_missing() -> Case:
    ca = root()
    one = issue("One", by=ca, ca=True)
    return Case([issue("host", by=one)], [ca], "was issued by 'O=Example, CN=One', which is no authority")


def by_no_authority() -> Case:
    """A host that makes a certificate for somebody else."""
    ca = root()
    host = issue("host", by=ca)
    return Case([issue("victim", by=host), host], [ca], "'O=Example, CN=host' is not that of an authority")


def by_no_authority_at_all() -> Case:
    ca = root()
    host = issue("host", by=ca, bare=True)
    return Case([issue("victim", by=host), host], [ca], "(basicConstraints)")


def may_not_sign_certificates() -> Case:
    ca = root()
    one = issue("One", by=ca, ca=True, key_usage=usage())
    return Case([issue("host", by=one), one], [ca], "'O=Example, CN=One' may not sign certificates")


def too_deep() -> Case:
    ca = root(path_length=0)
    one = issue("One", by=ca, ca=True)
    return Case(
        [issue("host", by=one), one], [ca], "allows 0 authorities below it (pathLenConstraint), and there are 1"
    )


def too_deep_in_the_middle() -> Case:
    ca = root()
    one = issue("One", by=ca, ca=True, path_length=0)
    two = issue("Two", by=one, ca=True)
    return Case([issue("host", by=two), two, one], [ca], "'O=Example, CN=One' allows 0 authorities below it")


def may_not_sign() -> Case:
    ca = root()
    return Case([issue("host", by=ca, key_usage=usage(sign=False))], [ca], "may not sign (keyUsage", ours_alone=True)


def for_the_web() -> Case:
    ca = root()
    host = issue("host", by=ca, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    return Case([host], [ca], "is not for IKE (extendedKeyUsage", ours_alone=True)


def strange_and_critical(*, ca_too: bool) -> Callable[[], Case]:
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")

    def made() -> Case:
        ca = root()
        one = issue("One", by=ca, ca=True, more=[(strange, True)] if ca_too else [])
        return Case(
            [issue("host", by=one, more=[] if ca_too else [(strange, True)]), one],
            [ca],
            "has a critical extension that is not understood (1.3.6.1.4.1.99999.1)",
        )

    return made


def strange_and_harmless() -> Case:
    ca = root()
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    return Case([issue("host", by=ca, more=[(strange, False)])], [ca])


def signed_with_sha1() -> Case:
    ca = root("Root rsa", "rsa")
    return Case([issue("host", by=ca).by_sha1], [ca], "is signed by sha1WithRSAEncryption, which is not taken")


def constrained(
    permitted: list[str], excluded: list[str], san: list[str], why: str = "", *, ours_alone: bool = False
) -> Callable[[], Case]:
    def subtree(text: str) -> x509.GeneralName:
        return x509.IPAddress(ip_network(text)) if "/" in text else pki.alternative(text)

    def made() -> Case:
        trees = [[subtree(one) for one in those] or None for those in (permitted, excluded)]
        ca = root()
        one = issue("One", by=ca, ca=True, more=[(x509.NameConstraints(*trees), True)])
        return Case([issue("host", by=one, san=san), one], [ca], why, ours_alone)

    return made


def constrained_subject() -> Case:
    ca = root()
    tree = [x509.DirectoryName(x509.Name.from_rfc4514_string("O=Somebody else"))]
    one = issue("One", by=ca, ca=True, more=[(x509.NameConstraints(tree, None), True)])
    return Case([issue("host", by=one), one], [ca], "must not have the name 'CN=host,O=Example'")


def constrained_by_the_authority_itself() -> Case:
    ca = root(more=[(x509.NameConstraints([x509.DNSName("here.example")], None), True)])
    why = "must not have the name 'host.example', says the authority 'O=Example, CN=Root'"
    return Case([issue("host", by=ca, san=["host.example"])], [ca], why)


_NO = "must not have the name"
MANY = [f"{number}.example" for number in range(70)]
CASES: dict[str, Callable[[], Case]] = {
    "plain": plain,
    "two authorities": through_two,
    "any order": in_any_order,
    "the second authority": of_the_second_authority,
    **{f"a key of kind {kind}": of_any_kind(kind) for kind in pki.KINDS},
    "no extensions": without_extensions,
    "for IKE": for_ike,
    "for IKE by Windows": for_ike_by_windows,
    "cross-signed": cross_signed,
    "expired": expired,
    "not yet valid": not_yet,
    "expired between": expired_between,
    "expired authority": expired_authority,
    "stranger": of_a_stranger,
    "namesake": of_a_namesake,
    "self-signed": self_signed,
    "middle missing": middle_missing,
    "issued by a host": by_no_authority,
    "issued by a host without extensions": by_no_authority_at_all,
    "may not sign certificates": may_not_sign_certificates,
    "path length of the authority": too_deep,
    "path length in the middle": too_deep_in_the_middle,
    "may not sign": may_not_sign,
    "for the web": for_the_web,
    "strange critical extension": strange_and_critical(ca_too=False),
    "strange critical extension of an authority": strange_and_critical(ca_too=True),
    "strange extension": strange_and_harmless,
    "SHA-1": signed_with_sha1,
    "sixty names under sixty constraints": constrained(MANY[:60], [], MANY[:60]),
    "too many of both": constrained(MANY, [], MANY, "more names than can be compared", ours_alone=True),
    "names permitted": constrained(
        ["example", "10.0.0.0/8", ".mail.example"], [], ["a.example", "10.0.0.1", "u@x.mail.example"]
    ),
    "name not permitted": constrained(["here.example"], [], ["there.example"], _NO),
    "name that only ends alike": constrained(["here.example"], [], ["nowhere.example"], _NO),
    "one of two names not permitted": constrained(["here.example"], [], ["a.here.example", "b.example"], _NO),
    "name excluded": constrained([], ["secret.example"], ["a.secret.example"], _NO),
    "address not permitted": constrained(["10.0.0.0/8"], [], ["192.0.2.1"], _NO),
    "address excluded": constrained([], ["192.0.2.0/24"], ["192.0.2.1"], _NO),
    "mail not permitted": constrained(["u@mail.example"], [], ["v@mail.example"], _NO),
    "subject not permitted": constrained_subject,
    "constraints of the authority": constrained_by_the_authority_itself,
}


def verdict(case: Case, when: dt.datetime | None = NOW) -> str:
    try:
        paths.find([one.certificate for one in case.chain], [one.certificate for one in case.anchors], when)
    except CredentialError as error:
        return str(error)
    return ""


# rfc 7296: four-certificates
@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_chains(made: Callable[[], Case]) -> None:
    case = made()
    reason = verdict(case)
    assert case.why in reason
    assert bool(reason) == bool(case.why)


@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_openssl_agrees(made: Callable[[], Case], tmp_path: Path) -> None:
    case = made()
    files = {"anchors": case.anchors, "leaf": case.chain[:1], "rest": case.chain[1:]}
    for name, those in files.items():
        (tmp_path / name).write_bytes(b"".join(one.pem for one in those))
    command = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", "anchors"]
    command += ["-untrusted", "rest"] if case.chain[1:] else []
    command.append("leaf")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    good = done.returncode == 0
    assert good == (not case.why or case.ours_alone), done.stdout + done.stderr


# rfc 7296: four-certificates
def test_bounds() -> None:
    ca = root()
    host = issue("host", by=ca)
    many = Case([host, *(issue(f"host {n}", by=ca) for n in range(limits.CERTIFICATES))], [ca])
    assert verdict(many) == "9 certificates (8 at most are looked at)"
    assert verdict(Case([], [ca])) == "there is no certificate"
    above = ca
    chain: list[Holder] = []
    for n in range(limits.CERTIFICATE_PATH):
        above = issue(f"CA {n}", by=above, ca=True)
        chain.insert(0, above)
    assert "the path is longer than 6 certificates" in verdict(Case([issue("host", by=above), *chain], [ca]))
    assert verdict(Case([issue("host", by=chain[1]), *chain[1:]], [ca])) == ""


def test_authorities_of_one_name_do_not_cost_more_than_the_bound() -> None:
    """Seven authorities with one name and one key have each signed all others: thousands of paths, none to ours."""
    own_key = pki.new_key("p256")
    maze = [issue("Maze", ca=True, own_key=own_key) for _ in range(7)]
    stranger = Case([issue("host", by=maze[0]), *maze], [root()])
    assert verdict(stranger) == "no path to an authority within 24 signatures"


def test_the_time_may_be_left_out() -> None:
    assert verdict(expired(), None) == ""
    assert verdict(of_a_stranger(), None) != ""
