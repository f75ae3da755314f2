# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of secrets that outlive the state of SAs."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest

from xfrmd.adapters.durable import Disk
from xfrmd.adapters.lasting_secrets import LastingSecrets

AGE = 500.0


@pytest.fixture
def file(tmp_path: Path) -> LastingSecrets:
    return LastingSecrets(tmp_path / "secrets", Disk(), AGE)


NUMBERS = itertools.count(1)


def entropy(count: int) -> bytes:
    return next(NUMBERS).to_bytes(count)


def test_a_secret_is_made_once_and_is_for_its_owner_alone(file: LastingSecrets) -> None:
    first = file.load(entropy, 1000.0)
    assert len(first) == 1
    assert file.load(entropy, 1000.0 + AGE - 1) == first
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_an_old_secret_is_followed_by_another_and_still_counts_until_the_next(file: LastingSecrets) -> None:
    (first,) = file.load(entropy, 1000.0)
    later = 1000.0 + AGE
    second, kept = file.load(entropy, later)
    assert kept == first != second
    third, kept = file.load(entropy, later + AGE)
    assert kept == second != third


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": 2, "since": 1000, "secrets": ["' + b"00" * 32 + b'"]}',
        b'{"schema": 1, "since": 1000, "secrets": ["00"]}',
        b'{"schema": 1, "since": 1000, "secrets": [7]}',
        b'{"schema": 1, "since": "x", "secrets": ["' + b"00" * 32 + b'"]}',
        b"[" * 4096,
    ],
)
def test_a_damaged_file_counts_as_none(file: LastingSecrets, content: bytes) -> None:
    file.path.write_bytes(content)
    file.path.chmod(0o600)
    (fresh,) = file.load(entropy, 1000.0)
    assert fresh.reveal() != bytes(32)
    assert file.load(entropy, 1001.0) == (fresh,)


def test_what_others_can_read_is_not_used_any_more(file: LastingSecrets) -> None:
    (first,) = file.load(entropy, 1000.0)
    file.path.chmod(0o644)
    (second,) = file.load(entropy, 1001.0)
    assert first != second
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_clock_that_went_back_makes_another(file: LastingSecrets) -> None:
    (first,) = file.load(entropy, 1000.0)
    assert file.load(entropy, 999.0)[1:] == (first,)


def test_a_secret_that_cannot_be_kept_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LastingSecrets(tmp_path / "nowhere" / "secrets", Disk(), AGE).load(entropy, 1.0)
