# SPDX-License-Identifier: GPL-2.0-or-later
"""The state file and its key: what was written is read, by whom the key was handed to, and nothing else ever is."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from xfrmd import limits
from xfrmd.adapters.state_file import StateError, StateFile
from xfrmd.adapters.state_key import SIZE, StateKey, fresh_page
from xfrmd.daemon.custody import Custody
from xfrmd.ike.saved import Record
from xfrmd.model.notice import Notice
from xfrmd.model.secret import Secret

VERSION = 3


class Life:
    """Runs of a service whose manager holds the key."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sas"
        self.rng = random.Random(1)
        self.page = fresh_page(self.rng.randbytes)

    def run(self, version: int = VERSION) -> StateFile:
        return StateFile(self.path, StateKey(self.page), self.rng.randbytes, version)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path)
    yield made
    os.close(made.page)


def records(**values: str | None) -> list[Record]:
    return [Record(name, None if text is None else Secret(text.encode())) for name, text in values.items()]


def written(life: Life) -> dict[str, bytes]:
    file = life.run()
    file.append(records(a="one", b="two"))
    file.append(records(a="three", c="four"))
    file.append(records(b=None))
    file.close()
    return {"a": b"three", "c": b"four"}


def test_what_was_written_is_read_by_the_next_run_and_the_one_after(life: Life) -> None:
    assert life.run().read() == {}
    assert written(life) == life.run().read()
    second = life.run()
    assert second.read() == {"a": b"three", "c": b"four"}
    second.append(records(d="five"))
    assert life.run().read() == {"d": b"five"}


def test_a_run_that_keeps_nothing_leaves_the_file_as_it_was(life: Life) -> None:
    written(life)
    life.run().read()
    assert life.run().read() == {"a": b"three", "c": b"four"}


def test_keys_are_not_to_be_read_in_the_file_and_it_is_ours_alone(life: Life) -> None:
    file = life.run()
    file.append(records(a="a key in the clear"))
    assert b"clear" not in life.path.read_bytes()
    assert life.path.stat().st_mode & 0o777 == 0o600
    life.path.chmod(0o640)
    with pytest.raises(StateError, match="ours alone"):
        life.run().read()


def test_a_file_that_is_cut_anywhere_is_refused(life: Life) -> None:
    written(life)
    whole = life.path.read_bytes()
    for length in range(len(whole)):
        life.path.write_bytes(whole[:length])
        with pytest.raises(StateError):
            life.run().read()
    life.path.write_bytes(whole)
    assert life.run().read()


def test_a_file_with_any_bit_changed_is_refused(life: Life) -> None:
    written(life)
    whole = life.path.read_bytes()
    for place, bit in itertools.product(range(len(whole)), range(8)):
        changed = bytearray(whole)
        changed[place] ^= 1 << bit
        life.path.write_bytes(changed)
        with pytest.raises(StateError):
            life.run().read()


def test_what_is_torn_behind_the_last_announced_frame_counts_for_nothing(life: Life) -> None:
    wanted = written(life)
    whole = life.path.read_bytes()
    for tail in (b"\0", b"\0\0\0\x40" + bytes(30), bytes(200)):
        life.path.write_bytes(whole + tail)
        assert life.run().read() == wanted


def test_an_older_copy_of_the_file_is_refused(life: Life) -> None:
    file = life.run()
    file.append(records(a="one"))
    older = life.path.read_bytes()
    file.append(records(a="two"))
    life.path.write_bytes(older)
    with pytest.raises(StateError, match="cut off"):
        life.run().read()
    life.run().append(records(a="three"))
    life.path.write_bytes(older)
    with pytest.raises(StateError, match="key"):
        life.run().read()


def test_a_death_while_one_file_takes_the_place_of_the_other(life: Life) -> None:
    written(life)
    key = StateKey(life.page)
    salt = life.path.read_bytes()[12:28]
    slot = key.find(salt)
    assert slot is not None
    key.announce(slot._replace(salt=b"s" * 16, frames=1))
    assert life.run().read() == {"a": b"three", "c": b"four"}  # not renamed yet: the old file still counts
    second = life.run()
    second.read()
    second.append(records(z="new"))
    assert life.run().read() == {"z": b"new"}


def test_another_key_and_a_newer_version_are_told_apart(life: Life, tmp_path: Path) -> None:
    written(life)
    with pytest.raises(StateError, match="newer xfrmd"):
        life.run(VERSION - 1).read()
    assert life.run(VERSION + 1).read()
    stranger = Life(tmp_path)
    with pytest.raises(StateError, match="key for it is lost"):
        StateFile(life.path, StateKey(stranger.page), life.rng.randbytes, VERSION).read()
    os.close(stranger.page)
    life.path.unlink()
    with pytest.raises(StateError, match="missing"):
        life.run().read()


def test_stale_records_do_not_pile_up(life: Life) -> None:
    file, text = life.run(), "x" * 100_000
    for _ in range(40):
        file.append(records(a=text))
    assert life.path.stat().st_size < limits.STATE_STALE + 6 * len(text)
    assert life.run().read() == {"a": text.encode()}


def test_a_page_of_something_else_is_no_key() -> None:
    fd = os.memfd_create("other")
    with pytest.raises(ValueError, match="another size"):
        StateKey(fd)
    os.ftruncate(fd, SIZE)
    with pytest.raises(ValueError, match="something else"):
        StateKey(fd)
    os.close(fd)


class Changes:
    """An engine in which something has changed."""

    def __init__(self) -> None:
        self.records = records(a="one")
        self.forgotten = 0

    def changes(self) -> list[Record]:
        return self.records

    def forget_changes(self) -> None:
        self.forgotten += 1


def test_when_the_state_cannot_be_kept_nothing_of_the_run_is_taken_for_it(life: Life, tmp_path: Path) -> None:
    told: list[Notice] = []
    custody = Custody(life.run(), Changes(), told.append)
    custody.take()
    custody.keep()
    assert custody.active
    directory = tmp_path / "full"
    directory.mkdir()
    life.path.rename(directory / "copy")
    broken = life.run()
    broken.path = tmp_path / "nowhere" / "sas"
    custody = Custody(broken, Changes(), told.append)
    custody.take()
    custody.keep()
    assert [notice.code for notice in told] == ["state-lost"]
    assert not custody.active
    (directory / "copy").rename(life.path)
    with pytest.raises(StateError):
        life.run().read()


def test_without_a_service_manager_nothing_is_kept() -> None:
    changes = Changes()
    custody = Custody(None, changes, lambda _: None)
    custody.take()
    custody.keep()
    assert not custody.active
    assert changes.forgotten == 1


def test_nothing_is_kept_before_what_was_found_is_taken(life: Life) -> None:
    life.run().append(records(lineage="not one of ours"))
    told: list[Notice] = []
    custody = Custody(life.run(), Changes(), told.append)
    custody.look()
    custody.keep()
    assert life.run().read() == {"lineage": b"not one of ours"}
    assert [notice.code for notice in told] == ["state-refused"]
