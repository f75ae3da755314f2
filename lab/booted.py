# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that boots for real: Debian's systemd as first process of the lab kernel. The outside attacks and records.

Its clock is this machine's, so that times taken here tell where in the capture something happened.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.debian import copied
from lab.kernel import LabError, lab_kernel
from lab.packets import IpPacket, parse_frame
from lab.runner import uml_command
from lab.session import enclosed, kernel_environment
from lab.xstate import preloaded

BOOT_TIMEOUT = 90.0
"""Seconds until the guest takes orders: 8 on an idle machine."""
END_TIMEOUT = 60.0
POLL = 0.02
DISK = 8 << 20
"""Octets of the file system for the state directory."""
SECRET = "4f1ba1c77c02a7b6d4a3f6c5de0e8a36"
"""Of the peer outside, and so of the host."""
NO_NETWORK = "Network is unreachable"
"""Why a program cannot send before the first interface has an address."""
HOST_MAC = bytes.fromhex("02000000000a")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command in the guest ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A packet between host and outside: when (seconds since 1970), and whether the host sent it."""

    when: float
    sent: bool
    packet: IpPacket


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the program that talks (lab/inside/talk.py): `kind` is S, R, A or E, `why` the reason of an E."""

    kind: str
    port: int
    version: int
    number: int
    when: float
    why: str = ""


class GuestSilentError(LabError):
    """The guest runs, and does not answer in time."""


class Guest:
    """A host made from `root` (which is copied). Use it as a context; `boot` starts it.

    `disk` is the image of its state directory (copied too); without it an empty one is made.
    """

    def __init__(
        self, root: Path, peer_modules: Path, *, disk: Path | None = None, peer_policy: str = "", memory: str = "512M"
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="xfrmd-boot-", ignore_cleanup_errors=True)
        base = Path(self._directory.name)
        self.root = copied(root, base / "root")
        self.share = base / "share"
        (self.share / "asked").mkdir(parents=True)
        self.disk = base / "disk"
        if disk is None:
            with self.disk.open("wb") as image:
                image.truncate(DISK)
            subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", str(self.disk)], check=True)
        else:
            shutil.copy(disk, self.disk)
        copied(peer_modules, self.share / "peer", "--link")
        (self.share / "peer.yaml").write_text(peer_policy)
        (self.share / "psk").write_text(SECRET)
        (self.share / "psk").chmod(0o600)
        (self.share / "settings.json").write_text(json.dumps({"peer": bool(peer_policy)}))
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def boot(self, *options: str, before: str = "", early: str = "") -> None:
        """Start it with these words more on the kernel's command line; return when it takes orders.

        `before` is run as root with all its disks there, ahead of everything else; `early` under attack, ahead of
        systemd.
        """
        (self.share / "before").write_text(before)
        (self.share / "early").write_text(early)
        try:
            self._boot(options)
        except GuestSilentError as error:
            # User-mode Linux spins for ever at times (lab/README.md, Notes).
            print(f"lab: {error}: THE GUEST HANGS; its power is cut, and it boots once more", file=sys.stderr)
            self.die()
            self._boot(options)

    def _boot(self, options: Sequence[str]) -> None:
        (self.share / "agent-up").unlink(missing_ok=True)
        line = uml_command(
            lab_kernel(), self.share, Path("/lab/init"), memory=self._memory, time_travel=False, root=str(self.root)
        )
        command = [*line, f"ubd0={self.disk}", f"lab_share={self.share}", *options]
        with (self.share / "console").open("ab") as console:
            self._process = subprocess.Popen(
                enclosed(command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=kernel_environment() | preloaded(),
                start_new_session=True,
            )
        self._await(self.share / "agent-up", BOOT_TIMEOUT, "has not booted")

    def run(self, line: str, *, check: bool = True, timeout: float = 60.0) -> Done:
        """Run a line of shell in the guest as root. LabError when it fails and `check`."""
        self._asked += 1
        name = self.share / "asked" / f"{self._asked:04}"
        name.with_suffix(".new").write_text(line)
        name.with_suffix(".new").rename(name.with_suffix(".ask"))
        self._await(name.with_suffix(".answer"), timeout, f"has not answered {line!r}")
        answer = json.loads(name.with_suffix(".answer").read_text())
        done = Done(answer["status"], answer["out"], answer["err"])
        if check and done.status:
            log = self.run("journalctl -b -n 30 --no-pager", check=False).out
            raise LabError(f"{line}: status {done.status}\n{done.out}{done.err}\n{log}")
        return done

    def settled(self) -> None:
        """Return once systemd has started all that it wants to."""
        self.run("systemctl is-system-running --wait", check=False)

    def poweroff(self) -> None:
        """A clean shutdown; return when the kernel has ended."""
        self.run("(sleep 0.2; systemctl poweroff) >/dev/null 2>&1 &")  # so that the answer is there before the end
        self.wait_end()

    def reboot(self) -> None:
        """A clean shutdown, and the start that follows; return when it takes orders again."""
        (self.share / "agent-up").unlink()
        self.run("(sleep 0.2; systemctl reboot) >/dev/null 2>&1 &")
        self._await(self.share / "agent-up", END_TIMEOUT + BOOT_TIMEOUT, "has not booted again")

    def wait_end(self) -> None:
        """Return when the kernel has ended; LabError when it does not."""
        assert self._process is not None
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise GuestSilentError(f"the guest does not end\n{self.console[-3000:]}") from error

    def die(self) -> None:
        """A power cut."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def console(self) -> str:
        """What the console of all its boots showed."""
        path = self.share / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def wire(self, since: float = 0.0, until: float = float("inf")) -> list[Wire]:
        """The IP packets that the outside recorded in that time, of all boots."""
        files = sorted(self.share.glob("outside-*.pcap"))
        return [each for path in files for each in _packets(path.read_bytes()) if since <= each.when <= until]

    def said(self, since: float = 0.0, until: float = float("inf")) -> list[Said]:
        """What the talking program logged in that time."""
        path = self.share / "talk.log"
        lines = path.read_text().splitlines() if path.exists() else []
        split = (line.split(maxsplit=5) for line in lines)
        found = (Said(s[0], int(s[1]), int(s[2]), int(s[3]), float(s[4]), *s[5:]) for s in split if len(s) >= 5)
        return [each for each in found if since <= each.when <= until]

    def lost(self, port: int, version: int, since: float, until: float) -> int:
        """Datagrams of a flow that a program sent in that time, while there was a network, and that have no answer
        yet. What the kernel refused to send counts.
        """
        mine = [each for each in self.said() if (each.port, each.version) == (port, version)]
        sent = {each.number for each in mine if each.kind == "S" and since <= each.when <= until}
        answered = {each.number for each in mine if each.kind == "R"}
        unsendable = {each.number for each in mine if each.kind == "E" and each.why == NO_NETWORK}
        return len(sent - answered - unsendable)

    def _await(self, path: Path, timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        assert self._process is not None
        while not path.exists():
            if self._process.poll() is not None:
                raise LabError(f"the guest ended, and {what}; its console:\n{self.console[-4000:]}")
            if time.monotonic() > deadline:
                raise GuestSilentError(f"the guest {what} within {timeout} s; its console:\n{self.console[-4000:]}")
            time.sleep(POLL)


def _packets(pcap: bytes) -> Iterator[Wire]:
    """The whole records of a pcap file with microseconds (draft-ietf-opsawg-pcap)."""
    position = 24
    while position + 16 <= len(pcap):
        seconds, micros, size, _ = struct.unpack_from("=IIII", pcap, position)
        frame = pcap[position + 16 : position + 16 + size]
        position += 16 + size
        packet = parse_frame(frame) if len(frame) == size else None
        if packet is not None:
            yield Wire(seconds + micros / 1e6, frame[6:12] == HOST_MAC, packet)
