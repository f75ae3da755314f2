# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages in fragments (RFC 7383): each is a datagram of its own, sealed by itself.

A message of ours in fragments is kept as its datagrams one after the other; their headers tell their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from xfrmd import limits
from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.ike.v2.constants import NotifyType, PayloadType
from xfrmd.ike.v2.header import HEADER, Header
from xfrmd.ike.v2.message import (
    Cipher,
    ClearMessage,
    SealedMessage,
    content_of,
    open_body,
    open_sealed,
    parse_clear,
    seal_content,
    sealed,
)
from xfrmd.ike.v2.payloads import Payload, SkfPayload
from xfrmd.ike.v2.payloads.encrypted import SKF, SkfHead
from xfrmd.ike.v2.payloads.payload import GENERIC
from xfrmd.wire.writer import Writer

_LENGTH: Final = slice(24, 28)
"""Of a message, in its header (RFC 7296 3.1)."""


def datagrams(octets: bytes) -> Iterator[bytes]:
    """The datagrams of a message of ours."""
    start = 0
    while start < len(octets):
        end = start + int.from_bytes(octets[start:][_LENGTH])
        yield octets[start:end]
        start = end


# rfc 7383: init-never fragment-sealed first-names-payload
def build(
    header: Header, payloads: Iterable[Payload], cipher: Cipher, fresh_iv: Callable[[], bytes], limit: int | None
) -> bytes:
    """A sealed message, in fragments of at most `limit` octets if it is longer; None: whole whatever its length."""
    return _build(header, content_of(payloads), cipher, fresh_iv, limit)


# rfc 7383: path-mtu
def cut(octets: bytes, cipher: Cipher, fresh_iv: Callable[[], bytes], limit: int) -> bytes:
    """A sealed message of ours once more, with the same content in fragments of at most `limit` octets. `cipher` is
    what it was sealed with.
    """
    parts = [parse_clear(one) for one in datagrams(octets)]
    arrived, message = Reassembly(parts[0].header.message_id), None
    for part in parts:
        closed = part.encrypted
        message = arrived.add(part, closed, cipher) if isinstance(closed, SkfPayload) else open_sealed(part, cipher)
    if message is None:
        raise LocalProtocolError("a message of ours that is not whole")
    first = message.payloads[0].type if message.payloads else 0
    return _build(message.header, (first, message.plaintext), cipher, fresh_iv, limit)


def largest(octets: bytes) -> int:
    """Octets of the largest datagram of a message of ours."""
    return max(map(len, datagrams(octets)), default=0)


def count(octets: bytes) -> int:
    """How many datagrams a message of ours has."""
    return sum(1 for _ in datagrams(octets))


def _build(
    header: Header, inside: tuple[int, bytes], cipher: Cipher, fresh_iv: Callable[[], bytes], limit: int | None
) -> bytes:
    first, content = inside
    around = HEADER.size + GENERIC.size + cipher.iv_len + cipher.icv_len
    if limit is None or around + _padded(len(content), cipher) <= limit:
        return seal_content(header._replace(next_payload=PayloadType.SK), first, content, cipher, fresh_iv())
    room = (limit - around - SKF.size) // cipher.block_len * cipher.block_len - 1
    total = -(-len(content) // room)
    if total > limits.FRAGMENTS:
        raise LocalProtocolError(f"a message of {len(content)} octets in {total} fragments")
    outer = header._replace(next_payload=PayloadType.SKF)
    parts = (content[number * room : (number + 1) * room] for number in range(total))
    return b"".join(
        seal_content(outer, first if number == 1 else 0, part, cipher, fresh_iv(), head=_head(number, total))
        for number, part in enumerate(parts, 1)
    )


def _padded(size: int, cipher: Cipher) -> int:
    return -(-(size + 1) // cipher.block_len) * cipher.block_len


def _head(number: int, total: int) -> bytes:
    writer = Writer()
    SKF.write(writer, SkfHead(number, total))
    return writer.octets()


class Reassembly:
    """The fragments of one message of the peer's that are here."""

    __slots__ = ("_first", "_parts", "_raw", "_total", "message_id")

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self._total = 0
        self._parts: dict[int, bytes] = {}
        self._first = 0
        self._raw = b""

    # rfc 7383: reassemble-authentic size-change bounded
    def add(self, clear: ClearMessage, closed: SkfPayload, cipher: Cipher) -> SealedMessage | None:
        """Take a fragment; the whole message once all are here. RemoteProtocolError for one that is not authentic
        (notify 0), and for what open_sealed refuses.
        """
        content = open_body(clear, closed, cipher)
        if closed.total < self._total:
            return None  # of an attempt that the peer has given up for smaller fragments
        if closed.total > self._total:
            self._total, self._parts = closed.total, {}
        if closed.number == 1:
            self._first, self._raw = closed.first, clear.raw
        elif closed.first:
            raise RemoteProtocolError("a later fragment that names a first payload", NotifyType.INVALID_SYNTAX)
        self._parts.setdefault(closed.number, content)
        if sum(map(len, self._parts.values())) > limits.DATAGRAM_SIZE:
            raise RemoteProtocolError("fragments of a message that is too long", NotifyType.INVALID_SYNTAX)
        if len(self._parts) < self._total:
            return None
        whole = b"".join(self._parts[number] for number in range(1, self._total + 1))
        return sealed(clear.header, self._first, whole, self._raw)
