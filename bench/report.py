# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of what was measured, for a terminal and for Markdown alike, and as JSON."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

Value = float | str
Row = Mapping[str, Value]
Progress = Callable[[str], None]


class Column(NamedTuple):
    """What of a row is shown, under which heading and in which format."""

    key: str
    heading: str
    form: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. A row without a value for a column has a blank there."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: str = ""

    def markdown(self) -> str:
        """As it stands in docs/performance.md."""
        left = [isinstance(self.rows[0].get(column.key), str) if self.rows else True for column in self.columns]
        lines = [
            f"#### {self.title}\n",
            f"| {' | '.join(column.heading for column in self.columns)} |",
            f"|{'|'.join('---' if is_left else '--:' for is_left in left)}|",
        ]
        lines += [f"| {' | '.join(_cell(row, column) for column in self.columns)} |" for row in self.rows]
        return "\n".join(lines) + (f"\n\n{self.notes}\n" if self.notes else "\n")

    def to_json(self) -> dict[str, object]:
        """With the rows' values as they were measured."""
        return {**asdict(self), "columns": [column.key for column in self.columns]}


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.key)
    return "" if value is None else format(value, column.form)


def tell(what: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"bench: {what}\n")
    sys.stderr.flush()


def cpu_seconds() -> float:
    """CPU time of this process and of programs that it has waited for, in the kernel and outside."""
    return sum(os.times()[:4])


def over(one: Row, other: Row, key: str) -> float:
    """The ratio of two values."""
    return float(one[key]) / max(float(other[key]), 1e-9)


def medians(runs: Sequence[Row]) -> Row:
    """The median of each number of several runs; texts are those of the first."""
    return {
        key: value if isinstance(value, str) else statistics.median(float(run[key]) for run in runs)
        for key, value in runs[0].items()
    }


def alternated(jobs: Mapping[str, Callable[[], Row]], runs: int, progress: Progress) -> dict[str, Row]:
    """Medians of jobs that are run in turn, so that what else the machine does meets all of them alike."""
    found: dict[str, list[Row]] = {name: [] for name in jobs}
    for number in range(1, runs + 1):
        for name, job in jobs.items():
            progress(f"{name}, run {number} of {runs}")
            found[name].append(job())
    return {name: medians(rows) for name, rows in found.items()}
