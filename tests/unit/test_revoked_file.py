# SPDX-License-Identifier: GPL-2.0-or-later
"""Who was called revoked, from run to run: what is read is what was written and holds still, or nothing."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.pki import NOW
from xfrmd.adapters.durable import Disk
from xfrmd.adapters.revoked_file import RevokedFile
from xfrmd.credentials.ocsp import Revoked, Status
from xfrmd.daemon.remembered import Remembered
from xfrmd.ike.events import RevocationKept
from xfrmd.limits import fetching
from xfrmd.model.notice import Notice

HOUR = timedelta(hours=1)


def row(number: int, until: timedelta = HOUR) -> Revoked:
    return Revoked(number.to_bytes(37), Status(number.to_bytes(16), True, NOW + until, NOW - HOUR / 7))


def remembered(path: Path) -> tuple[Remembered, list[Notice]]:
    told = list[Notice]()
    return Remembered(RevokedFile(path, Disk()), told.append), told


def test_what_is_kept_is_told_to_later_runs_as_long_as_it_holds(tmp_path: Path) -> None:
    first, told = remembered(tmp_path / "revoked")
    assert first.recall(NOW) is None
    rows = (row(1), row(2, 3 * HOUR), row(3))
    first.keep(rows)
    second, more = remembered(tmp_path / "revoked")
    assert second.recall(NOW) == RevocationKept(rows)
    assert second.recall(NOW + 2 * HOUR) == RevocationKept(rows[1:2])
    assert second.recall(NOW + 4 * HOUR) is None
    second.keep(())
    assert first.recall(NOW) is None
    assert stat.S_IMODE((tmp_path / "revoked").stat().st_mode) == 0o600
    assert told + more == []


def test_as_many_as_a_run_keeps_are_read(tmp_path: Path) -> None:
    file, told = remembered(tmp_path / "revoked")
    rows = tuple(
        Revoked(b"\xff" * 33 + number.to_bytes(4), Status(number.to_bytes(16), True, NOW + HOUR, NOW - HOUR / 7))
        for number in range(fetching.OCSP_KEPT)
    )
    file.keep(rows)
    assert file.recall(NOW) == RevocationKept(rows)
    assert told == []


def content(*rows: object, schema: object = 1) -> bytes:
    return json.dumps({"schema": schema, "revoked": rows}).encode()


GOOD = ("01" * 20, "02" * 16, NOW.isoformat(), (NOW + HOUR).isoformat())


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"[" * 4096,
        b"\xff\xfe",
        content(GOOD, schema=2),
        content(*[GOOD] * (fetching.OCSP_KEPT + 1)),
        content(GOOD)[:-1] + b" " * 256 * (fetching.OCSP_KEPT + 1) + b"}",
        content(("zz", *GOOD[1:])),
        content(("", *GOOD[1:])),
        content(("01" * 65, *GOOD[1:])),
        content((*GOOD[:3], "2030-06-01T00:00:00")),
        content((*GOOD[:3], "9" * 40)),
        content((*GOOD[:3], 1e400)),
        content((*GOOD, "more")),
        content(GOOD[:3]),
        content(7),
        content({"link": "01"}),
    ],
)
def test_whatever_else_is_there_is_told_and_counts_as_nothing(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "revoked"
    path.write_bytes(octets)
    path.chmod(0o600)
    file, told = remembered(path)
    assert file.recall(NOW) is None
    assert [one.code for one in told] == ["revoked-file"]
    file.keep((row(1),))
    assert file.recall(NOW) == RevocationKept((row(1),))


def test_what_others_could_have_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "revoked"
    file, told = remembered(path)
    file.keep((row(1),))
    path.chmod(0o620)
    assert file.recall(NOW) is None
    assert "others may read or write it" in told[0].message
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(content(GOOD))
    path.symlink_to(tmp_path / "elsewhere")
    assert file.recall(NOW) is None


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    file, told = remembered(tmp_path / "missing" / "revoked")
    file.keep((row(1),))
    assert ["No such file" in one.message for one in told] == [True]


def test_without_a_state_directory_nothing_is_kept() -> None:
    told = list[Notice]()
    file = Remembered(None, told.append)
    file.keep((row(1),))
    assert file.recall(NOW) is None
    assert told == []
