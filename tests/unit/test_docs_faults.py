# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/faults.md: made of the rows of a run, and refused where something passed without a stated reason."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.boot import test_broken_boots, test_broken_stores
from tests.boot.scene import Row
from tests.lab import chaos
from tools import faults

ROOT = Path(__file__).parents[2]
BOOT_COLUMNS, CHAOS_COLUMNS = 10, 8
CLOSED = Row("daemon missing", "boot", 100, 50, 0, 0, 30, 0, 20)
OPEN = Row("bootmode permit", "before the policy", 100, 50, 7, 3, 30, 0, 20, "stated: bootmode permit")
PUT_BACK = chaos.Row("blocked", "nft flush ruleset", "under traffic", 0, 300, 1, 0.18, 0.03)


def rows_of(document: str) -> list[list[str]]:
    """All rows of its tables with counts, without heads."""
    lines = [line[2:-2].split(" | ") for line in document.splitlines() if line.startswith("|")]
    return [cells for cells in lines if any(cell.isdigit() for cell in cells)]


def test_a_row_is_kept_only_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.ROWS, raising=False)
    faults.keep("boot", "test_life", CLOSED)
    file = tmp_path / "rows"
    monkeypatch.setenv(faults.ROWS, str(file))
    faults.keep("boot", "test_life", CLOSED)
    faults.keep("chaos", "test_chaos", PUT_BACK)
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["kind"], row["fault"]) for row in kept] == [("boot", CLOSED.fault), ("chaos", PUT_BACK.fault)]
    target = tmp_path / "faults.md"
    assert faults.main(str(file), str(target)) == 0
    assert rows_of(target.read_text()) == [
        ["daemon missing", "boot", "100", "50", "0", "0", "0 of 30", "20", "`test_life`", ""],
        ["blocked", "nft flush ruleset", "under traffic", "0", "1 of 300", "180 ms", "30 ms", ""],
    ]


@pytest.mark.parametrize(
    ("changes", "sound"),
    [
        ({}, True),
        ({"why": ""}, False),
        ({"why": "all is blocked"}, False),
        ({"why": "", "clear": 0}, False),
        ({"why": "", "clear": 0, "came_in": 0}, True),
        ({"attacks": 0}, False),
    ],
)
def test_what_passed_without_a_stated_reason_or_was_not_tried_makes_no_document(
    changes: dict[str, object], sound: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"kind": "boot", "test": "test_boot_modes", **asdict(OPEN), **changes}
    file, target = tmp_path / "rows", tmp_path / "faults.md"
    file.write_text(json.dumps(row) + "\n")
    assert faults.main(str(file), str(target)) == (0 if sound else 1)
    assert target.exists() is sound
    assert ("bootmode permit" in capsys.readouterr().err) is not sound


def test_the_document_has_each_broken_boot_and_marks_whatever_passed() -> None:
    rows = rows_of((ROOT / "docs/faults.md").read_text())
    boots = [row for row in rows if len(row) == BOOT_COLUMNS]
    others = [row for row in rows if len(row) == CHAOS_COLUMNS]
    assert {broken.fault for broken in (*test_broken_boots.BROKEN, *test_broken_stores.BROKEN)} <= {
        row[0] for row in boots
    }
    assert {fault.name for fault in (*chaos.FAULTS, *chaos.XFRM_FAULTS)} <= {row[1] for row in others}
    assert all(int(row[2]) > 0 for row in boots), "each has its attacks"
    passed = [row for row in boots if (row[4], row[5]) != ("0", "0")] + [row for row in others if row[3] != "0"]
    assert passed
    assert all(row[-1].startswith(faults.STATED) for row in passed), passed
