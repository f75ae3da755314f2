# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows Server 2003's algorithms: refused, allowed by name, or read and never negotiated."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import GOOD, changed, problems_of, read
from xfrmd.ike import select
from xfrmd.ike.select import Mismatch
from xfrmd.ike.v2.payloads import WireProposal
from xfrmd.model.proposals import Proposal, ProtocolId, Transform, TransformType
from xfrmd.model.source import Severity
from xfrmd.policy.methods import DEFAULT_MAIN_METHODS, DEFAULT_QUICK_METHODS
from xfrmd.transforms import catalog


def weak(quick: str = "ESP[AES128-GCM]", main: str = "AES128-SHA256-X25519", allow: str = "yes") -> str:
    text = changed("action: negotiate", f'action: negotiate\n    qmsecmethods: "{quick}"')
    return f"allow_weak: {allow}\n" + text.replace("assign: yes", f"assign: yes\n    mmsecmethods: {main}")


def quick(text: str) -> list[list[str]]:
    action = read(text).policies[0].rules[0].filter_action
    return [[catalog.name_of(one) for one in proposal.transforms] for proposal in action.qmsecmethods]


def main(text: str) -> list[list[str]]:
    methods = read(text).policies[0].mmsecmethods
    return [[catalog.name_of(one) for one in proposal.transforms] for proposal in methods]


def test_allowed_names_of_windows_are_translated() -> None:
    assert quick(weak("ESP[3DES,SHA1]:20480k/900s ESP[AES256,HMAC-SHA1]")) == [
        ["3DES", "SHA1"],
        ["AES256", "SHA1"],
    ]
    assert main(weak(main="3DES-SHA1-2 AES128-SHA1-DHGroup5 3DES-SHA-3 AES128-SHA256-High 3DES-SHA1-medium")) == [
        ["3DES", "SHA1", "SHA1", "MODP1024"],
        ["AES128", "SHA1", "SHA1", "MODP1536"],
        ["3DES", "SHA1", "SHA1", "MODP2048"],
        ["AES128", "SHA256", "SHA256", "MODP2048"],
    ]
    text = weak("ESP[3DES,SHA1]", "3DES-SHA1-2")
    assert problems_of(text) == ()


def test_without_leave_each_is_refused_at_its_place_with_both_ways_out() -> None:
    found = problems_of(weak("ESP[3DES,SHA1]", "DES-SHA1-2", allow="no"))
    told = [(one.at.line, one.message.partition(": ")[2], "allow_weak: true" in one.remedy) for one in found]
    assert told == [
        (10, "encryption 3DES is too weak to protect anything", True),
        (10, "integrity SHA1 is too weak to protect anything", True),
        (14, "encryption DES is too weak to protect anything", False),
        (14, "hash SHA1 is too weak to protect anything", True),
        (14, "group 2 is too weak to protect anything", True),
    ]
    assert {one.severity for one in found} == {Severity.ERROR}


@pytest.mark.parametrize(
    "method", ["ESP[DES,SHA1]", "ESP[DES,MD5]", "ESP[3DES,MD5]", "ESP[AES256,HMAC-MD5]:1000k/900s"]
)
def test_des_and_md5_are_read_and_never_negotiated(method: str) -> None:
    text = weak(f"{method} ESP[AES128-GCM]")
    assert quick(text) == [["AES128-GCM"]]
    found = problems_of(text)
    assert {one.severity for one in found} == {Severity.WARNING}
    assert all("is never negotiated: this method is left out" in one.message for one in found)
    assert "AES128-GCM" not in found[0].message


@pytest.mark.parametrize("method", ["3DES-SHA1-1", "DES-SHA1-2", "3DES-MD5-2", "AES128-SHA256-low", "DES-MD5-1"])
def test_group_1_in_main_mode_neither(method: str) -> None:
    text = weak(main=f"{method} AES128-SHA256-X25519")
    assert len(main(text)) == 1
    assert {one.severity for one in problems_of(text)} == {Severity.WARNING}


def test_a_list_of_nothing_else_is_an_error() -> None:
    found = problems_of(weak("ESP[DES,MD5] ESP[DES,SHA1]", "DES-MD5-1"))
    errors = [(one.at.line, one.message) for one in found if one.severity is Severity.ERROR]
    assert errors == [
        (10, "none of these quick mode methods can be negotiated"),
        (14, "none of these main mode methods can be negotiated"),
    ]


def test_the_default_response_rule_is_held_to_it_too() -> None:
    rule = (
        "assign: yes\n    activatedefaultrule: yes\n    defaultrule: {psk: a secret of some length, qmsecmethods: '%s'}"
    )
    text = GOOD.replace("assign: yes", rule % "ESP[3DES,SHA1]")
    assert "3DES is too weak" in problems_of(text)[0].message
    assert problems_of("allow_weak: yes\n" + text) == ()


def test_a_method_with_a_mistake_is_no_weak_one() -> None:
    (problem,) = problems_of(weak("ESP[3DES,SHA2]"))
    assert "'SHA2' is no integrity known here" in problem.message


def test_defaults_have_nothing_weak() -> None:
    proposals = (*DEFAULT_QUICK_METHODS.proposals, *DEFAULT_MAIN_METHODS.proposals)
    assert not [one for proposal in proposals for one in proposal.transforms if catalog.is_weak(one)]


def ike(text: str) -> tuple[Proposal, ...]:
    return read(text).policies[0].mmsecmethods


def test_a_peer_cannot_choose_what_the_policy_never_offered() -> None:
    """The engine has 3DES, SHA1 and group 2; only a policy that names them makes it use them."""
    offers = ike(weak(main="3DES-SHA1-2"))
    theirs = tuple(WireProposal.of(1, ProtocolId.IKE, b"", one.transforms) for one in offers)
    assert isinstance(select.choose(read(GOOD).policies[0].mmsecmethods, theirs), Mismatch)
    assert not isinstance(select.choose(offers, theirs), Mismatch)


FORBIDDEN = {
    TransformType.ENCR: {1, 2},  # DES_IV64, DES
    TransformType.PRF: {1},  # HMAC_MD5
    TransformType.INTEG: {1, 3, 4},  # HMAC_MD5_96, DES_MAC, KPDK_MD5
    TransformType.KE: {1},  # 768-bit MODP
}
"""Transform IDs (IANA) that no proposal may ever carry."""
CIPHERS, HASHES, GROUPS = (
    ("DES", "des-cbc", "3DES", "AES128"),
    ("MD5", "HMAC_MD5", "SHA1"),
    ("1", "Low", "group1", "2", "5", "3"),
)


def test_no_proposal_ever_has_des_md5_or_group_1_whatever_a_policy_says() -> None:
    """All methods of Windows Server 2003 at once, under `allow_weak`, as the engine would put them on the wire."""
    mains = " ".join(f"{c}-{h}-{g}" for c in CIPHERS for h in HASHES for g in GROUPS)
    quicks = " ".join(f"ESP[{c},{h}]" for c in CIPHERS for h in HASHES)
    policy = read(weak(quicks, f'"{mains}"')).policies[0]
    proposals = (*policy.mmsecmethods, *policy.rules[0].filter_action.qmsecmethods)
    assert len(proposals) == 3 * 2 + 2, "3DES and AES128 with SHA1, each with the groups 2, 5 and 14"
    offered = {(one.type, one.id) for wire in select.offer(proposals[:6], b"") for one in wire.transforms}
    offered |= {(one.type, one.id) for wire in select.offer(proposals[6:], b"spi!") for one in wire.transforms}
    assert not [(kind, number) for kind, number in offered if number in FORBIDDEN.get(TransformType(kind), ())]
    assert (TransformType.ENCR, 3) in offered, "3DES was meant to be there"


def test_the_engine_knows_no_row_for_them_at_all() -> None:
    """What the catalog does not have, nobody can offer, accept, or put into the kernel."""
    for kind, numbers in FORBIDDEN.items():
        for number in numbers:
            transform = Transform(kind, number)
            rows = (catalog.encr_row, catalog.prf_row, catalog.integ_row, catalog.ke_row)
            assert [row(transform) for row in rows] == [None] * 4


def test_a_peer_that_offers_them_finds_no_taker() -> None:
    offers = (*read(weak(main='"3DES-SHA1-2 AES128-SHA256-X25519"')).policies[0].mmsecmethods,)
    for bad in (
        (Transform(1, 2), Transform(2, 2), Transform(3, 2), Transform(4, 2)),
        (Transform(1, 3), Transform(2, 1), Transform(3, 1), Transform(4, 2)),
        (Transform(1, 3), Transform(2, 2), Transform(3, 2), Transform(4, 1)),
    ):
        assert isinstance(select.choose(offers, (WireProposal.of(1, ProtocolId.IKE, b"", bad),)), Mismatch)
