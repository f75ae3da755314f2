# SPDX-License-Identifier: GPL-2.0-or-later
"""Every packet that leaves an interface, kept in memory, with assertions over it and a pcap file for people.

A link is watched by the packets that each of its ends sends: that is what is on the wire, once each. (Received packets
are not: the kernel shows a packet from an ESP tunnel to listeners a second time, decrypted.)

Completeness: the kernel hands a copy to the listening socket before the packet reaches the other end, so whoever knows
that a packet arrived, and then calls any method here, finds it. Packets the kernel had no room for are counted, and
then every assertion fails, since it would prove nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lab.netns import Host
from lab.packets import Flow, IpPacket, Kind, parse_frame, resolve_fragments

KEPT = 512 * 1024 * 1024
"""Octets of frames kept; beyond, packets count as missed."""
SOCKET_BUFFER = 64 * 1024 * 1024
BATCH = 0.05
"""Seconds that the reader lets packets gather, so that a flood does not wake it for each."""
SHOWN = 5

_SOL_PACKET, _PACKET_AUXDATA, _PACKET_STATISTICS = 263, 8, 6
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 33, 26, 35
_ETH_P_ALL = 3
_VLAN_VALID = 1 << 4
# Classic BPF: return all if the packet type is PACKET_OUTGOING (4), else nothing.
_OUTGOING = (
    struct.pack("HBBI", 0x28, 0, 0, 0xFFFFF000 + 4),
    struct.pack("HBBI", 0x15, 0, 1, 4),
    struct.pack("HBBI", 0x06, 0, 0, 0x40000),
    struct.pack("HBBI", 0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame: when it left (nanoseconds since 1970), from which host and interface."""

    when: int
    host: str
    link: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """An IP packet and where it was seen."""

    host: str
    link: str
    packet: IpPacket

    def __str__(self) -> str:
        return f"{self.host} {self.link}: {self.packet}"


@dataclass(frozen=True, slots=True)
class _Tap:
    host: str
    link: str
    socket: socket.socket


def _open(link: str) -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # deaf until bound, so nothing precedes the filter
    program = ctypes.create_string_buffer(b"".join(_OUTGOING))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_OUTGOING), ctypes.addressof(program)))
    tap.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, SOCKET_BUFFER)
    tap.bind((link, _ETH_P_ALL))
    tap.setblocking(False)
    return tap


class Capture:
    """Records from `watch` on until `close`. All methods first take in what the kernel holds ready."""

    def __init__(self) -> None:
        self._taps: list[_Tap] = []
        self._frames: list[Captured] = []
        self._size = 0
        self._missed = 0
        self._parsed: list[Seen | None] = []
        self._lock = threading.Condition()
        self._waker, self._wakened = socket.socketpair()
        self._reader = threading.Thread(target=self._read, name="capture", daemon=True)
        self._reader.start()

    def watch(self, host: Host, *links: str) -> None:
        """Record what the host sends on these interfaces (which must be up) from now on; without names, on all."""
        for link in links or tuple(each.name for each in host.links):
            tap = _Tap(host.name, link, host.inside(lambda link=link: _open(link)))  # type: ignore[misc]
            with self._lock:
                self._taps.append(tap)
        self._waker.send(b".")

    def close(self) -> None:
        """Stop recording; what was recorded stays. Harmless when done twice."""
        if self._waker.fileno() < 0:
            return
        self._take()
        self._waker.close()
        self._reader.join()
        self._wakened.close()
        for tap in self._taps:
            tap.socket.close()
        self._taps.clear()

    @property
    def frames(self) -> list[Captured]:
        """All frames so far, by time. AssertionError when any was missed."""
        self._check()
        with self._lock:
            return sorted(self._frames, key=lambda each: each.when)

    @property
    def packets(self) -> list[Seen]:
        """All IP packets so far."""
        self._check()
        with self._lock:
            timed = sorted(zip(self._frames, self._parse(), strict=True), key=lambda pair: pair[0].when)
        seen = [each for _, each in timed if each is not None]
        resolved = resolve_fragments(each.packet for each in seen)
        return [replace(each, packet=packet) for each, packet in zip(seen, resolved, strict=True)]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._take()
        with self._lock:
            self._frames.clear()
            self._parsed.clear()
            self._size = 0

    def clear_packets(self, flow: Flow) -> list[Seen]:
        """Packets that are, or may be, of the flow and are not protected; IKE and neighbour discovery aside."""
        return [each for each in self.packets if each.packet.kind is Kind.CLEAR and flow.carries(each.packet)]

    def esp_packets(self, flow: Flow | None = None) -> list[Seen]:
        """ESP packets, UDP-encapsulated ones included; of a flow: those between its addresses."""
        between = Flow(flow.a, flow.b) if flow else None
        return [
            each
            for each in self.packets
            if each.packet.kind in (Kind.ESP, Kind.UDP_ESP) and (between is None or between.carries(each.packet))
        ]

    def ah_packets(self, flow: Flow) -> list[Seen]:
        """AH packets between the addresses of the flow."""
        between = Flow(flow.a, flow.b)
        return [each for each in self.packets if each.packet.kind is Kind.AH and between.carries(each.packet)]

    def assert_nothing_clear(self, flow: Flow) -> None:
        """No packet of the flow was seen in the clear."""
        found = self.clear_packets(flow)
        shown = "\n".join(f"  {each}" for each in found[:SHOWN])
        assert not found, f"{len(found)} packets in the clear, first of them:\n{shown}"

    def assert_seen_clear(self, flow: Flow) -> None:
        """The positive control: with no protection the same capture does see the same flow."""
        assert self.clear_packets(flow), f"the flow was not seen in the clear; seen were:\n{self.summary()}"

    def assert_seen_esp(self, flow: Flow | None = None) -> None:
        """ESP was seen, between the addresses of the flow if one is given."""
        assert self.esp_packets(flow), f"no ESP was seen; seen were:\n{self.summary()}"

    def assert_protected(self, flow: Flow) -> None:
        """ESP was seen between the addresses of the flow, and nothing of it in the clear."""
        self.assert_nothing_clear(flow)
        self.assert_seen_esp(flow)

    def assert_authenticated(self, flow: Flow) -> None:
        """AH was seen between the addresses of the flow, no ESP, and nothing of it bare."""
        self.assert_nothing_clear(flow)
        assert self.ah_packets(flow), f"no AH was seen; seen were:\n{self.summary()}"
        assert not self.esp_packets(flow), f"ESP was seen:\n{self.summary()}"

    def wait_for(self, wanted: Callable[[Seen], bool], timeout: float = 10.0) -> Seen:
        """The first packet, past or coming, for which `wanted` holds; TimeoutError after `timeout` seconds."""
        deadline, looked = time.monotonic() + timeout, 0
        while True:
            self._check()
            with self._lock:
                fresh = self._parse()[looked:]
                for each in fresh:
                    if each is not None and wanted(each):
                        return each
                looked += len(fresh)
                more = self._lock.wait_for(lambda: len(self._frames) > looked, deadline - time.monotonic())  # noqa: B023 - called here
            if not more:
                raise TimeoutError(f"no such packet within {timeout} s; seen were:\n{self.summary()}")

    def summary(self) -> str:
        """What was seen, a line for each kind of packet with its count: for messages of failures."""
        counts = Counter(str(replace(each.packet, spi=0, fragment_id=None)) for each in self.packets)
        return "\n".join(f"  {count} x {text}" for text, count in counts.most_common(20)) or "  nothing"

    def save(self, path: Path) -> None:
        """Write a pcap file (nanosecond times, Ethernet)."""
        path.write_bytes(pcap(self.frames))

    def _check(self) -> None:
        self._take()
        if self._missed:
            raise AssertionError(f"the capture missed {self._missed} packets: it proves nothing")

    def _parse(self) -> list[Seen | None]:
        """What each frame holds, in the order of arrival; each is looked into once. The lock is held."""
        for each in self._frames[len(self._parsed) :]:
            packet = parse_frame(each.frame)
            self._parsed.append(None if packet is None else Seen(each.host, each.link, packet))
        return self._parsed

    def _read(self) -> None:
        """The thread that empties the sockets, so that a long flood does not overflow them."""
        while True:
            with self._lock:
                sockets = [tap.socket for tap in self._taps]
            ready, _, _ = select.select([self._wakened, *sockets], [], [])
            if self._wakened in ready and not self._wakened.recv(64):
                return
            self._take()
            time.sleep(BATCH)

    def _take(self) -> None:
        with self._lock:
            for tap in self._taps:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self._keep(tap)
                _, missed = struct.unpack("II", tap.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
                self._missed += missed
            self._lock.notify_all()

    def _keep(self, tap: _Tap) -> None:
        try:
            frame, control, _, _ = tap.socket.recvmsg(0x40000, 256)
        except OSError as error:
            if error.errno == errno.ENETDOWN:  # told once when the interface goes; the socket goes on
                return
            raise
        if self._size + len(frame) > KEPT:
            self._missed += 1
            return
        when, frame = _stamped(frame, control)
        self._size += len(frame)
        self._frames.append(Captured(when, tap.host, tap.link, frame))


def pcap(frames: Iterable[Captured]) -> bytes:
    """A pcap file (draft-ietf-opsawg-pcap) of Ethernet frames with nanosecond times."""
    parts = [struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 0x40000, 1)]
    for each in frames:
        seconds, nanoseconds = divmod(each.when, 10**9)
        parts += [struct.pack("=IIII", seconds, nanoseconds, len(each.frame), len(each.frame)), each.frame]
    return b"".join(parts)


def _stamped(frame: bytes, control: list[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """Time of a frame, and the frame with the VLAN tag that the kernel keeps beside it put back."""
    when = 0
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            when = seconds * 10**9 + nanoseconds
        elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, tci, tpid = struct.unpack_from("=I4x4x2x2xHH", data)
            if status & _VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
    return when, frame
