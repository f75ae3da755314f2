# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys of tickets while the daemon runs: followed by others in time, and none that could not be kept."""

from __future__ import annotations

from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.durable import Disk
from xfrmd.adapters.lasting_secrets import LastingSecrets
from xfrmd.daemon.ticket_keys import TicketKeyring
from xfrmd.ike.events import TicketKeys
from xfrmd.model.notice import Notice


class Clock:
    """Wall-clock time of the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ring(path: Path, clock: Clock) -> tuple[TicketKeyring, list[TicketKeys], list[Notice]]:
    posted, told = list[TicketKeys](), list[Notice]()
    file = LastingSecrets(path, Disk(), limits.TICKET_LIFETIME)
    return TicketKeyring(file, posted.append, told.append, clock), posted, told


def test_a_key_is_followed_by_another_when_its_tickets_may_be_over(tmp_path: Path) -> None:
    clock = Clock()
    keyring, posted, told = ring(tmp_path / "keys", clock)
    keyring.look()
    clock.now += limits.TICKET_LIFETIME - 1
    keyring.look()
    (first,) = posted
    clock.now += 1
    keyring.look()
    assert posted[1].keys[1:] == first.keys
    assert posted[1].keys[0] not in first.keys
    assert told == []


def test_keys_that_cannot_be_kept_are_not_used_and_tried_again(tmp_path: Path) -> None:
    clock = Clock()
    keyring, posted, told = ring(tmp_path / "missing" / "keys", clock)
    for _ in range(3):
        keyring.look()
    assert [one.code for one in told] == ["ticket-keys"]
    assert posted == [TicketKeys(())]
    (tmp_path / "missing").mkdir()
    keyring.look()
    assert len(posted[-1].keys) == 1


def test_without_a_state_directory_there_are_none() -> None:
    posted, told = list[TicketKeys](), list[Notice]()
    TicketKeyring(None, posted.append, told.append, Clock()).look()
    assert (posted, told) == ([], [])
