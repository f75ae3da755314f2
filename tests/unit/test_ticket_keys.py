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


class Unforgetting(Disk):
    """A disk that may keep what it is to remove."""

    forgets = True

    def remove(self, path: Path) -> None:
        if not self.forgets:
            raise OSError(30, "Read-only file system")
        super().remove(path)


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


def test_keys_that_are_revoked_come_back_in_no_run(tmp_path: Path) -> None:
    clock = Clock()
    keyring, posted, told = ring(tmp_path / "keys", clock)
    keyring.look()
    clock.now += limits.TICKET_LIFETIME
    keyring.look()
    keyring.revoke()
    before = {key for one in posted[:2] for key in one.keys}
    (key,) = posted[2].keys
    assert len(before) == 2
    assert key not in before
    other, again, _ = ring(tmp_path / "keys", clock)
    other.look()
    assert again == [posted[2]]
    assert told == []


def test_keys_that_are_revoked_before_there_were_any_are_told_only_when_there_may_be(tmp_path: Path) -> None:
    clock = Clock()
    earlier, before, _ = ring(tmp_path / "keys", clock)
    earlier.look()
    keyring, posted, _ = ring(tmp_path / "keys", clock)
    keyring.revoke()
    assert posted == []
    keyring.look()
    assert posted[0].keys
    assert posted != before


def test_keys_that_the_disk_does_not_forget_count_no_more_and_are_forgotten_later(tmp_path: Path) -> None:
    clock, disk = Clock(), Unforgetting()
    posted, told = list[TicketKeys](), list[Notice]()
    file = LastingSecrets(tmp_path / "keys", disk, limits.TICKET_LIFETIME)
    keyring = TicketKeyring(file, posted.append, told.append, clock)
    keyring.look()
    disk.forgets = False
    for _ in range(2):
        keyring.revoke()
        keyring.look()
    assert [one.keys for one in posted[1:]] == [(), ()]
    assert ["while the file is there" in one.remedy for one in told] == [True, True]
    disk.forgets = True
    keyring.look()
    assert len(posted) == 4
    assert posted[3].keys[0] not in posted[0].keys


def test_without_a_state_directory_there_are_none() -> None:
    posted, told = list[TicketKeys](), list[Notice]()
    keyring = TicketKeyring(None, posted.append, told.append, Clock())
    keyring.look()
    keyring.revoke()
    assert (posted, told) == ([], [])
