# SPDX-License-Identifier: GPL-2.0-or-later
"""`lab/run`: one command as root in a kernel that has ESP, its output and exit status passed through.

Exit status: the command's own (128 + n when signal n ended it), 123 when the kernel hangs, 124 when --timeout passed,
125 when the lab failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.guest import host_script, uml_script
from lab.kernel import LabError, lab_kernel
from lab.probe import host_lacks
from lab.session import Ended, run_session
from lab.xstate import preloaded

FAILED = 125
NO_PULSE = 60.0
"""Real seconds: far more than a busy machine withholds its processors from anyone."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab/run", description="run a command as root in a kernel that has ESP")
    parser.add_argument("--time-travel", action="store_true", help="simulated time: sleeping costs nothing")
    parser.add_argument("--mem", default="1G", help="memory of a user-mode Linux guest (default %(default)s)")
    parser.add_argument("--timeout", type=float, metavar="S", help="real seconds after which all is ended, status 124")
    parser.add_argument(
        "--pulse",
        type=float,
        metavar="S",
        default=NO_PULSE,
        help="real seconds without a sign of life of a user-mode Linux after which all is ended, status 123 "
        "(default %(default)s; not in simulated time)",
    )
    parser.add_argument(
        "--kernel",
        default="auto",
        help="auto (the host's own if it can, else uml), host, uml, or the path of a user-mode Linux kernel",
    )
    parser.add_argument("--verbose", action="store_true", help="say which kernel is used and why")
    parser.add_argument("command", nargs="+", metavar="CMD", help="after --")
    return parser.parse_args(argv)


def chosen_kernel(wanted: str, *, time_travel: bool, verbose: bool) -> Path | None:
    """A user-mode Linux kernel to boot, or None for the host's own. LabError when the wanted one cannot be had."""
    if wanted == "host" or (wanted == "auto" and not time_travel):
        lack = host_lacks()
        if verbose or (lack and wanted == "host"):
            print(f"lab: this host's own kernel: {lack or 'has ESP and nftables'}", file=sys.stderr)
        if not lack:
            return None
        if wanted == "host":
            raise LabError(f"this host's own kernel cannot serve: {lack}")
    kernel = lab_kernel() if wanted in ("auto", "uml") else Path(wanted)
    if not kernel.is_file():
        raise LabError(f"no kernel at {kernel}")
    if verbose:
        print(f"lab: user-mode Linux {kernel}", file=sys.stderr)
    return kernel


def uml_command(
    kernel: Path, work: Path, script: Path, *, memory: str, time_travel: bool, root: str = "/"
) -> list[str]:
    """Command line of a user-mode Linux kernel whose root is a directory of the host."""
    line = [str(kernel), f"mem={memory}", "root=/dev/root", "rootfstype=hostfs", f"rootflags={root}", "rw"]
    line += [f"init={script}", "con=null", "con0=fd:0,fd:1", "quiet", "umid=lab", f"uml_dir={work}/"]
    # Sleeping is skipped, computing takes no time. Plain time-travel crashes.
    return [*line, "time-travel=inf-cpu"] if time_travel else line


def silent_since(pulse: Path, limit: float) -> Callable[[], bool]:
    """Whether a file has not been written for so many seconds, the first of which begins now."""
    last, heard = 0, time.monotonic()

    def silent() -> bool:
        nonlocal last, heard
        if (written := pulse.stat().st_mtime_ns) != last:
            last, heard = written, time.monotonic()
        return time.monotonic() - heard > limit

    return silent


def run_uml(kernel: Path, options: argparse.Namespace, work: Path) -> int:
    script, output, status = work / "init", work / "output", work / "status"
    output.touch()
    # A pulse would stop simulated time from being passed over.
    pulse = None if options.time_travel else work / "pulse"
    if pulse:
        pulse.touch()
    script.write_text(uml_script(options.command, str(Path.cwd()), output, status, pulse))
    script.chmod(0o755)
    command = uml_command(kernel, work, script, memory=options.mem, time_travel=options.time_travel)
    with (work / "console").open("wb") as console:
        ended = run_session(
            command,
            console=console,
            output=output,
            timeout=options.timeout,
            environment=preloaded(),
            hangs=silent_since(pulse, options.pulse) if pulse else lambda: False,
        )
    if ended.cut_short:
        return ended.status
    if not status.exists():
        tail = (work / "console").read_text(errors="replace")[-4000:]
        raise LabError(f"the kernel stopped before the command ended; its console said:\n{tail}")
    return int(status.read_text())


def run_host(options: argparse.Namespace, work: Path) -> int:
    script = work / "init"
    script.write_text(host_script(options.command, str(Path.cwd())))
    script.chmod(0o755)
    ended: Ended = run_session([str(script)], namespaces=("--net", "--uts", "--ipc"), timeout=options.timeout)
    return ended.status


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    try:
        kernel = chosen_kernel(options.kernel, time_travel=options.time_travel, verbose=options.verbose)
        # Not by TMPDIR: the lab covers /run, and mounts nothing over /tmp.
        with tempfile.TemporaryDirectory(prefix="xfrmd-lab-", dir="/tmp", ignore_cleanup_errors=True) as name:
            return run_host(options, Path(name)) if kernel is None else run_uml(kernel, options, Path(name))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED
