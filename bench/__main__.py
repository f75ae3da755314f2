# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m bench`: measure, print a table, and on request keep it in the history."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from bench import engine
from bench.machine import this_machine

HISTORY = Path(__file__).parents[1] / "docs" / "performance.md"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure the IKE engine alone.")
    parser.add_argument("suite", nargs="*", help="parts of names of suites, all by default")
    parser.add_argument("--handshakes", type=int, default=300, help="counted handshakes in a run (300)")
    parser.add_argument("--runs", type=int, default=5, help="runs; the figures are their medians (5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--record", action="store_true", help=f"append the table to {HISTORY.name}")
    return parser


def main() -> int:
    """Run what is asked for. Exit status 0, or 2 when no suite has such a name."""
    options = arguments().parse_args()
    wanted = [part.lower() for part in options.suite]
    suites = [s for s in engine.SUITES if not wanted or any(part in s.name.lower() for part in wanted)]
    if not suites:
        sys.stderr.write(f"bench: no such suite; there are {', '.join(s.name for s in engine.SUITES)}\n")
        return 2
    machine = this_machine()
    results = engine.measure_all(suites, options.handshakes, options.runs)
    if options.json:
        rows = [result.to_json() for result in results]
        print(json.dumps({"schema": 1, "machine": asdict(machine), "engine": rows}, indent=2))
    else:
        print(f"{machine}\n\n{engine.table(results)}")
    if options.record:
        with HISTORY.open("a", encoding="utf-8") as file:
            file.write(f"\n### {machine}\n\n{engine.table(results)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
