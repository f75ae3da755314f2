# SPDX-License-Identifier: GPL-2.0-or-later
"""libreswan as a peer: one pluto in a host, from Debian's package, which is unpacked and not installed.

Installed it would drive out strongSwan. pluto looks for its helpers below /usr/libexec, so it runs where its own
files are seen there.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lab.kernel import cache
from lab.netns import Host, run
from lab.ready import NotReady

READY_TIMEOUT: Final = 60.0
"""Seconds until pluto listens, which has no other sign than its socket; its self-tests take two in a guest."""
_PLUTO: Final = "/usr/libexec/ipsec/pluto"
_AS_INSTALLED: Final = 'mount --bind "$0/usr/libexec" /usr/libexec && exec "$@"'


def root() -> Path:
    """Where lab/setup unpacks the package."""
    return cache() / "libreswan"


def missing() -> str:
    """Why there is no libreswan here, "" when there is."""
    if not (root() / "usr/libexec/ipsec/pluto").exists():
        return "libreswan is not unpacked: lab/setup (as root) does it"
    return ""


def judge(conf: Path) -> str:
    """What libreswan's own parser says against an ipsec.conf, "" when it takes it."""
    addconn = root() / "usr/libexec/ipsec/addconn"
    done = subprocess.run(
        [addconn, "--config", conf, "--checkconfig"], capture_output=True, text=True, check=False, timeout=30
    )
    return (done.stdout + done.stderr).strip() or ("" if done.returncode == 0 else f"status {done.returncode}")


class Libreswan:
    """A running pluto."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory

    @property
    def log(self) -> str:
        """All that pluto said so far."""
        return (self.directory / "output").read_text(errors="replace")

    def whack(self, *words: str) -> str:
        """An order to pluto; what it answers."""
        program = root() / "usr/libexec/ipsec/whack"
        return self.host.run(program, "--rundir", self.directory / "run", *words, check=False).stdout

    def add(self, *names: str) -> None:
        """Load connections of ipsec.conf, as `ipsec auto --add` does, and put those on demand in place."""
        addconn = root() / "usr/libexec/ipsec/addconn"
        socket = self.directory / "run" / "pluto.ctl"
        self.host.run(addconn, "--config", self.directory / "ipsec.conf", "--ctlsocket", socket, *names)

    def wait(self, process: subprocess.Popen[str]) -> None:
        """Return once pluto takes orders and has loaded what is to be loaded at its start."""
        deadline = time.monotonic() + READY_TIMEOUT
        while "loading secrets" not in self.log or "added IKEv2 connection" not in self.log:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotReady(f"pluto is not ready\n{self.log}", process.poll())
            time.sleep(0.1)


def _nss(directory: Path, pkcs12: bytes | None) -> None:
    """The database of certificates: empty, or with what `ipsec import` makes of a PKCS #12 file."""
    directory.mkdir()
    database = ["-d", f"sql:{directory}"]
    run(["certutil", "-N", *database, "--empty-password"])
    if pkcs12 is not None:
        bundle = directory / "host.p12"
        bundle.write_bytes(pkcs12)
        run(["pk12util", "-i", str(bundle), *database, "-W", "", "-K", ""])
        names = [line.rsplit(maxsplit=1) for line in run(["certutil", "-L", *database]).stdout.splitlines()]
        for name, trust in (words for words in names if len(words) == 2):
            if trust == ",,":
                run(["certutil", "-M", "-n", name.strip(), "-t", "CT,,", *database])


@contextlib.contextmanager
def libreswan(host: Host, conf: str, secrets: str = "", *, pkcs12: bytes | None = None) -> Iterator[Libreswan]:
    """A pluto in `host` with this ipsec.conf, its secrets, and the certificates of a PKCS #12 file without password.

    It loads the connections that have `auto=`. NotReady with what it said when it does not start.
    """
    with TemporaryDirectory(prefix="pluto-") as name:
        directory = Path(name)
        _nss(directory / "nss", pkcs12)
        for folder in ("run", "ipsec.d"):
            (directory / folder).mkdir()
        (directory / "ipsec.conf").write_text(conf)
        (directory / "secrets").touch(mode=0o600)
        (directory / "secrets").write_text(secrets)
        places = {"config": "ipsec.conf", "nssdir": "nss", "ipsecdir": "ipsec.d", "rundir": "run"}
        options = [word for key, place in places.items() for word in (f"--{key}", str(directory / place))]
        more = ["--secretsfile", str(directory / "secrets"), "--nofork", "--stderrlog", "--use-xfrm", "--no-dnssec"]
        with (directory / "output").open("w") as output:
            process = host.popen(
                *["unshare", "--mount", "sh", "-c", _AS_INSTALLED, str(root()), _PLUTO, *options, *more],
                stdout=output,
                env={"PATH": f"{root()}/usr/sbin:{os.environ['PATH']}"},
            )
        try:
            peer = Libreswan(host, directory)
            peer.wait(process)
            yield peer
        finally:
            process.terminate()
            process.wait(20)
