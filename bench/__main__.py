# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m bench`: measure, print tables, and on request keep them in a file or in the history."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.machine import Machine, this_machine
from bench.report import Table, tell
from bench.tables import FULL, LONG, NEEDS_ROOT, QUICK, TABLES, TINY

HISTORY = Path(__file__).parents[1] / "docs" / "performance.md"
SCHEMA = 2


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure beside the peers, and print tables.")
    parser.add_argument("name", nargs="*", help=f"parts of names of tables, all by default: {', '.join(TABLES)}")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", dest="sizes", const=QUICK, default=FULL, help="under a minute")
    size.add_argument("--long", action="store_const", dest="sizes", const=LONG, help="more handshakes of daemons")
    size.add_argument("--tiny", action="store_const", dest="sizes", const=TINY, help="measure nothing, try everything")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write JSON, too")
    parser.add_argument("--record", action="store_true", help=f"append the tables to {HISTORY.name}")
    return parser


def main() -> int:
    """Run what is asked for. Exit status 0, or 2 when no table has such a name."""
    options = arguments().parse_args()
    chosen = [name for name in TABLES if not options.name or any(part in name for part in options.name)]
    if not chosen:
        sys.stderr.write(f"bench: no such table; there are {', '.join(TABLES)}\n")
        return 2
    left_out = [name for name in chosen if name in NEEDS_ROOT] if os.geteuid() else []
    if left_out:
        tell(f"LEFT OUT: {', '.join(left_out)}: network namespaces need root")
    machine, begun = this_machine(), time.monotonic()
    print(f"### {machine}\n", flush=True)
    made = []
    for name in chosen:
        if name not in left_out:
            made.append(TABLES[name](options.sizes))
            print(made[-1].markdown(), flush=True)
    tell(f"{time.monotonic() - begun:.0f} s")
    _keep(machine, made, options)
    return 0


def _keep(machine: Machine, tables: Sequence[Table], options: argparse.Namespace) -> None:
    if options.json:
        answer = {"schema": SCHEMA, "machine": asdict(machine), "tables": [table.to_json() for table in tables]}
        options.json.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    if options.record:
        with HISTORY.open("a", encoding="utf-8") as file:
            file.write(f"\n### {machine}\n\n" + "\n".join(table.markdown() for table in tables))


if __name__ == "__main__":
    sys.exit(main())
