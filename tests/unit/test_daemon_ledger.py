# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon remembers of peers is bounded, and strangers cannot drive out those that worked."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.test_daemon_core import sa
from xfrmd import limits
from xfrmd.daemon.ledger import Ledger
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.secret import Secret


def failure(peer: str, level: Level = Level.WARNING) -> Notice:
    return Notice(level, "no-rule", "a stranger", {"peer": peer})


def address(number: int) -> Address:
    return Address(4, 0x0A00_0000 + number)


def test_strangers_do_not_drive_out_peers_that_worked() -> None:
    ledger = Ledger(lambda: 5.0)
    ledger.installed(sa(9, inbound=False))
    for number in range(3 * limits.STRANGERS_REMEMBERED):
        ledger.heard(failure(str(address(number))))
    assert ledger.peers["192.0.2.2"].worked_at == 5.0
    assert len(ledger.peers) == limits.STRANGERS_REMEMBERED + 1
    assert str(address(0)) not in ledger.peers


def test_peers_that_worked_have_a_bound_too() -> None:
    ledger = Ledger(lambda: 5.0)
    for number in range(limits.PEERS_REMEMBERED + 10):
        ledger.installed(replace(sa(9, inbound=False), dst=address(number)))
    assert len(ledger.peers) == limits.PEERS_REMEMBERED


def test_a_peer_that_works_again_has_no_failures_but_its_history() -> None:
    ledger = Ledger(lambda: 5.0)
    for _ in range(3):
        ledger.heard(failure("192.0.2.2"))
    ledger.heard(failure("192.0.2.2", Level.INFO))
    assert ledger.peers["192.0.2.2"].failures == 3
    ledger.installed(sa(9, inbound=False))
    record = ledger.peers["192.0.2.2"]
    assert (record.failures, record.failed_at, record.worked_at) == (0, 5.0, 5.0)


def test_keys_are_forgotten_once_the_kernel_has_them() -> None:
    ledger, entry = Ledger(lambda: 5.0), sa(9, inbound=False)
    keyed = replace(entry, encryption_key=Secret(b"key"), integrity_key=Secret(b"other"))
    ledger.installed(keyed)
    kept = ledger.sas[keyed.key].sa
    assert (kept.encryption_key.reveal(), kept.integrity_key.reveal(), kept.spi) == (b"", b"", 9)
