# SPDX-License-Identifier: GPL-2.0-or-later
"""xfrmd in a host of the lab: its own policy file, control socket and log; ready when it says so."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from lab.netns import Host
from lab.ready import NotReady, Readiness
from xfrmd.control.client import ask

ROOT = Path(__file__).resolve().parents[1]
STOP_TIMEOUT = 30.0
"""Seconds for a stop: the daemon tells its peers first."""
_ROOM, _, _NAME = os.environ.get("XFRMD_DAEMON", "xfrmd.cli.xfrmd").rpartition(".")
"""The module that is the daemon: another one may watch it from inside (tests/fuzz/recording.py)."""


class CtlFailed(Exception):  # noqa: N818 - reads as what happened
    """`xfrmctl` ended with a status other than those expected."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"{' '.join(done.args)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        self.status = done.returncode
        self.said = done.stdout + done.stderr


def program(name: str, room: str = "xfrmd.cli") -> list[str]:
    """The command line of one of our console scripts, whether or not this checkout is installed; or of another module
    of this checkout that has a `main`.
    """
    return [sys.executable, "-c", f"import sys; from {room}.{name} import main; sys.exit(main())"]


class XfrmdHost:
    """A daemon and the files it lives on. `policy` is rewritten by `write_policy`; nothing is applied by that.

    `instead` are files or directories that the daemon sees in the place of others, such as its own /etc/resolv.conf;
    write into the file to change it, as another one in its place would not be seen.

    With `lasting` the daemon finds what its units of systemd give it: IKE's sockets, a runtime directory that stays,
    and what it had held in an earlier life. `command`: what `program` makes of another module, in the place of xfrmd's.
    """

    def __init__(
        self,
        host: Host,
        directory: Path,
        arguments: tuple[str, ...] = (),
        instead: Mapping[str, Path] = MappingProxyType({}),
        *,
        lasting: bool = False,
        command: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.directory = directory
        self.policy = directory / "policy.yaml"
        self.control = directory / "control.sock"
        self.process: subprocess.Popen[str] | None = None
        self._arguments = arguments
        self._instead = instead
        self._lasting = lasting
        self._command = tuple(command or program(_NAME, _ROOM))
        self._held: dict[str, int] = _ike_sockets(host) if lasting else {}

    def write_policy(self, text: str) -> Path:
        """Replace the policy file; its path."""
        self.policy.write_text(text)
        return self.policy

    def write_secret(self, name: str, secret: str) -> Path:
        """A file in the daemon's directory that only its user may read, for `psk: {file: ...}`; its path."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(secret)
        return path

    def start(self) -> None:
        """Start, and return when the daemon is ready; NotReady, with status and what it said, when it ends."""
        readiness = Readiness(self.directory / "notify.sock")
        options: list[str | Path] = ["--policy", self.policy, "--control", self.control]
        with (self.directory / "log").open("a") as log:
            state = {"STATE_DIRECTORY": str(self.directory)}
            environment = {"PYTHONPATH": str(ROOT), **state, **readiness.environment, **self._lasting_environment()}
            command = [*self._own_files(), *self._program(), "run", *options, *self._arguments]
            self.process = self.host.popen(*command, stdout=log, env=environment, pass_fds=self._held.values())
        try:
            readiness.wait(self.process)
            self._held.update(readiness.held)
        except NotReady as error:
            self.kill()
            raise NotReady(f"xfrmd {error}\n{self.log}", error.status) from error
        finally:
            readiness.close()

    def _lasting_environment(self) -> dict[str, str]:
        names = {"LISTEN_FDS": str(len(self._held)), "LISTEN_FDNAMES": ":".join(self._held)} if self._held else {}
        return {"RUNTIME_DIRECTORY": str(self.directory), **names} if self._lasting else {}

    def _program(self) -> list[str]:
        """The daemon, with what is held for it under the numbers that sd_listen_fds(3) has."""
        python, option, code = self._command
        moves = "".join(f"os.dup2({fd}, {number}); " for number, fd in enumerate(self._held.values(), 3))
        listens = f"import os; {moves}os.environ['LISTEN_PID'] = str(os.getpid()); " if self._held else ""
        return [python, option, listens + code]

    def forget_held(self) -> None:
        """As systemd does when the unit has stopped."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _own_files(self) -> list[str]:
        """What runs the rest of a command line where the files of `instead` are seen."""
        if not self._instead:
            return []
        mounts = "".join(f"mount --bind '{ours}' '{theirs}' && " for theirs, ours in self._instead.items())
        return ["unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop as systemd would, or by another signal; the exit status. TimeoutExpired, and killed, if it does not."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """All that the daemon printed, of all its lives."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ctl(self, *arguments: str | Path, expect: tuple[int, ...] = (0,)) -> Any:
        """What `xfrmctl --json ARGUMENTS` answers. CtlFailed when its exit status is none of those expected."""
        done = self.ctl_text("--json", *arguments)
        if done.returncode not in expect:
            raise CtlFailed(done)
        return json.loads(done.stdout)

    def ctl_text(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """`xfrmctl ARGUMENTS` as an operator runs it."""
        command = [*program("xfrmctl"), "--control", self.control, *arguments]
        return self.host.run(*command, check=False, env={"PYTHONPATH": str(ROOT)})

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The same over the control socket from here: a second faster in a guest. ControlError when refused."""
        return ask(command, arguments or {}, str(self.control))


def _ike_sockets(host: Host) -> dict[str, int]:
    """What units/xfrmd.socket opens, in a host; by names that differ."""

    def bound(family: socket.AddressFamily, port: int) -> int:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
        return sock.detach()

    families = (socket.AF_INET, socket.AF_INET6)
    return host.inside(lambda: {f"{f.name}-{port}": bound(f, port) for f in families for port in (500, 4500)})


@contextlib.contextmanager
def xfrmd(
    host: Host,
    policy: str,
    *arguments: str,
    secret: str | None = None,
    instead: Mapping[str, Path] = MappingProxyType({}),
    lasting: bool = False,
    command: Sequence[str] = (),
) -> Iterator[XfrmdHost]:
    """A running xfrmd in `host` with this policy; `{psk}` in the policy stands for the path of a file with `secret`.
    It sees the files of `instead` in the place of others, and is another program when there is a `command`.

    Stopped with SIGTERM at the end of the block, if it still runs; killed if that fails.
    """
    with TemporaryDirectory(prefix="xfrmd-") as name:
        daemon = XfrmdHost(host, Path(name), arguments, instead, lasting=lasting, command=command)
        if secret is not None:
            policy = policy.replace("{psk}", str(daemon.write_secret("psk", secret)))
        daemon.write_policy(policy)
        daemon.start()
        try:
            yield daemon
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()
            daemon.forget_held()
