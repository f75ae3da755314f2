# SPDX-License-Identifier: GPL-2.0-or-later
"""One process tree that cannot outlive us: run it, show its output while it runs, end all of it.

For root the tree lives in a PID namespace whose first process dies with its parent, and the parent dies with us; for
others a guard watches over its process group. So nothing stays behind, however we end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

TIMED_OUT = 124
HUNG = 123
POLL = 0.02
"""Seconds between looks at the output file: far below what a reader notices, and 50 cheap calls a second."""
PR_SET_CHILD_SUBREAPER = 36
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a session ended. `cut_short`: by our timeout or a signal to us, so the command left no status of its own."""

    status: int
    cut_short: bool


class _Stopped(Exception):  # noqa: N818 - not an error: somebody asked us to stop
    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Inside, signals that ask us to end raise _Stopped, once; a second Ctrl-C does not interrupt the ending."""

    def stop(signum: int, _frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(signum)

    before = {each: signal.signal(each, stop) for each in ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def enclosed(command: Sequence[str], namespaces: Sequence[str] = ()) -> list[str]:
    """The command as first process of a PID namespace that dies with the caller; without root, just the command.

    (In a user's own namespace root's files would be nobody's, and a guest's setuid `mount` would run as nobody.)
    """
    if os.geteuid() != 0:
        return list(command)
    unshare = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc", *namespaces]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, "--", *command]


@contextlib.contextmanager
def _guarded(group: int) -> Iterator[None]:
    """Without root no namespace dies with us: a guard ends the process group when our end of a pipe closes."""
    if os.geteuid() == 0:
        yield
        return
    line = ["sh", "-c", 'read -r _; kill -s KILL -- "-$1"', "guard", str(group)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.kill()


def kernel_environment() -> dict[str, str]:
    """User-mode Linux keeps its guest's memory in a file below TMPDIR: in memory, where there is such a place."""
    memory = Path("/dev/shm")
    return dict(os.environ) | ({"TMPDIR": str(memory)} if memory.is_mount() else {})


def run_session(
    command: Sequence[str],
    *,
    namespaces: Sequence[str] = (),
    console: IO[bytes] | None = None,
    output: Path | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    hangs: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run until it ends, `timeout` real seconds pass, it `hangs` or a signal comes; `output` is copied to stdout as it
    grows.

    `environment` is added to ours. `console` receives the tree's own stdout and stderr; without it they are ours.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stoppable())
        source = stack.enter_context(output.open("rb")) if output else None
        # Orphans of what we start come to us, so that their end can be awaited.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        tree = subprocess.Popen(
            enclosed(command, namespaces),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT if console else None,
            env=kernel_environment() | dict(environment or {}),
            start_new_session=True,  # Ctrl-C reaches us, and we end the tree
        )
        try:
            with _guarded(tree.pid):
                return _follow(tree, source, deadline, hangs)
        except _Stopped as stopped:
            return Ended(128 + stopped.signum, cut_short=True)
        finally:
            _end(tree)
            with contextlib.suppress(BrokenPipeError):
                _copy(source)


def _follow(
    tree: subprocess.Popen[bytes], source: IO[bytes] | None, deadline: float | None, hangs: Callable[[], bool]
) -> Ended:
    while (status := _wait(tree, POLL if source else 3600.0, deadline)) is None:
        if deadline is not None and time.monotonic() >= deadline:
            print("lab: the time given by --timeout has passed: ended", file=sys.stderr)
            return Ended(TIMED_OUT, cut_short=True)
        if hangs():
            print("lab: the kernel shows no sign of life: ended", file=sys.stderr)
            return Ended(HUNG, cut_short=True)
        _copy(source)
    return Ended(status if status >= 0 else 128 - status, cut_short=False)


def _wait(tree: subprocess.Popen[bytes], longest: float, deadline: float | None) -> int | None:
    left = longest if deadline is None else min(longest, max(0.0, deadline - time.monotonic()))
    try:
        return tree.wait(left)
    except subprocess.TimeoutExpired:
        return None


def _copy(source: IO[bytes] | None) -> None:
    while source and (data := source.read(1 << 16)):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _end(tree: subprocess.Popen[bytes]) -> None:
    """Kill what is left and wait: the first process of a namespace is reported dead only when all inside are gone.

    unshare is killed first and its child inherited: it would comment on a child killed under its eyes.
    """
    inside = _children(tree.pid) if tree.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(tree.pid, signal.SIGKILL)
    tree.wait()
    for pid in inside:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-tree.pid, 0)


def _children(pid: int) -> list[int]:
    """By a walk over /proc: its list of children is an option of the kernel that the lab's own lacks."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            # The name, in brackets, may hold anything; behind it come state and parent.
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found
