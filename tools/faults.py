# SPDX-License-Identifier: GPL-2.0-or-later
"""What faults let through, as a document: rows that a run of the fault tests left, made into docs/faults.md by
`make faults`. Unlike what tools/docs makes it is measured, and so has a date.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.docs.markdown import table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROWS: Final = "XFRMD_FAULTS"
"""The file that tests add rows to, a JSON object a line; without it they keep none."""
STATED: Final = ("stated: ", "positive control")
"""How the reasons begin for which something may pass; others are why something was lost."""
Row = Mapping[str, Any]

TEMPLATE: Final = Path(__file__).with_name("faults.in.md")


def keep(kind: str, test: str, row: DataclassInstance) -> None:
    """Add a row of a test to the file that the environment names, if it names one."""
    if ROWS in os.environ:
        with Path(os.environ[ROWS]).open("a") as file:
            file.write(json.dumps({"kind": kind, "test": test, **asdict(row)}) + "\n")


def unstated(rows: Iterable[Row]) -> list[Row]:
    """Rows in which something passed without a stated reason, or that nothing was tried in."""
    return [row for row in rows if (_passed(row) and not row["why"].startswith(STATED)) or row.get("attacks") == 0]


def document(rows: Sequence[Row], date: str) -> str:
    """The whole of it, rows of one test together."""
    boots = sorted((row for row in rows if row["kind"] == "boot"), key=lambda row: str(row["test"]))
    # Rows of two labs at once come mixed: those of one flow together, controls at the end.
    flows = list(dict.fromkeys(row["scene"] for row in rows if row["kind"] == "chaos"))
    chaos = [row for row in rows if row["kind"] == "chaos"]
    chaos.sort(key=lambda row: (flows.index(row["scene"]), row["why"] == "positive control"))
    head = ("fault", "moment", "attacks", "tried", "clear", "in", "lost", "ESP", "test", "why")
    boot_table = table(head, (_boot(row) for row in boots))
    chaos_table = table(
        ("flow", "fault", "when", "clear", "lost", "back", "work", "why"), (_chaos(row) for row in chaos)
    )
    template = TEMPLATE.read_text()
    return template.format(
        date=date, boots=len(boots), chaos=len(chaos), boot_table=boot_table, chaos_table=chaos_table
    )


def _passed(row: Row) -> bool:
    return bool(row["clear"] or row.get("came_in"))


def _boot(row: Row) -> list[str]:
    counts = [str(row[name]) for name in ("attacks", "tried", "clear", "came_in")]
    lost = [f"{row['lost']} of {row['sent']}", str(row["lost_esp"])]
    return [row["fault"], row["moment"], *counts, *lost, f"`{row['test']}`", row["why"]]


def _chaos(row: Row) -> list[str]:
    back = f"{row['back'] * 1000:.0f} ms" if row["back"] else "-"
    work = "-" if row["work"] is None else f"{row['work'] * 1000:.0f} ms"
    lost = f"{row['lost']} of {row['sent']}"
    return [row["scene"], row["fault"], row["moment"], str(row["clear"]), lost, back, work, row["why"]]


def main(source: str, target: str) -> int:
    """Make the document from the rows of a file. Returns the exit code: 1 where something passed that may not."""
    rows = [json.loads(line) for line in Path(source).read_text().splitlines()]
    bad = unstated(rows)
    for row in bad:
        print(f"without a stated reason, or without a control: {row}", file=sys.stderr)
    if not bad:
        Path(target).write_text(document(rows, time.strftime("%Y-%m-%d", time.gmtime())))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
