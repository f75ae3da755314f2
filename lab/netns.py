# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces as hosts: made and removed with iproute2, entered by threads and by commands."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

RUN_TIMEOUT = 60.0
"""Seconds for a command of a test; a hung one ends the test, not the run."""
NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_counter = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):  # noqa: N818 - reads as what happened
    """A command ended with a status other than 0; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface of a host with its addresses."""

    name: str
    v4: IPv4Interface
    v6: IPv6Interface


@dataclass(slots=True)
class Host:
    """A network namespace. Its processes end with it.

    Commands are started from a thread that has entered the namespace. That is several times as fast as `ip netns exec`
    and leaves them the mounts of the lab: /sys/class/net is the one thing that does not fit the host.
    """

    name: str
    links: tuple[Link, ...] = ()
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def v4(self) -> str:
        """IPv4 address of the first link."""
        return str(self.links[0].v4.ip)

    @property
    def v6(self) -> str:
        """IPv6 address of the first link."""
        return str(self.links[0].v6.ip)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses, IPv4 ones first."""
        return (*(str(link.v4.ip) for link in self.links), *(str(link.v6.ip) for link in self.links))

    def address(self, version: int) -> str:
        """The address of the first link for IP version 4 or 6."""
        return self.v4 if version == 4 else self.v6

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        timeout: float = RUN_TIMEOUT,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to its end with captured output. `env` is added to ours. CommandFailed with its output when it fails."""
        line = [str(word) for word in command]
        return self.inside(lambda: run(line, check=check, timeout=timeout, stdin=stdin, env=env))

    def popen(
        self,
        *command: str | Path,
        stdout: int | IO[str] | None = subprocess.PIPE,
        stderr: int | IO[str] | None = subprocess.STDOUT,
        stdin: int | None = subprocess.DEVNULL,
        env: dict[str, str] | None = None,
        pass_fds: Iterable[int] = (),
    ) -> subprocess.Popen[str]:
        """Start a command that ends, at the latest, with the host. `env` is added to ours."""
        process = self.inside(
            lambda: subprocess.Popen(
                _resolved([str(word) for word in command]),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=_with(env),
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        )
        self.processes.append(process)
        return process

    def sysctl(self, **values: int) -> None:
        """Set values below /proc/sys/net; `__` in a name stands for a slash, as in `ipv4__ip_forward=1`."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys/net", *name.split("__")).write_text(f"{value}\n")

        self.inside(write)

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that has entered the namespace; sockets it makes stay there."""
        return inside(self.name, function)


def _with(extra: dict[str, str] | None) -> dict[str, str] | None:
    return None if extra is None else {**os.environ, **extra}


def run(
    command: Sequence[str],
    *,
    check: bool = True,
    timeout: float = RUN_TIMEOUT,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; CommandFailed with what it said when it fails and `check` is set."""
    done = subprocess.run(
        _resolved(command),
        stdin=subprocess.DEVNULL if stdin is None else None,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=_with(env),
        check=False,
    )
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise CommandFailed(f"{' '.join(command)}: status {done.returncode}\n{said}")
    return done


def _resolved(command: Sequence[str]) -> list[str]:
    """The command with its program's path: on a guest's file system each directory of PATH costs a millisecond."""
    return [_path(command[0]), *command[1:]]


@functools.cache
def _path(program: str) -> str:
    return shutil.which(program) or program


def ip_batch(lines: Sequence[str], host: Host | None = None) -> None:
    """Several `ip` commands by one process, in a host or outside all of them."""
    text = "\n".join([*lines, ""])
    if host is None:
        run(["ip", "-batch", "-"], stdin=text)
    else:
        host.run("ip", "-batch", "-", stdin=text)


def _enter(name: str) -> None:
    """Move the calling thread, and only it, into the namespace (os.setns comes with Python 3.12)."""
    with (NAMESPACES / name).open("rb") as entered:
        if _libc.setns(entered.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")


def inside(name: str, function: Callable[[], T]) -> T:
    """Call a function in a thread of its own inside the namespace `name`."""
    results: list[T] = []
    failures: list[Exception] = []

    def enter() -> None:
        try:
            _enter(name)
            results.append(function())
        except Exception as error:  # noqa: BLE001 - carried over to the calling thread
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


# Addresses must work at once: no duplicate address detection, and no router asked for.
_QUIET = {
    f"ipv6__conf__{which}__{name}": 0
    for which in ("all", "default")
    for name in ("accept_dad", "dad_transmits", "accept_ra", "router_solicitations")
}


@contextlib.contextmanager
def namespaces(*roles: str) -> Iterator[list[Host]]:
    """Fresh namespaces without any interface up. All processes in them are killed at the end."""
    hosts = [Host(f"x{os.getpid():x}-{next(_counter)}-{role}") for role in roles]
    try:
        ip_batch([f"netns add {host.name}" for host in hosts])
        for host in hosts:
            host.sysctl(**_QUIET)
        yield hosts
    finally:
        _end_processes(hosts)
        ip_batch([f"netns del {host.name}" for host in hosts if (NAMESPACES / host.name).exists()])


def _end_processes(hosts: Sequence[Host]) -> None:
    processes = [process for host in hosts for process in host.processes]
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    # What the processes started themselves. The namespaces are ours, so all in them are.
    for pid in _inhabitants(hosts):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.wait(5)
        if process.stdout:
            process.stdout.close()


def _inhabitants(hosts: Sequence[Host]) -> list[int]:
    """Processes whose network namespace is one of these."""
    ours = {(NAMESPACES / host.name).stat().st_ino for host in hosts if (NAMESPACES / host.name).exists()}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if (path / "ns/net").stat().st_ino in ours:
                found.append(int(path.name))
    return found
