# SPDX-License-Identifier: GPL-2.0-or-later
"""dnsmasq in a host of the lab: names, and leases on a link."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.netns import Host

MISSING = "" if shutil.which("dnsmasq") else "dnsmasq is not installed: apt-get install dnsmasq-base"
"""Why it cannot run here; "" when it can."""


class Dnsmasq:
    """A dnsmasq and its files. It answers names of `hosts` and forwards nothing."""

    def __init__(self, host: Host, directory: Path, config: str) -> None:
        self.host = host
        self.directory = directory
        self.hosts = directory / "hosts"
        self.hosts.touch()
        lines = (
            "no-resolv\nno-hosts\nbind-interfaces\nuser=root\nlocal=/example/",
            f"addn-hosts={self.hosts}\nlog-queries\nlog-dhcp\nlog-facility={directory / 'log'}",
            f"pid-file={directory / 'pid'}\ndhcp-leasefile={directory / 'leases'}",
            config,
        )
        self.config = directory / "dnsmasq.conf"
        self.config.write_text("\n".join(lines))

    def start(self) -> None:
        """Start. It goes to the background once its sockets are open."""
        self.host.run("dnsmasq", f"--conf-file={self.config}")

    def set_names(self, *lines: str) -> None:
        """Replace the hosts file, each line `address name`, and have it read."""
        self.hosts.write_text("\n".join(lines) + "\n")
        os.kill(self._pid, signal.SIGHUP)

    def stop(self) -> None:
        """Stop; questions stay unanswered from then on."""
        pidfd = os.pidfd_open(self._pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
        (self.directory / "pid").unlink()

    @property
    def _pid(self) -> int:
        return int((self.directory / "pid").read_text())

    @property
    def log(self) -> str:
        """All that it said: questions, answers, leases."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""


@contextlib.contextmanager
def dnsmasq(host: Host, config: str = "", *names: str) -> Iterator[Dnsmasq]:
    """A running dnsmasq with these lines in its configuration and in its hosts file."""
    with TemporaryDirectory(prefix="dnsmasq-") as name:
        server = Dnsmasq(host, Path(name), config)
        server.hosts.write_text("\n".join(names) + "\n")
        server.start()
        try:
            yield server
        finally:
            if (server.directory / "pid").exists():
                server.stop()
