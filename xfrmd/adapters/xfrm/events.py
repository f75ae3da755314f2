# SPDX-License-Identifier: GPL-2.0-or-later
"""What XFRM tells unasked: packets that want an SA, SAs whose lifetime is over, SAs that somebody has removed, and
peers whose NAT gives them another port.

News of SAs hold their keys. A filter in the kernel lets by what is read here only, so that those do not come into this
process a second time.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.netlink_listener import Listener
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.selectors import unpack_selector, unpacked_address
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.adapters.xfrm.uapi import Group, Msg
from xfrmd.errors import KernelError
from xfrmd.ike.events import Acquire, Endpoint, Remapped, SaExpired

XfrmEvent = Acquire | SaExpired | Remapped
_GROUPS: Final = Group.ACQUIRE | Group.EXPIRE | Group.SA | Group.MAPPING
_READ: Final = (Msg.ACQUIRE, Msg.EXPIRE, Msg.FLUSHSA, Msg.MAPPING)
_SO_ATTACH_FILTER: Final = 26
_LOAD_TYPE, _IF_EQUAL, _RETURN, _ALL = 0x28, 0x15, 0x06, 0xFFFF_FFFF
_DELSA_SIZE: Final = netlink.HEADER.size + uapi.SA_ID.size
"""Octets of the removal of an SA that are read: behind them are its keys."""
_REMOVED: Final = "another program removed it from the kernel"
_READS_PER_TURN: Final = 64
"""Receive calls in one turn of the event loop, so that a flood of events leaves room for all else."""


def decode(message: netlink.Message) -> XfrmEvent | None:
    """Read one event; None for those that do not concern reqids of ours. KernelError for damaged octets."""
    if message.type == Msg.ACQUIRE:
        return _acquire(message.body)
    if message.type == Msg.EXPIRE:
        return _expire(message.body)
    if message.type == Msg.DELSA:
        return _removed(message.body)
    if message.type == Msg.MAPPING:
        return _remapped(message.body)
    return None


def _filter() -> bytes:
    """Classic BPF: which messages are read here, and how much of each. The kernel sends them one at a time."""
    kinds = [_big(kind) for kind in (*_READ, Msg.DELSA)]
    program = [(_LOAD_TYPE, 0, 0, 4)]
    program += [(_IF_EQUAL, len(kinds) - at + 2, 0, kind) for at, kind in enumerate(kinds[:-1], 1)]
    program += [(_IF_EQUAL, 0, 1, kinds[-1]), (_RETURN, 0, 0, _DELSA_SIZE), (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _ALL)]
    return b"".join(struct.pack("HBBI", *line) for line in program)


def _big(kind: Msg) -> int:
    """A type as a load of BPF sees it, which takes two octets to be in network order."""
    return int.from_bytes(struct.pack("=H", kind), "big")


def _whole(data: bytes) -> bytes:
    """A message that the filter has cut, with its length put right."""
    if len(data) == _DELSA_SIZE and int.from_bytes(data[4:6], sys.byteorder) == Msg.DELSA:
        return len(data).to_bytes(4, sys.byteorder) + data[4:]
    return data


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
    if version is None or protocol not in uapi.PROTOCOL_IDS or not any(spi) or not _ours(reqid):
        return None
    hard = body[uapi.SA.size] != 0
    return SaExpired(int.from_bytes(spi), uapi.PROTOCOL_IDS[protocol], unpacked_address(version, daddr), hard)


def _removed(body: bytes) -> SaExpired | None:
    """XFRM_MSG_DELSA names an SA and nothing else of it; whoever knows our SAs sees whether it is one of them."""
    if len(body) < uapi.SA_ID.size:
        raise KernelError(f"XFRM DELSA of {len(body)} octets")
    daddr, spi, family, protocol = uapi.SA_ID.unpack_from(body)
    version = uapi.VERSIONS.get(family)
    if version is None or protocol not in uapi.PROTOCOL_IDS:
        return None
    address = unpacked_address(version, daddr)
    return SaExpired(int.from_bytes(spi), uapi.PROTOCOL_IDS[protocol], address, hard=True, why=_REMOVED)


def _remapped(body: bytes) -> Remapped | None:
    if len(body) < uapi.MAPPING.size:
        raise KernelError(f"XFRM MAPPING of {len(body)} octets")
    named, reqid, _, source, _, port = uapi.MAPPING.unpack_from(body)
    daddr, spi, family, protocol = uapi.SA_ID.unpack_from(named)
    version = uapi.VERSIONS.get(family)
    if version is None or protocol not in uapi.PROTOCOL_IDS or not _ours(reqid):
        return None
    remote = Endpoint(unpacked_address(version, source), socket.ntohs(port))
    return Remapped(int.from_bytes(spi), uapi.PROTOCOL_IDS[protocol], unpacked_address(version, daddr), remote)


def _ours(reqid: int) -> bool:
    return limits.REQID_FIRST <= reqid <= limits.REQID_LAST


class XfrmEvents:
    """Listens in the running event loop. `receive` is called for each event.

    `lost` is called after the kernel had to drop events, or SAs were flushed: what is lost is unknown, so the owner
    reads the SAD again. Removals that `friends`, sockets of this process, have asked for are no news.
    """

    def __init__(
        self,
        receive: Callable[[XfrmEvent], None],
        lost: Callable[[], None],
        buffer_size: int = limits.NETLINK_EVENTS_BUFFER,
        friends: tuple[XfrmSocket, ...] = (),
    ) -> None:
        self._friends = friends
        self._receive = receive
        self._lost = lost
        self._buffer_size = buffer_size
        self._listener = Listener(self._deliver, self._recover, _READS_PER_TURN)
        self._again: asyncio.TimerHandle | None = None
        """When it is opened anew."""
        self.damaged = 0
        """Messages of the kernel that could not be read."""

    def open(self) -> None:
        """Begin to listen. KernelError when the kernel does not allow it."""
        made = netlink.open_socket(uapi.NETLINK_XFRM, _GROUPS, self._buffer_size)
        program = ctypes.create_string_buffer(code := _filter(), len(code))
        head = struct.pack("HP", len(code) // 8, ctypes.addressof(program))
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        except OSError as error:
            made.close()
            raise KernelError(f"XFRM events: {error.strerror}", error.errno or 0) from error
        self._listener.open(made)

    def close(self) -> None:
        """Stop listening."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._listener.close()

    def _deliver(self, data: bytes) -> None:
        for message in self._split(data):
            if message.type in (Msg.DELSA, Msg.FLUSHSA) and message.port in {one.port for one in self._friends}:
                continue
            if message.type == Msg.FLUSHSA:
                self._lost()
                continue
            try:
                event = decode(message)
            except KernelError:
                self.damaged += 1
                continue
            if event is not None:
                self._receive(event)

    def _split(self, data: bytes) -> list[netlink.Message]:
        try:
            return list(netlink.messages(_whole(data)))
        except KernelError:
            self.damaged += 1
            return []

    def _recover(self) -> None:
        """Open anew after ENOBUFS, which leaves a gap, or any other failure of the socket; as often as that takes."""
        self.close()
        try:
            self.open()
        except KernelError:
            self._again = asyncio.get_running_loop().call_later(limits.KERNEL_AGAIN, self._recover)
        else:
            self._lost()
