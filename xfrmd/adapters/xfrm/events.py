# SPDX-License-Identifier: GPL-2.0-or-later
"""What XFRM tells unasked: packets that want an SA, and SAs whose lifetime is over."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.selectors import unpack_selector, unpacked_address
from xfrmd.adapters.xfrm.states import PROTOCOL_IDS
from xfrmd.adapters.xfrm.uapi import Group, Msg
from xfrmd.errors import KernelError
from xfrmd.ike.events import Acquire, SaExpired

XfrmEvent = Acquire | SaExpired
_GROUPS: Final = Group.ACQUIRE | Group.EXPIRE
_READS_PER_TURN: Final = 64
"""Receive calls in one turn of the event loop, so that a flood of events leaves room for all else."""


def decode(message: netlink.Message) -> XfrmEvent | None:
    """Read one event; None for those that do not concern reqids of ours. KernelError for damaged octets."""
    if message.type == Msg.ACQUIRE:
        return _acquire(message.body)
    if message.type == Msg.EXPIRE:
        return _expire(message.body)
    return None


def _acquire(body: bytes) -> Acquire | None:
    if len(body) < uapi.ACQUIRE_SIZE:
        raise KernelError(f"XFRM ACQUIRE of {len(body)} octets")
    templates = netlink.attributes(body, uapi.ACQUIRE_SIZE).get(uapi.Attr.TMPL, b"")
    if len(templates) < uapi.TEMPLATE.size:
        return None
    reqid = uapi.TEMPLATE.unpack_from(templates)[5]
    if not _ours(reqid):
        return None
    packet, _ = unpack_selector(body, uapi.ACQUIRE_SELECTOR)
    return Acquire(reqid, packet)


def _expire(body: bytes) -> SaExpired | None:
    if len(body) < uapi.EXPIRE_SIZE:
        raise KernelError(f"XFRM EXPIRE of {len(body)} octets")
    values = uapi.SA.unpack_from(body)
    daddr, spi, protocol = values[9:12]
    reqid, family = values[29:31]
    version = uapi.VERSIONS.get(family)
    # A larval SA that nobody filled expires as well; it has no SPI.
    if version is None or protocol not in PROTOCOL_IDS or not any(spi) or not _ours(reqid):
        return None
    hard = body[uapi.SA.size] != 0
    return SaExpired(int.from_bytes(spi), PROTOCOL_IDS[protocol], unpacked_address(version, daddr), hard)


def _ours(reqid: int) -> bool:
    return limits.REQID_FIRST <= reqid <= limits.REQID_LAST


class XfrmEvents:
    """Listens in the running event loop. `receive` is called for each event.

    `lost` is called after the kernel had to drop events: what is lost is unknown, so the owner reads the SAD again.
    """

    def __init__(
        self,
        receive: Callable[[XfrmEvent], None],
        lost: Callable[[], None],
        buffer_size: int = limits.NETLINK_EVENTS_BUFFER,
    ) -> None:
        self._receive = receive
        self._lost = lost
        self._buffer_size = buffer_size
        self._socket: socket.socket | None = None
        self.damaged = 0
        """Messages of the kernel that could not be read."""

    def open(self) -> None:
        """Begin to listen. KernelError when the kernel does not allow it."""
        made = netlink.open_socket(uapi.NETLINK_XFRM, _GROUPS, self._buffer_size)
        made.setblocking(False)
        self._socket = made
        asyncio.get_running_loop().add_reader(made.fileno(), self._readable)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(netlink.RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._recover()
                return
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        for message in self._split(data):
            try:
                event = decode(message)
            except KernelError:
                self.damaged += 1
                continue
            if event is not None:
                self._receive(event)

    def _split(self, data: bytes) -> list[netlink.Message]:
        try:
            return list(netlink.messages(data))
        except KernelError:
            self.damaged += 1
            return []

    def _recover(self) -> None:
        """Open anew after ENOBUFS, which leaves a gap, or any other failure of the socket."""
        self.close()
        self.open()
        self._lost()
