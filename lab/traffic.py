# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic that counts itself: which of the numbered packets did not come back?

Services and floods run in threads of the test, with sockets made inside the hosts. Rates are modest (a guest manages a
thousand packets a second), counts are exact.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from lab.drops import dropped
from lab.netns import Host

GRACE = 2.0
"""Seconds that the last answers may take after a flood has ended."""
POLL = 0.1
"""Seconds between looks at whether the sender has ended, while no answer comes."""
MENTIONED = 20
"""Lost packets that are told one by one."""
BUFFER = 8 * 1024 * 1024
PORT = 7007
_NUMBER = struct.Struct("!Q")
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a flood. `lost`: numbers never answered. `longest`: seconds between two answers, at most.

    `told`: when the lost ones were sent and what the kernel said of them, to find out why.
    """

    sent: int
    lost: tuple[int, ...]
    repeated: int
    longest: float
    told: tuple[str, ...] = ()

    def assert_none_lost(self) -> None:
        """Every packet was answered, and there were any."""
        assert self.sent > 0, "the flood sent nothing"
        assert not self.lost, f"{len(self.lost)} of {self.sent} packets lost: " + "; ".join(self.told)


def _socket(host: Host, kind: socket.SocketKind, address: str, protocol: int = 0, source: str = "") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = host.inside(lambda: socket.socket(family, kind, protocol))
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source:
        made.bind((source, 0))
    return made


@contextlib.contextmanager
def _closing_thread(closing: socket.socket, thread: threading.Thread) -> Iterator[None]:
    """Run a thread that serves until its wake-up socket is closed at the other end."""
    thread.start()
    try:
        yield
    finally:
        closing.close()
        thread.join()


@contextlib.contextmanager
def udp_echo(host: Host, address: str, port: int = PORT) -> Iterator[None]:
    """Datagrams to this address and port of the host come back."""
    ours, theirs = socket.socketpair()
    with theirs, _socket(host, socket.SOCK_DGRAM, address) as service:
        service.bind((address, port))

        def serve() -> None:
            while theirs not in select.select([service, theirs], [], [])[0]:
                data, peer = service.recvfrom(65535)
                with contextlib.suppress(OSError):  # a policy that blocks the answer is the client's to notice
                    service.sendto(data, peer)

        with _closing_thread(ours, threading.Thread(target=serve, name="udp-echo")):
            yield


@contextlib.contextmanager
def tcp_echo(host: Host, address: str, port: int = PORT) -> Iterator[None]:
    """Streams to this address and port come back; connections are served one after the other."""
    ours, theirs = socket.socketpair()
    with theirs, _socket(host, socket.SOCK_STREAM, address) as service:
        service.bind((address, port))
        service.listen()

        def serve() -> None:
            while theirs not in select.select([service, theirs], [], [])[0]:
                stream, _ = service.accept()
                with stream:
                    while theirs not in select.select([stream, theirs], [], [])[0]:
                        if not (data := stream.recv(65536)):
                            break
                        stream.sendall(data)

        with _closing_thread(ours, threading.Thread(target=serve, name="tcp-echo")):
            yield


class Carrier(Protocol):
    """How a numbered message travels and is recognised when it comes back."""

    def connect(self, host: Host) -> socket.socket:
        """A socket in the host, connected to the other end."""

    def pack(self, number: int) -> bytes:
        """The message of this number."""

    def take(self, data: bytes) -> tuple[list[int], bytes]:
        """Numbers of the messages in what was received, and what is left over for the next time."""


@dataclass(frozen=True, slots=True)
class Udp:
    """Datagrams to `udp_echo`. `size` in octets; `source`: from this address of the host."""

    address: str
    port: int = PORT
    size: int = 64
    source: str = ""

    def connect(self, host: Host) -> socket.socket:
        """A connected socket in the host."""
        made = _socket(host, socket.SOCK_DGRAM, self.address, source=self.source)
        made.connect((self.address, self.port))
        return made

    def pack(self, number: int) -> bytes:
        """The message of this number."""
        return _NUMBER.pack(number).ljust(self.size, b".")

    def take(self, data: bytes) -> tuple[list[int], bytes]:
        """Numbers that came back, and the rest of a stream."""
        return list(_NUMBER.unpack_from(data)), b""


@dataclass(frozen=True, slots=True)
class Tcp:
    """A stream to `tcp_echo`, in messages of `size` octets."""

    address: str
    port: int = PORT
    size: int = 64

    def connect(self, host: Host) -> socket.socket:
        """A connected socket in the host."""
        made = _socket(host, socket.SOCK_STREAM, self.address)
        made.settimeout(30)
        made.connect((self.address, self.port))
        return made

    def pack(self, number: int) -> bytes:
        """The message of this number."""
        return _NUMBER.pack(number).ljust(self.size, b".")

    def take(self, data: bytes) -> tuple[list[int], bytes]:
        """Numbers that came back, and the rest of a stream."""
        whole = len(data) // self.size * self.size
        return [_NUMBER.unpack_from(data, at)[0] for at in range(0, whole, self.size)], data[whole:]


@dataclass(frozen=True, slots=True)
class Ping:
    """Echo requests (RFC 792, RFC 4443 4.1), numbered in their data; every host answers them. `size` in octets;
    `source`: from this address of the host.
    """

    address: str
    size: int = 64
    identifier: int = 0x5846
    source: str = ""

    @property
    def _types(self) -> tuple[int, int]:
        return (128, 129) if ":" in self.address else (8, 0)

    def connect(self, host: Host) -> socket.socket:
        """A connected socket in the host."""
        protocol = socket.IPPROTO_ICMPV6 if ":" in self.address else socket.IPPROTO_ICMP
        made = _socket(host, socket.SOCK_RAW, self.address, protocol, self.source)
        made.connect((self.address, 0))
        return made

    def pack(self, number: int) -> bytes:
        """The message of this number."""
        body = struct.pack("!BBHHHQ", self._types[0], 0, 0, self.identifier, number & 0xFFFF, number)
        body = body.ljust(self.size, b".")
        # For IPv6 the kernel fills the checksum in.
        return body if ":" in self.address else body[:2] + struct.pack("!H", _checksum(body)) + body[4:]

    def take(self, data: bytes) -> tuple[list[int], bytes]:
        """Numbers that came back, and the rest of a stream."""
        data = data if ":" in self.address else data[(data[0] & 15) * 4 :]
        kind, _, _, identifier, _, number = struct.unpack_from("!BBHHHQ", data.ljust(16, b"\0"))
        return ([number] if (kind, identifier) == (self._types[1], self.identifier) else []), b""


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(slots=True)
class _Departure:
    """When a message was sent (seconds since 1970), and why it was not, if so."""

    at: float
    refused: OSError | None = None


class Flood:
    """Numbered messages at a rate (a second), each to be echoed; ended by `stop`, by `count` or after `seconds`."""

    def __init__(
        self, host: Host, carrier: Carrier, *, rate: float = 200.0, count: int = 1_000_000, seconds: float = 120.0
    ) -> None:
        self._carrier = carrier
        self._socket = carrier.connect(host)
        self._interval, self._count, self._deadline = 1 / rate, count, time.monotonic() + seconds
        self._stop = threading.Event()
        self._answers: dict[int, int] = {}
        self._departures: list[_Departure] = []
        self._host = host
        self._times: list[float] = []
        self._progress = threading.Condition()
        self._threads = (threading.Thread(target=self._send), threading.Thread(target=self._receive))

    @property
    def _sent(self) -> int:
        return len(self._departures)

    def start(self) -> Flood:
        """Begin; itself."""
        for thread in self._threads:
            thread.start()
        return self

    def wait_for(self, more: int, timeout: float = 30.0) -> None:
        """Return when `more` messages have been answered from now on. TimeoutError after `timeout` seconds."""
        with self._progress:
            wanted = len(self._answers) + more
            if not self._progress.wait_for(lambda: len(self._answers) >= wanted, timeout):
                raise TimeoutError(f"{len(self._answers)} of {self._sent} answered, {wanted} awaited for {timeout} s")

    def stop(self) -> Outcome:
        """End sending, wait a moment for the last answers, and say what became of all."""
        self._stop.set()
        return self.finish()

    def finish(self) -> Outcome:
        """Wait until `count` or `seconds` end the flood, and say what became of all."""
        for thread in self._threads:
            thread.join()
        self._socket.close()
        lost = tuple(number for number in range(self._sent) if number not in self._answers)
        gaps = (after - before for before, after in itertools.pairwise(self._times))
        repeated = sum(self._answers.values()) - len(self._answers)
        return Outcome(self._sent, lost, repeated, max(gaps, default=0.0), tuple(self._told(lost)))

    def _told(self, lost: Sequence[int]) -> Iterator[str]:
        for number in lost[:MENTIONED]:
            departure = self._departures[number]
            at = datetime.fromtimestamp(departure.at, UTC)
            yield f"{number} sent at {at:%H:%M:%S.%f}{f' ({departure.refused})' if departure.refused else ''}"
        if lost:
            yield f"{self._host.name}: {dropped(self._host)}"

    def _send(self) -> None:
        due = time.monotonic()
        while self._sent < self._count and due < self._deadline and not self._stop.is_set():
            message = self._carrier.pack(self._sent)
            departure = _Departure(time.time())
            self._departures.append(departure)
            try:
                self._socket.sendall(message)
            except OSError as error:  # refused by a port or policy: this number is lost, and will be told
                departure.refused = error
            due += self._interval
            self._stop.wait(max(0.0, due - time.monotonic()))
        self._stop.set()

    def _receive(self) -> None:
        rest, end = b"", None
        while end is None or (len(self._answers) < self._sent and time.monotonic() < end):
            if end is None and not self._threads[0].is_alive():
                end = time.monotonic() + GRACE
            if select.select([self._socket], [], [], POLL)[0]:
                with contextlib.suppress(ConnectionError):
                    numbers, rest = self._carrier.take(rest + self._socket.recv(65536))
                    self._note(numbers)

    def _note(self, numbers: list[int]) -> None:
        with self._progress:
            for number in numbers:
                self._answers[number] = self._answers.get(number, 0) + 1
            self._times += [time.monotonic()] * len(numbers)
            self._progress.notify_all()


@dataclass(frozen=True, slots=True)
class Pings:
    """What `ping` counted."""

    sent: int
    received: int

    @property
    def lost(self) -> int:
        """Pings without an answer."""
        return self.sent - self.received


def ping(
    host: Host, address: str, count: int = 3, *, interval: float = 0.05, wait: float = 5.0, size: int = 56
) -> Pings:
    """Ping `count` times, `interval` seconds apart; the last answer may take `wait` seconds."""
    options = ["-q", "-n", "-c", str(count), "-i", str(interval), "-W", str(wait), "-s", str(size)]
    return _counted(host.run("ping", *options, address, check=False).stdout)


def _counted(text: str) -> Pings:
    found = re.search(r"(\d+) packets transmitted, (\d+)(?: packets)? received", text)
    assert found, f"ping said: {text}"
    return Pings(int(found[1]), int(found[2]))
