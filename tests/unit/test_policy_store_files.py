# SPDX-License-Identifier: GPL-2.0-or-later
"""What stores keep: whole or not at all, whatever the disk does, and nothing believed that is not whole."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.failing_disk import BROKEN, FULL, READ_ONLY, Memory, PowerCutError
from xfrmd import limits
from xfrmd.adapters.policy_stores import StoreError, StoreFiles
from xfrmd.errors import PolicyError
from xfrmd.model.store import Store
from xfrmd.policy.package import DamagedError, Kept, NewerFormatError, Package, decode, encode

PERSISTENT, LOCAL = Store.PERSISTENT, Store.LOCAL
HERE = Path("/var/lib/xfrmd/stores")
OLD = Kept(Package("old: text\n", "/etc/xfrmd/old.yaml"), "Old", 1.5)
NEW = Kept(Package("new", "/n", {"/a": "b"}, {"v": ("1", "2"), "w": "x"}), "New", 2.0, allow_lockout=True)


def assign(stores: StoreFiles, store: Store, kept: Kept) -> None:
    stores.prepare(store, kept)
    stores.commit(store)
    stores.duplicate(store, kept)


def disk_with(*kept: tuple[Store, Kept]) -> dict[Path, bytes]:
    disk = Memory()
    for store, one in kept:
        assign(StoreFiles(HERE, disk), store, one)
    return {path: inode.content for path, inode in disk.names.items()}


def found(disk: Memory, store: Store) -> Kept | None:
    """What a start finds: the policy, else its copy."""
    stores = StoreFiles(HERE, disk)
    try:
        return stores.load(store)
    except PolicyError:
        return stores.load(store, copy=True) if store is PERSISTENT else None


def test_a_kept_policy_is_read_as_it_was_written() -> None:
    for kept in (OLD, NEW):
        assert decode(encode(kept)) == kept
    assert OLD.package.checksum != NEW.package.checksum


def test_every_file_that_is_cut_off_or_changed_in_any_octet_is_damaged() -> None:
    octets = encode(NEW)
    for count in range(len(octets)):
        with pytest.raises(DamagedError):
            decode(octets[:count])
    for place in range(len(octets)):
        for change in (0x01, 0x20, 0x80):
            one = bytearray(octets)
            one[place] ^= change
            try:
                decode(bytes(one))
            except (DamagedError, NewerFormatError):
                continue
            pytest.fail(f"octet {place} changed by {change:#x} is not noticed")
    with pytest.raises(DamagedError):
        decode(octets + b"\n")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"[" * 100_000, b'{"text": 1}', b"\xff", b'{"files": 0}'),
        json.dumps({**NEW.package.to_json(), "policy": "New", "since": "x", "allow_lockout": False}).encode(),
        json.dumps({**NEW.package.to_json(), "policy": "New", "since": 0, "allow_lockout": 1}).encode(),
        json.dumps({**NEW.package.to_json(), "variables": {"a": [1]}, "policy": "", "since": 0}).encode(),
    ],
)
def test_a_whole_file_with_something_else_in_it_is_damaged(body: bytes) -> None:
    head = f"xfrmd-policy 1 {hashlib.sha256(body).hexdigest()} {len(body)}\n".encode()
    with pytest.raises(DamagedError):
        decode(head + body)


def test_a_newer_format_is_told_apart_and_not_written_over() -> None:
    newer = b"xfrmd-policy 2 something else entirely\n\x00"
    with pytest.raises(NewerFormatError, match="newer version of xfrmd"):
        decode(newer)
    disk = Memory({HERE / "persistent": newer})
    with pytest.raises(NewerFormatError, match="/persistent is of a newer version"):
        assign(StoreFiles(HERE, disk), PERSISTENT, NEW)
    assert disk.read(HERE / "persistent", 100) == newer
    assert HERE / "persistent.new" not in disk.names


def test_a_policy_too_large_to_be_read_again_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_FILE_SIZE", 100)
    with pytest.raises(PolicyError, match="is not kept"):
        encode(NEW)


Deed = Callable[[StoreFiles], None]


def cuts(before: dict[Path, bytes], deed: Deed) -> Iterator[tuple[int, Memory]]:
    """A disk after a loss of power at each step of a deed, in each state that it may be in."""
    whole = Memory(before)
    deed(StoreFiles(HERE, whole))
    for power in range(whole.steps + 1):
        disk = Memory(before, power)
        try:
            deed(StoreFiles(HERE, disk))
        except PowerCutError:
            assert power < whole.steps
        for state in disk.survivors():
            yield power - whole.steps, Memory(state)


@pytest.mark.parametrize("store", [PERSISTENT, LOCAL])
def test_power_that_goes_at_any_octet_of_an_assignment_loses_nothing(store: Store) -> None:
    seen = set[str]()
    for left, disk in cuts(disk_with((store, OLD)), lambda stores: assign(stores, store, NEW)):
        kept = found(disk, store)
        assert kept in (OLD, NEW)
        assert kept == NEW or left < 0, "it was kept when the deed was done"
        seen.add(kept.policy)
        assign(StoreFiles(HERE, disk), store, NEW)  # whatever lies about does not stand in the way
        assert found(disk, store) == NEW
    assert seen == {"Old", "New"}


def test_power_that_goes_during_a_first_assignment_leaves_nothing_or_all_of_it() -> None:
    states = [found(disk, PERSISTENT) for _, disk in cuts({}, lambda stores: assign(stores, PERSISTENT, OLD))]
    assert None in states
    assert OLD in states
    assert all(kept in (None, OLD) for kept in states)


def test_power_that_goes_while_a_policy_is_unassigned_leaves_it_or_nothing() -> None:
    before = disk_with((PERSISTENT, OLD), (LOCAL, NEW))
    seen = set[str]()
    for left, disk in cuts(before, lambda stores: stores.forget(PERSISTENT)):
        kept = found(disk, PERSISTENT)
        assert kept is None or (kept == OLD and left < 0)
        assert found(disk, LOCAL) == NEW
        seen.add(kept.policy if kept else "")
    assert seen == {"", "Old"}


@pytest.mark.parametrize("refusal", [FULL, READ_ONLY, BROKEN])
def test_a_disk_that_refuses_a_step_leaves_the_old_policy_and_says_so(refusal: int) -> None:
    before = disk_with((LOCAL, OLD))
    whole = Memory(before)
    assign(StoreFiles(HERE, whole), LOCAL, NEW)
    for step in range(1, whole.steps + 1):
        disk = Memory(before)
        disk.refusals[step] = refusal
        with pytest.raises(StoreError, match=os.strerror(refusal)):
            assign(StoreFiles(HERE, disk), LOCAL, NEW)
        assert found(disk, LOCAL) == OLD, step
        assert HERE / "local.new" not in disk.names


def test_a_disk_that_refuses_everything_from_a_step_on_leaves_a_whole_policy() -> None:
    before = disk_with((PERSISTENT, OLD))
    whole = Memory(before)
    assign(StoreFiles(HERE, whole), PERSISTENT, NEW)
    for step in range(1, whole.steps + 1):
        disk = Memory(before)
        disk.refusals = dict.fromkeys(range(step, 10_000), FULL)
        with pytest.raises(StoreError):
            assign(StoreFiles(HERE, disk), PERSISTENT, NEW)
        assert found(disk, PERSISTENT) in (OLD, NEW)


def test_a_damaged_policy_is_named_and_its_copy_is_whole() -> None:
    disk = Memory(disk_with((PERSISTENT, OLD)))
    disk.names[HERE / "persistent"].content = b"xfrmd-policy 1 garbage"
    with pytest.raises(DamagedError, match="the file /var/lib/xfrmd/stores/persistent does not begin"):
        StoreFiles(HERE, disk).load(PERSISTENT)
    assert found(disk, PERSISTENT) == OLD


def test_on_a_real_disk_the_files_are_private_and_whole(tmp_path: Path) -> None:
    stores = StoreFiles(tmp_path / "stores")
    assert stores.load(PERSISTENT) is None
    assign(stores, PERSISTENT, OLD)
    assign(stores, PERSISTENT, NEW)
    assert stores.load(PERSISTENT) == stores.load(PERSISTENT, copy=True) == NEW
    assert stat.S_IMODE((tmp_path / "stores").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "stores").iterdir()} == {0o600}
    assert sorted(path.name for path in (tmp_path / "stores").iterdir()) == ["persistent", "persistent.copy"]
    stores.prepare(PERSISTENT, OLD)
    stores.discard(PERSISTENT)
    stores.forget(PERSISTENT)
    assert list((tmp_path / "stores").iterdir()) == []
    (tmp_path / "stores" / "local").symlink_to("/etc/passwd")
    with pytest.raises(PolicyError, match="cannot be read"):
        stores.load(LOCAL)
