# SPDX-License-Identifier: GPL-2.0-or-later
"""Many numbered flows from one host, each asked in its turn by one thread: hundreds of them, where a flood for each
would take the lab's processor by its threads alone.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import resource
import select
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.drops import dropped
from lab.netns import Host
from lab.traffic import GRACE, MENTIONED, Carrier


@dataclass(slots=True)
class _Way:
    """A flow: its socket, how many messages it has sent, and the numbers of those that nobody has answered yet."""

    carrier: Carrier
    socket: socket.socket
    sent: int = 0
    answered: int = 0
    open: dict[int, str] = field(default_factory=dict)
    """By number: why it was not sent, "" where it was."""


class Fan:
    """`rate` messages a second, by all carriers in turn, each to be echoed; ended by `stop`."""

    def __init__(self, host: Host, carriers: Sequence[Carrier], *, rate: float) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = len(carriers) + 512
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), max(hard, files)))
        self._host, self._interval = host, 1 / rate
        self._ways = {way.socket.fileno(): way for way in (_Way(one, one.connect(host)) for one in carriers)}
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._awaited: dict[int, int] = {}
        """How many answers whoever waits wants of which flows."""
        self._thread = threading.Thread(target=self._run, name="fan")
        self.longest = 0.0
        """Seconds between two answers, at most."""

    @property
    def sent(self) -> int:
        """Messages until now."""
        return sum(way.sent for way in self._ways.values())

    def start(self) -> Fan:
        """Begin; itself."""
        self._thread.start()
        return self

    def wait_for(self, more: int, timeout: float) -> None:
        """Return when each flow has had so many answers more than now. TimeoutError after `timeout` seconds."""
        with self._progress:
            self._awaited = {fd: way.answered + more for fd, way in self._ways.items()}
            if not self._progress.wait_for(lambda: not self._awaited, timeout):
                behind = [self._ways[fd].carrier for fd in self._awaited]
                raise TimeoutError(f"{len(behind)} of {len(self._ways)} flows stand for {timeout} s: {behind[:5]}")

    def stop(self) -> None:
        """End sending, and wait a moment for the last answers."""
        self._stop.set()
        self._thread.join()
        for way in self._ways.values():
            way.socket.close()

    def assert_none_lost(self) -> None:
        """Every message was answered, by each flow, and there were any."""
        assert all(way.sent for way in self._ways.values()), "a flow sent nothing"
        lost = [f"{number} of {way.carrier} {why}" for way in self._ways.values() for number, why in way.open.items()]
        assert not lost, (
            f"{len(lost)} of {self.sent} lost: {lost[:MENTIONED]}; {self._host.name}: {dropped(self._host)}"
        )

    def _run(self) -> None:
        with contextlib.closing(select.epoll()) as answers:
            for fd in self._ways:
                answers.register(fd, select.EPOLLIN)
            due = last = time.monotonic()
            turns, end = itertools.cycle(self._ways.values()), math.inf
            while time.monotonic() < end and (end == math.inf or any(way.open for way in self._ways.values())):
                if end == math.inf and self._stop.is_set():
                    end = time.monotonic() + GRACE
                if end == math.inf and time.monotonic() >= due:
                    self._send(next(turns))
                    due += self._interval
                found = answers.poll(self._interval if end < math.inf else max(0.0, due - time.monotonic()))
                if found:
                    now = time.monotonic()
                    self.longest, last = max(self.longest, now - last), now
                    self._receive([fd for fd, _ in found])

    def _send(self, way: _Way) -> None:
        way.open[way.sent] = ""
        try:
            way.socket.sendall(way.carrier.pack(way.sent))
        except OSError as error:  # refused by a port or policy: this number is lost, and will be told
            way.open[way.sent] = f"({error})"
        way.sent += 1

    def _receive(self, ready: Sequence[int]) -> None:
        with self._progress:
            for fd in ready:
                way = self._ways[fd]
                with contextlib.suppress(ConnectionError):
                    for number in way.carrier.take(way.socket.recv(65536))[0]:
                        way.answered += way.open.pop(number, None) is not None
                if way.answered >= self._awaited.get(fd, math.inf):
                    del self._awaited[fd]
            if not self._awaited:
                self._progress.notify_all()
