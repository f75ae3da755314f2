# SPDX-License-Identifier: GPL-2.0-or-later
"""Message IDs and retransmission, RFC 7296 2.1-2.3."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from xfrmd import limits
from xfrmd.errors import LocalProtocolError
from xfrmd.ike.window import Arrival, Window


# rfc 7296: remember-response message-id
def test_requests_are_taken_once_and_in_order() -> None:
    window = Window()
    assert window.judge(0, b"first") is Arrival.NEW
    window.responded(b"first", b"answer")
    assert window.judge(0, b"first") is Arrival.REPEATED
    assert window.response == b"answer"
    assert window.judge(0, b"other") is Arrival.STALE
    assert window.judge(1, b"second") is Arrival.NEW
    assert window.judge(2, b"third") is Arrival.AHEAD
    window.responded(b"second", b"answer 2")
    assert window.judge(0, b"first") is Arrival.STALE


def test_a_request_is_known_again_by_its_print_and_after_a_restart_even_of_a_version_that_kept_it_whole() -> None:
    window, request = Window(), bytes(range(256)) * 8
    window.responded(request, b"answer")
    saved = window.saved()
    assert len(saved.request) == 32
    for found in (saved, dataclasses.replace(saved, request=request)):
        again = Window.restored(found)
        assert again.judge(0, request) is Arrival.REPEATED
        assert again.judge(0, request[1:]) is Arrival.STALE
        assert again.saved() == saved


# rfc 7296: retransmit-initiator retransmit-identical
def test_a_request_is_repeated_octet_for_octet_until_it_is_given_up() -> None:
    window = Window()
    due = window.sent(b"request", 100.0)
    times = [100.0]
    while (octets := window.retransmit(due)) is not None:
        assert octets == b"request"
        times.append(due)
        assert window.due is not None
        due = window.due
    assert len(times) == limits.RETRANSMIT_TRIES
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] == limits.RETRANSMIT_FIRST
    assert all(b == pytest.approx(a * limits.RETRANSMIT_FACTOR) for a, b in itertools.pairwise(gaps))
    assert 60 < due - 100.0 < 75, "limits.py says 68 s"


# rfc 7296: message-id one-outstanding
def test_only_the_outstanding_request_awaits_an_answer() -> None:
    window = Window()
    assert not window.awaits(0)
    window.sent(b"0", 0.0)
    assert window.awaits(0)
    assert not window.awaits(1)
    with pytest.raises(LocalProtocolError):
        window.sent(b"1", 0.0)
    window.answered()
    assert not window.awaits(0)
    assert (window.busy, window.due, window.retransmit(9.0)) == (False, None, None)
    window.sent(b"1", 1.0)
    assert window.awaits(1)


# rfc 7296: cookie-first
def test_starting_over_keeps_the_message_id() -> None:
    window = Window()
    window.sent(b"without cookie", 0.0)
    window.retransmit(0.5)
    assert window.restart(b"with cookie", 1.0) == 1.0 + limits.RETRANSMIT_FIRST
    assert window.awaits(0)
    assert window.retransmit(1.5) == b"with cookie"
    assert window.next_id == 1
