# SPDX-License-Identifier: GPL-2.0-or-later
"""Test files in labs, one for each file and one more at once than there are processors: `python -m lab.suite PATH...`.

A user-mode Linux kernel spins for ever at times (lab/README.md, Notes), which no time limit inside can end. A
lab whose kernel shows no sign of life, or that says nothing for longer than any test may take, is ended from outside,
and its file is run once more, said loudly; a second silence fails. A test that fails is never run again.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.kernel import LabError
from lab.probe import host_lacks
from lab.runner import FAILED, chosen_kernel
from lab.session import HUNG

ROOT: Final = Path(__file__).resolve().parents[1]
TEST_LIMIT: Final = 180
"""Real seconds for one test in a lab; the longest takes 40 on a busy machine of two processors."""
SILENCE: Final = 300.0
"""Real seconds without a word: no test may take as long, so it is the kernel that hangs."""
LONGEST: Final = (
    "test_e2e_tunnel.py",
    "test_e2e_reauthentication.py",
    "test_leaks_packets.py",
    "test_interop.py",
    "test_e2e_nat.py",
    "test_e2e_pair.py",
    "test_e2e_restart.py",
    "test_e2e_strongswan_certificates.py",
    "test_e2e_sessions.py",
    "test_chaos.py",
    "test_e2e_ah.py",
)
"""What took a hundred seconds and more in a whole run on two processors: the size of a file says little."""
WORDS: Final = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed|deselected)")


@dataclass(frozen=True, slots=True)
class Ran:
    """One file: its exit status (None when its lab fell silent), what it printed, the real seconds it took."""

    path: Path
    status: int | None
    output: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Tests by outcome, from pytest's last line."""
        last = self.output.rstrip().rpartition("\n")[2]
        return {word.removesuffix("s"): int(count) for count, word in WORDS.findall(last)}


def files(paths: Iterable[Path]) -> list[Path]:
    """Test files below these paths, longest first, so that none is alone at the end; others by their size."""
    known = {name: place for place, name in enumerate(LONGEST)}
    found = [file for path in paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))]
    return sorted(set(found), key=lambda file: (known.get(file.name, len(known)), -file.stat().st_size, file))


def run(command: Sequence[str], path: Path, silence: float, *, follow: bool = False) -> Ran:
    """Run a command to its end, or until it has been silent for so many seconds; `follow`: its lines as they come."""
    begun, output, silent = time.monotonic(), bytearray(), False
    with (
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as lab,
        selectors.DefaultSelector() as ready,
    ):
        assert lab.stdout is not None
        ready.register(lab.stdout, selectors.EVENT_READ)
        while True:
            if not ready.select(silence):
                silent = True
                lab.terminate()  # lab/run ends all that is inside
                break
            if not (data := os.read(lab.stdout.fileno(), 1 << 16)):
                break
            if follow:
                _show(path, bytes(output.rpartition(b"\n")[2]) + data)
            output += data
    seconds = time.monotonic() - begun
    status = None if silent or lab.returncode == HUNG else lab.returncode
    return Ran(path, status, output.decode(errors="replace"), seconds)


def _show(path: Path, data: bytes) -> None:
    """The whole lines of what a file's tests have said."""
    for line in data.rpartition(b"\n")[0].decode(errors="replace").splitlines():
        print(f"{path.stem}: {line}", flush=True)


def lab_command(path: Path, *, time_travel: bool, follow: bool = False) -> list[str]:
    """The command that runs one file of tests in a lab of its own; `follow`: pytest keeps back nothing of theirs."""
    options = ["--time-travel"] if time_travel else []
    # Seconds are simulated ones there: a year may pass in a test.
    limit = [] if time_travel else [f"--timeout={TEST_LIMIT}"]
    # However we end, the labs end with us.
    enclosed = ["setpriv", "--pdeathsig", "TERM", str(ROOT / "lab/run"), *options]
    return [*enclosed, "--", sys.executable, "-m", "pytest", "-q", *(["-s"] if follow else []), *limit, str(path)]


def ran(path: Path, silence: float, *, time_travel: bool, follow: bool) -> Ran:
    """One file, and once more if its lab fell silent."""
    command = lab_command(path, time_travel=time_travel, follow=follow)
    first = run(command, path, silence, follow=follow)
    if first.status is not None:
        return first
    print(f"lab: {path} FELL SILENT, its kernel hangs, {first.seconds:.0f} s: once more. Its last words:", flush=True)
    print(first.output[-2000:], flush=True)
    return run(command, path, silence, follow=follow)


def told(one: Ran) -> str:
    """A line for what passed, everything for what did not."""
    counts = ", ".join(f"{count} {word}" for word, count in one.counts.items())
    line = f"{one.path}: {counts or 'no test ran'} in {one.seconds:.0f} s"
    if one.status == 0:
        skips = [text for text in one.output.splitlines() if text.startswith("SKIPPED")]
        return "\n".join([line, *skips])
    why = "its lab fell silent twice" if one.status is None else f"exit status {one.status}"
    return f"{one.output.rstrip()}\n{line}: {why}"


def all_ran(paths: Sequence[Path], options: argparse.Namespace) -> Iterator[Ran]:
    """All files, as they end."""
    # A lab waits for nearly half of its time, for timers of the protocol, but tests that count packets want room: not
    # two for each processor. In simulated time none waits.
    processors = os.cpu_count() or 1
    pool = ThreadPoolExecutor(options.jobs or (processors if options.time_travel else processors + 1))
    how = {"time_travel": options.time_travel, "follow": options.follow}
    work = [pool.submit(ran, path, options.silence, **how) for path in paths]
    try:
        for done in as_completed(work):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def main(argv: Sequence[str]) -> int:
    """Exit status 0 when every test of every file passed, 1 when not, 125 when the lab failed."""
    parser = argparse.ArgumentParser(prog="lab.suite", description="run test files, each in a lab of its own")
    parser.add_argument("--jobs", type=int, help="labs at once (default: one more than processors)")
    parser.add_argument("--time-travel", action="store_true", help="simulated time")
    parser.add_argument("--silence", type=float, default=SILENCE, help="seconds after which a lab hangs")
    parser.add_argument("--follow", action="store_true", help="show what the tests say while they run")
    parser.add_argument("path", nargs="+", type=Path)
    options = parser.parse_args(argv)
    try:
        # Here, and not in each lab: a kernel that must be built first is silent for long, and built once.
        if options.time_travel or host_lacks():
            chosen_kernel("auto", time_travel=options.time_travel, verbose=False)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED
    begun, total, bad = time.monotonic(), Counter[str](), []
    for one in all_ran(files(options.path), options):
        print(told(one), flush=True)
        total.update(one.counts)
        bad += [one.path] if one.status != 0 else []
    counts = ", ".join(f"{count} {word}" for word, count in total.items())
    print(f"labs: {counts or 'no test ran'} in {time.monotonic() - begun:.0f} s")
    for path in bad:
        print(f"FAILED {path}")
    return 1 if bad or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
