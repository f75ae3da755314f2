# SPDX-License-Identifier: GPL-2.0-or-later
"""Netlink framing (<linux/netlink.h>): headers, attributes, acknowledgements. What the kernel sends is bounded, too."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.errors import KernelError

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length with header, type, flags, sequence number, port."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERRNO: Final = struct.Struct("=i")

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_CREATE: Final = 0x400
NLM_F_EXCL: Final = 0x200
NLM_F_DUMP: Final = 0x300
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
_NLA_TYPE_MASK: Final = 0x3FFF
_NLMSGERR_ATTR_MSG: Final = 1

SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_NO_ENOBUFS: Final = 5
SO_RCVBUFFORCE: Final = 33

PASSING: Final = (errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT)
"""What may be over a moment later: such a request is made once more, where that can do no harm."""
RECEIVE_SIZE: Final = 256 * 1024
"""Larger than any single buffer the kernel fills for a dump (32 KiB)."""


class Message(NamedTuple):
    """One netlink message; `body` is what follows the header."""

    type: int
    flags: int
    seq: int
    body: bytes
    port: int = 0
    """Whose request it answers or tells of; 0 when the kernel acted by itself."""


class Answer(NamedTuple):
    """NLMSG_ERROR: errno (0 is success) and the kernel's own words, if any."""

    errno: int
    text: str


def frame(kind: int, flags: int, seq: int, body: bytes, port: int = 0) -> bytes:
    """A request of type `kind`. The body's length is a multiple of 4. XFRM's news of a change carry the `port` that
    stands in the request for it, whoever sends it.
    """
    return HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, seq, port) + body


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to a multiple of 4."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def messages(data: bytes) -> Iterator[Message]:
    """Split what one receive call gave. Raises KernelError when it is no sequence of whole messages."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, seq, port = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            raise KernelError(f"netlink: a message of {length} octets in {len(data) - at}")
        yield Message(kind, flags, seq, data[at + HEADER.size : at + length], port)
        at += (length + 3) & ~3


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    """The attributes from octet `start` on, by type; of a repeated one the last. KernelError when they do not fit."""
    found: dict[int, bytes] = {}
    at = start
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if not 4 <= length <= len(body) - at:
            raise KernelError(f"netlink: an attribute of {length} octets in {len(body) - at}")
        found[kind & _NLA_TYPE_MASK] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attribute_list(body: bytes, start: int) -> Iterator[bytes]:
    """The values of attributes that are a list: all of one type. KernelError when they do not fit."""
    at = start
    while at + 4 <= len(body):
        length, _ = _ATTRIBUTE.unpack_from(body, at)
        if not 4 <= length <= len(body) - at:
            raise KernelError(f"netlink: an attribute of {length} octets in {len(body) - at}")
        yield body[at + 4 : at + length]
        at += (length + 3) & ~3


def answer(message: Message) -> Answer:
    """Read an NLMSG_ERROR or the NLMSG_DONE of a dump."""
    if len(message.body) < _ERRNO.size:
        raise KernelError("netlink: an acknowledgement without error number")
    number = -_ERRNO.unpack_from(message.body)[0]
    text = ""
    if message.type == NLMSG_ERROR and message.flags & NLM_F_ACK_TLVS:
        text = _kernel_words(message)
    return Answer(number, text)


def _kernel_words(message: Message) -> str:
    """The extended acknowledgement's text. It follows the echoed request, which is cut to its header when capped."""
    inner = _ERRNO.size
    if len(message.body) < inner + HEADER.size:
        return ""
    length = HEADER.size if message.flags & NLM_F_CAPPED else HEADER.unpack_from(message.body, inner)[0]
    found = attributes(message.body, inner + ((length + 3) & ~3))
    return found.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("ascii", "backslashreplace")


def describe(number: int, text: str) -> str:
    """An error of the kernel for people."""
    plain = os.strerror(number)
    return f"{plain} ({text})" if text else plain


def open_socket(protocol: int, groups: int = 0, receive_buffer: int = 0) -> socket.socket:
    """A netlink socket, bound. Echoes of requests are cut, so that keys do not travel twice. KernelError if refused."""
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise KernelError(f"netlink protocol {protocol}: {error.strerror}", error.errno or 0) from error
    try:
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        made.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        made.bind((0, groups))
        made.settimeout(limits.NETLINK_TIMEOUT)
    except OSError as error:
        made.close()
        remedy = "; run with CAP_NET_ADMIN" if isinstance(error, PermissionError) else ""
        raise KernelError(f"netlink protocol {protocol}: {error.strerror}{remedy}", error.errno or 0) from error
    return made
