# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to hosts in long simulated times, and what is looked at meanwhile."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from lab.netns import Host
from lab.traffic import Ping
from lab.xfrmd_host import XfrmdHost
from tests.lab import e2e

MORE = "10.99.0.1/32"
"""An address that comes and goes."""


def pinged(host: Host, address: str, seconds: float, every: float = 30) -> tuple[int, int]:
    """Pings sent every so many seconds for so long, at least one, and how many were answered."""
    carrier, sent, answered, end = Ping(address), 0, 0, time.monotonic() + seconds
    with carrier.connect(host) as sock:
        sock.settimeout(10)
        while not sent or time.monotonic() + every < end:
            sock.sendall(carrier.pack(sent))
            try:
                # Others' echo requests and answers come by as well.
                while carrier.take(sock.recv(65536))[0] != [sent]:
                    pass
                answered += 1
            except TimeoutError:
                pass
            sent += 1
            time.sleep(every)
    return sent, answered


def restarted(daemon: XfrmdHost) -> None:
    """Stopped as by systemd, and started."""
    assert daemon.stop() == 0
    daemon.start()


def killed(daemon: XfrmdHost) -> None:
    """Crashed, and started."""
    daemon.kill()
    daemon.start()


def reloaded(daemon: XfrmdHost) -> None:
    """Told to read its policy again."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def changed(daemon: XfrmdHost) -> None:
    """The policy names another lifetime, and the one before again."""
    text = daemon.policy.read_text()
    of, to = ("/3600s", "/3000s") if "/3600s" in text else ("/3000s", "/3600s")
    daemon.write_policy(text.replace(of, to))
    reloaded(daemon)


def moved(daemon: XfrmdHost) -> None:
    """Another address comes, or goes."""
    host = daemon.host
    there = MORE in host.run("ip", "-o", "address", "show").stdout
    host.run("ip", "address", "del" if there else "add", MORE, "dev", host.links[0].name)


def rekeyed(daemon: XfrmdHost) -> None:
    """By hand, between those that lifetimes bring."""
    for spi in (*e2e.child_spis(daemon), *e2e.ike_spis(daemon)):
        daemon.ask("rekey", {"spi": spi})


def memory(daemon: XfrmdHost) -> int:
    """Kilobytes that the daemon has in memory."""
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
