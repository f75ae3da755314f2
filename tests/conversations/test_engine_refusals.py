# SPDX-License-Identifier: GPL-2.0-or-later
"""What both operators read when two policies do not meet: peer, rule, both sides, the first difference, what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conversations import plans
from tests.conversations.dialogue import Change, Dialogue, datagrams
from tests.conversations.plans import ALL_REQID, CBC_X25519, ENCR_CBC, ENCR_GCM, ESN_OFF, GCM_X25519, INTEG, Settings
from tests.conversations.scenes import A4, B4, ping, tcp
from xfrmd.ike.events import Acquire
from xfrmd.ike.v2 import offers
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import build_clear, parse_clear
from xfrmd.ike.v2.payloads import NotifyPayload, Payload, VendorPayload
from xfrmd.model.notice import Notice
from xfrmd.model.plan import Plan
from xfrmd.model.selector import TCP, UDP

STRONGSWAN = bytes.fromhex("882fe56d6fd20dbc2251613b2ebe5beb")


def only(protocol: int) -> Change:
    """A plan whose filters are for one protocol."""

    def change(plan: Plan) -> Plan:
        protect = tuple(
            replace(one, selectors=tuple(s._replace(protocol=protocol) for s in one.selectors[:1]))
            for one in plan.protect[:1]
        )
        return replace(plan, protect=protect)

    return change


def whole(notice: Notice, rule: str) -> None:
    """Does it say all that an operator needs?"""
    assert notice.fields["peer"] in notice.message
    assert repr(rule) in notice.message
    for side in ("ours", "theirs", "difference"):
        assert notice.fields[side] in notice.message, side
    assert notice.remedy


CASES = [
    ("no-proposal", Settings(ike=(GCM_X25519,)), Settings(ike=(CBC_X25519,)), None, "encryption: ours AES128-GCM"),
    (
        "no-proposal",
        Settings(esp=((ENCR_GCM, ESN_OFF),)),
        Settings(esp=((ENCR_CBC, INTEG, ESN_OFF),)),
        None,
        "encryption: ours AES128-GCM",
    ),
    ("no-filter", Settings(), Settings(), (only(TCP), only(UDP)), "protocol: ours tcp, theirs udp"),
]


@pytest.mark.parametrize(("code", "settings", "other", "changes", "difference"), CASES)
def test_both_operators_read_both_sides_and_the_first_difference(
    code: str, settings: Settings, other: Settings, changes: tuple[Change, Change] | None, difference: str
) -> None:
    talk = Dialogue(settings, other, *changes) if changes else Dialogue(settings, other)
    asked = Acquire(ALL_REQID, tcp(A4, B4, 445)) if changes else Acquire(ALL_REQID, ping(A4, B4))
    talk.talk(talk.a.hear(asked, 0.0))
    ours, theirs = talk.a.told(code), talk.b.told(code)
    whole(ours, "everything")
    whole(theirs, "everything")
    assert ours.fields["difference"].startswith(difference)
    assert (ours.fields["ours"], ours.fields["theirs"]) != (theirs.fields["ours"], theirs.fields["theirs"])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00\x00\x00", b"\xff" * 40, bytes(500)])
def test_what_a_peer_says_of_its_traffic_is_text_for_people_and_garbage_is_left_out(data: bytes) -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    payloads: list[Payload] = [
        VendorPayload(offers.VENDOR),
        NotifyPayload(offers.OUR_TRAFFIC, data),
        NotifyPayload(offers.OUR_OFFER, data),
    ]
    message = parse_clear(build_clear(clear.header, payloads))
    assert offers.told_traffic(message) == ()
    assert offers.told((), message) is None


def test_a_peer_s_traffic_is_shown_as_seen_from_here() -> None:
    talk = Dialogue()
    regions = [region for one in plans.plan(B4, [A4]).protect for region in one.selectors]
    clear = parse_clear(datagrams(talk.acquire())[0].data)
    message = parse_clear(build_clear(clear.header, offers.traffic(regions[:1])))
    assert message.notify(NotifyType.TS_UNACCEPTABLE) is not None
    assert offers.told_traffic(message) == (regions[0].reversed,)


def test_whose_ike_the_peer_has_is_guessed_shown_and_told() -> None:
    talk = Dialogue(Settings(ike=(GCM_X25519,)), Settings(ike=(CBC_X25519,)))
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    payloads: list[Payload] = [*clear.payloads, VendorPayload(STRONGSWAN)]
    marked = build_clear(clear.header, payloads)
    talk.deliver(replace(init, data=marked))
    told = talk.b.told("no-proposal")
    assert f"{talk.a.own} (strongSwan)" in told.message
    assert told.fields["vendor"] == "strongSwan"


def test_the_guess_is_part_of_the_sa() -> None:
    talk = Dialogue()
    init = datagrams(talk.acquire())[0]
    clear = parse_clear(init.data)
    payloads: list[Payload] = [*clear.payloads, VendorPayload(STRONGSWAN)]
    marked = build_clear(clear.header, payloads)
    talk.deliver(replace(init, data=marked))
    (sa,) = talk.b.engine.snapshot().ike_sas
    assert sa.vendor == "strongSwan"
