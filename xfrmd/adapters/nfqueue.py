# SPDX-License-Identifier: GPL-2.0-or-later
"""nfnetlink_queue (<linux/netfilter/nfnetlink_queue.h>): packets that the kernel hands over, and verdicts on them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.netlink_listener import Listener
from xfrmd.errors import KernelError

_QUEUES: Final = Path("/proc/self/net/netfilter/nfnetlink_queue")
"""A line for each queue that somebody listens to; its number comes first."""
_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_GENMSG: Final = struct.Struct(">BBH")
"""struct nfgenmsg: family, version, queue number."""
_HEAD: Final = struct.Struct(">IHB")
"""struct nfqnl_msg_packet_hdr: packet id, protocol, hook."""
_U32: Final = struct.Struct(">I")
_VERDICT_HEAD: Final = struct.Struct(">II")
_PARAMETERS: Final = struct.Struct(">IB")
_COMMAND: Final = struct.Struct(">BxH")

_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_CMD_BIND: Final = 1
_COPY_PACKET: Final = 2
_FLAG_GSO: Final = 4
"""Take large packets whole: only their head is looked at. Fail-open stays off: a full queue drops."""
_PACKET_HDR, _VERDICT_HDR, _MARK, _PAYLOAD = 1, 2, 3, 10

DROP: Final = 0
ACCEPT: Final = 1
REPEAT: Final = 4
HOOK_OUTPUT: Final = 3
_HEAD_OCTETS: Final = 128
"""What is copied of each packet: addresses, a few extension headers and ports."""
_BATCH: Final = 64
_READS_PER_TURN: Final = 64


class QueuedPacket(NamedTuple):
    """A packet in the queue: its id, hook (NF_INET_*), fwmark, and its first octets."""

    id: int
    hook: int
    mark: int
    head: bytes


class Verdict(NamedTuple):
    """What becomes of a packet: DROP, ACCEPT or REPEAT, and the fwmark it gets (None: as it was)."""

    id: int
    verdict: int
    mark: int | None = None


def parse(message: netlink.Message) -> QueuedPacket | None:
    """Read a packet message; None for any other. KernelError for damaged octets."""
    if message.type != _PACKET:
        return None
    found = netlink.attributes(message.body, _GENMSG.size)
    head, mark = found.get(_PACKET_HDR, b""), found.get(_MARK, bytes(4))
    if len(head) < _HEAD.size or len(mark) != _U32.size:
        raise KernelError("nfqueue: a packet without its header")
    number, _, hook = _HEAD.unpack_from(head)
    return QueuedPacket(number, hook, _U32.unpack(mark)[0], found.get(_PAYLOAD, b""))


def encode_verdict(queue: int, one: Verdict) -> bytes:
    """A verdict as a whole netlink message."""
    body = _GENMSG.pack(0, 0, queue) + netlink.attribute(_VERDICT_HDR, _VERDICT_HEAD.pack(one.verdict, one.id))
    if one.mark is not None:
        body += netlink.attribute(_MARK, _U32.pack(one.mark))
    return netlink.frame(_VERDICT, 0, 0, body)


def _settings() -> tuple[bytes, ...]:
    """The configuration of the queue, one message body each."""
    return (
        netlink.attribute(_CFG_CMD, _COMMAND.pack(_CMD_BIND, 0)),
        netlink.attribute(_CFG_PARAMS, _PARAMETERS.pack(_HEAD_OCTETS, _COPY_PACKET)),
        netlink.attribute(_CFG_QUEUE_MAXLEN, _U32.pack(limits.HELD_PACKETS)),
        netlink.attribute(_CFG_MASK, _U32.pack(_FLAG_GSO)) + netlink.attribute(_CFG_FLAGS, _U32.pack(_FLAG_GSO)),
    )


class Nfqueue:
    """One queue of the kernel, read in the event loop. When it closes, the kernel drops what is in it."""

    def __init__(self, number: int, receive: Callable[[QueuedPacket], None]) -> None:
        self._number = number
        self._receive = receive
        self._listener = Listener(self._deliver, self._failed, _READS_PER_TURN)
        self._undecided: list[bytes] = []
        """Verdicts that the kernel has not taken yet: at most one for each packet that it holds."""
        self._again: asyncio.TimerHandle | None = None
        self.errors = 0
        """Messages that could not be read, and verdicts for packets that were gone."""

    def open(self) -> None:
        """Take the queue. KernelError when another program has it, or the kernel has no queues."""
        made = netlink.open_socket(_NETLINK_NETFILTER, receive_buffer=limits.NETLINK_EVENTS_BUFFER)
        try:
            # A packet that does not fit into the buffer is dropped like any over the bound; the socket stays usable.
            made.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_NO_ENOBUFS, 1)
            for settings in _settings():
                self._configure(made, settings)
        except (KernelError, OSError):
            made.close()
            raise
        self._listener.open(made)

    def _configure(self, made: socket.socket, settings: bytes) -> None:
        body = _GENMSG.pack(0, 0, self._number) + settings
        made.send(netlink.frame(_CONFIG, netlink.NLM_F_ACK, 0, body))
        for message in netlink.messages(made.recv(netlink.RECEIVE_SIZE)):
            if message.type != netlink.NLMSG_ERROR:
                continue
            found = netlink.answer(message)
            if found.errno and self._taken():  # the kernel answers EPERM, as to who has no privilege
                text = f"another xfrmd runs here (nfqueue {self._number} is taken); stop it first"
                raise KernelError(text, errno.EADDRINUSE)
            if found.errno:
                why = netlink.describe(found.errno, found.text)
                raise KernelError(f"nfqueue {self._number}: {why}; the kernel needs nfnetlink_queue", found.errno)

    def _taken(self) -> bool:
        """Does somebody listen to our queue in this network namespace?"""
        with contextlib.suppress(OSError):
            return any(line.split()[0] == str(self._number) for line in _QUEUES.read_text().splitlines())
        return False

    def close(self) -> None:
        """Give the queue back."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._undecided.clear()
        self._listener.close()

    def decide(self, verdicts: Iterable[Verdict]) -> None:
        """Give verdicts, in order. When this returns, the packets have gone their way, but where the kernel has no
        memory for it: then they go a moment later.
        """
        self._undecided += [encode_verdict(self._number, one) for one in verdicts]
        self._send()

    def _send(self) -> None:
        while (sock := self._listener.socket) is not None and self._undecided:
            try:
                sock.send(b"".join(self._undecided[:_BATCH]))
            except OSError:
                self.errors += 1
                if self._again is None:
                    self._again = asyncio.get_running_loop().call_later(limits.VERDICTS_AGAIN, self._send_again)
                return
            del self._undecided[:_BATCH]

    def _send_again(self) -> None:
        self._again = None
        self._send()

    def _failed(self) -> None:
        self.errors += 1

    def _deliver(self, data: bytes) -> None:
        try:
            for message in netlink.messages(data):
                packet = parse(message)
                if packet is not None:
                    self._receive(packet)
                else:
                    self.errors += message.type == netlink.NLMSG_ERROR
        except KernelError:
            self.errors += 1
