# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel model behind netlink: requests for SAs come in octets, each of them may meet with trouble."""

from __future__ import annotations

import enum
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.conversations.kernel_model import InstalledSa, KernelModel, SaKey
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import states, uapi
from xfrmd.adapters.xfrm.selectors import unpacked_address
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.ike.effects import RemapSa, RemoveSa
from xfrmd.model.sad import SadEntry

_CURRENT: Final = struct.calcsize("=" + uapi.SELECTOR_FORMAT + "16s4sB3x16s" + uapi.LIFETIME_FORMAT)
_PORT_PAIR: Final = struct.Struct(">HH")


class Trouble(enum.Enum):
    """What becomes of a step."""

    EEXIST = "refused: it is there already"
    ENOMEM = "refused: no memory"
    ENOBUFS = "refused: no buffers"
    UNSENT = "not done: it could not be sent"
    UNHEARD = "not done, and no answer"
    UNANSWERED = "done, and no answer"
    OVERRUN = "done, and the answer is lost"
    INTERRUPTED = "a dump of two states of the kernel"
    LOST = "an event that did not fit into the buffer"
    MISSED = "an event of which nothing is known"


REFUSALS: Final = {
    Trouble.EEXIST: errno.EEXIST,
    Trouble.ENOMEM: errno.ENOMEM,
    Trouble.ENOBUFS: errno.ENOBUFS,
}
OF_EVENTS: Final = (Trouble.LOST, Trouble.MISSED)
OF_DUMPS: Final = tuple(one for one in Trouble if one not in OF_EVENTS)
OF_REQUESTS: Final = tuple(one for one in OF_DUMPS if one is not Trouble.INTERRUPTED)


@dataclass
class Steps:
    """Counts what a host and its kernel say to each other. From step `at` on, so many `times`, there is trouble."""

    at: int | None = None
    trouble: Trouble = Trouble.ENOMEM
    times: int = 1
    names: list[str] = field(default_factory=list)
    met: int = 0

    def arm(self, at: int | None, trouble: Trouble = Trouble.ENOMEM, times: int = 1) -> None:
        """Count from now on."""
        self.at, self.trouble, self.times, self.names, self.met = at, trouble, times, [], 0

    def next(self, name: str, *, event: bool = False) -> Trouble | None:
        """One step; what becomes of it."""
        number = len(self.names)
        self.names.append(name)
        fits = (self.trouble in OF_EVENTS) is event
        if self.at is None or not fits or number < self.at or self.met >= self.times:
            return None
        self.met += 1
        return self.trouble


@dataclass
class KernelWire:
    """One host's kernel. `wanted` has entries by their keys, as they are about to be written: a model has no use for
    keys, and octets that are not those of the entry are a fault.
    """

    kernel: KernelModel
    steps: Steps
    now: Callable[[], float]
    wanted: dict[SaKey, SadEntry] = field(default_factory=dict)
    opened: int = 0

    def open(self) -> WireSocket:
        """A socket to this kernel."""
        self.opened += 1
        return WireSocket(self, self.opened)

    def carry_out(self, message: netlink.Message) -> tuple[int, list[bytes]]:
        """Error number, and bodies of the NEWSA messages that answer."""
        match message.type:
            case Msg.NEWSA:
                return self._add(message.body), []
            case Msg.UPDSA:
                return self._update(message.body), []
            case Msg.DELSA:
                key = _named(message.body)
                if key not in self.kernel.sas:
                    return errno.ESRCH, []
                dst, protocol, spi = key
                self.kernel.remove(RemoveSa(protocol, spi, dst, dst))
                return 0, []
            case _:
                assert message.type == Msg.GETSA
                if message.flags & netlink.NLM_F_DUMP == netlink.NLM_F_DUMP:
                    return 0, [_observed(entry) for entry in self.kernel.sas.values()]
                found = self.kernel.sas.get(_named(message.body))
                return (0, [_observed(found)]) if found else (errno.ESRCH, [])

    def _add(self, body: bytes) -> int:
        key = _identified(body)
        if key in self.kernel.sas:
            return errno.EEXIST
        sa = self.wanted[key]
        assert states.encode(sa) == body
        self.kernel.install(sa, self.now())
        return 0

    def _update(self, body: bytes) -> int:
        key = _identified(body)
        if key not in self.kernel.sas:
            return errno.ESRCH
        ports = _PORT_PAIR.unpack(uapi.ENCAP.unpack(netlink.attributes(body, uapi.SA.size)[uapi.Attr.ENCAP])[1])
        self.kernel.remap(RemapSa(key[1], key[2], key[0], (ports[0], ports[1])))
        return 0


@dataclass
class WireSocket:
    """A netlink socket to the model."""

    wire: KernelWire
    port: int
    answers: list[bytes | OSError] = field(default_factory=list)
    closed: bool = False

    def send(self, data: bytes, /) -> int:
        assert not self.closed
        for message in netlink.messages(data):
            dump = message.type == Msg.GETSA and message.flags & netlink.NLM_F_DUMP == netlink.NLM_F_DUMP
            self._answer(message, self.wire.steps.next("DUMPSA" if dump else Msg(message.type).name), dump=dump)
        return len(data)

    def _answer(self, message: netlink.Message, trouble: Trouble | None, *, dump: bool) -> None:
        if trouble is Trouble.UNSENT:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if trouble in REFUSALS:
            self.answers.append(_error(message, REFUSALS[trouble]))
            return
        if trouble is Trouble.UNHEARD:
            self.answers.append(TimeoutError())
            return
        refused, found = self.wire.carry_out(message)
        if trouble is Trouble.UNANSWERED:
            self.answers.append(TimeoutError())
        elif trouble is Trouble.OVERRUN:
            self.answers.append(OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))
        else:
            flags = netlink.NLM_F_DUMP_INTR if trouble is Trouble.INTERRUPTED else 0
            if flags:
                del found[::2]
            self.answers += [_framed(message, Msg.NEWSA, body) for body in found]
            if dump:
                self.answers.append(_framed(message, netlink.NLMSG_DONE, struct.pack("=i", 0), flags))
            elif refused or message.flags & netlink.NLM_F_ACK:
                self.answers.append(_error(message, refused))

    def recv(self, size: int, /) -> bytes:
        assert not self.closed
        answer = self.answers.pop(0) if self.answers else TimeoutError()
        if isinstance(answer, OSError):
            raise answer
        assert len(answer) <= size
        return answer

    def getsockname(self) -> tuple[int, int]:
        return self.port, 0

    def close(self) -> None:
        self.closed = True


def _framed(request: netlink.Message, kind: int, body: bytes, flags: int = 0) -> bytes:
    return netlink.HEADER.pack(netlink.HEADER.size + len(body), kind, flags, request.seq, 0) + body


def _error(request: netlink.Message, number: int) -> bytes:
    echo = netlink.HEADER.pack(netlink.HEADER.size, request.type, request.flags, request.seq, 0)
    return _framed(request, netlink.NLMSG_ERROR, struct.pack("=i", -number) + echo)


def _identified(body: bytes) -> SaKey:
    """Of XFRM_MSG_NEWSA."""
    values = uapi.SA.unpack_from(body)
    daddr, spi, protocol = values[9:12]
    return unpacked_address(uapi.VERSIONS[values[30]], daddr), uapi.PROTOCOL_IDS[protocol], int.from_bytes(spi)


def _named(body: bytes) -> SaKey:
    """Of XFRM_MSG_DELSA and XFRM_MSG_GETSA."""
    daddr, spi, family, protocol = uapi.SA_ID.unpack_from(body)
    return unpacked_address(uapi.VERSIONS[family], daddr), uapi.PROTOCOL_IDS[protocol], int.from_bytes(spi)


def _observed(entry: InstalledSa) -> bytes:
    body = bytearray(states.encode(entry.sa)[: uapi.SA.size])
    struct.pack_into("=4Q", body, _CURRENT, entry.octets, entry.octets // 100, int(entry.since), 0)
    return bytes(body)
