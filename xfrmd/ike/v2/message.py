# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole messages. One opened with our keys and one in the clear are different types: trust is a type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from xfrmd import limits
from xfrmd.errors import LocalProtocolError, RemoteProtocolError
from xfrmd.ike.v2.constants import CRITICAL, NotifyType, PayloadType
from xfrmd.ike.v2.header import HEADER, Header, parse_header
from xfrmd.ike.v2.payloads import CODECS, NotifyPayload, Payload, SkfPayload, SkPayload, UnknownPayload
from xfrmd.ike.v2.payloads.payload import GENERIC, GenericHeader
from xfrmd.wire.reader import Reader
from xfrmd.wire.writer import Writer

P = TypeVar("P")

_ROOM: Final = bytes(GENERIC.size)
"""For a generic header, until the length of its payload is known."""


class Cipher(Protocol):
    """What protects one direction of an IKE SA; transforms.compute.IkeCipher is one. Sizes in octets."""

    @property
    def iv_len(self) -> int:
        """Size of the initialization vector."""
        ...

    @property
    def icv_len(self) -> int:
        """Size of the integrity checksum."""
        ...

    @property
    def block_len(self) -> int:
        """What the plaintext is padded to a multiple of."""
        ...

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext and ICV."""
        ...

    def open(self, iv: bytes, ciphertext_and_icv: bytes, aad: bytes) -> bytes:
        """Plaintext. RemoteProtocolError when the ICV is wrong."""
        ...


@dataclass(slots=True, unsafe_hash=True)
class Message:
    """A header and payloads in the order sent, with the octets they came from."""

    header: Final[Header]
    payloads: Final[tuple[Payload, ...]]
    raw: Final[bytes]
    """The datagram. AUTH covers these octets, never a new encoding (RFC 7296 2.15)."""
    _notified: Final[dict[int, NotifyPayload]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The first Notify payload of each type: a handshake asks for a dozen."""

    def __post_init__(self) -> None:
        for one in reversed(self.payloads):
            if isinstance(one, NotifyPayload):
                self._notified[one.notify] = one

    def first(self, kind: type[P]) -> P | None:
        """The first payload of a class, e.g. `message.first(KePayload)`."""
        for payload in self.payloads:
            if isinstance(payload, kind):
                return payload
        return None

    def every(self, kind: type[P]) -> tuple[P, ...]:
        """All payloads of a class, in the order sent."""
        return tuple([payload for payload in self.payloads if isinstance(payload, kind)])

    # rfc 7296: unknown-status
    def notify(self, kind: int) -> NotifyPayload | None:
        """The first Notify payload of this Notify Message Type."""
        return self._notified.get(kind)


@dataclass(slots=True, unsafe_hash=True)
class ClearMessage(Message):
    """A message as anyone can have sent it. `encrypted` is its SK or SKF payload, still closed, if it has one."""

    encrypted: Final[SkPayload | SkfPayload | None] = None


@dataclass(slots=True, unsafe_hash=True)
class SealedMessage(Message):
    """A message that came sealed with the keys of its IKE SA; `payloads` are those inside."""

    plaintext: Final[bytes] = b""
    """The octets of the payloads inside, padding left out (IntAuth covers them, RFC 9242 3.3.2)."""


def parse_clear(data: bytes, header: Header | None = None) -> ClearMessage:
    """Read a datagram. `header`: what parse_header has made of it, where it has.

    Raises RemoteProtocolError with the notify that RFC 7296 2.21 wants, 0 for no IKE message.
    """
    header = header or parse_header(data)
    reader = Reader(data, NotifyType.INVALID_SYNTAX, HEADER.size)
    payloads, encrypted = _read_chain(reader, header.next_payload)
    _refuse_critical(payloads)
    return ClearMessage(header, payloads, data, encrypted)


def open_sealed(clear: ClearMessage, cipher: Cipher) -> SealedMessage:
    """Verify and decrypt the SK payload of a message.

    Raises RemoteProtocolError: `notify` 0 means that the message is not authentic, so that nothing may follow from it;
    else the sender is authentic and the notify is the answer (RFC 7296 2.21.2).
    """
    if not isinstance(clear.encrypted, SkPayload):
        raise RemoteProtocolError("a message without an SK payload")
    return sealed(clear.header, clear.encrypted.first, open_body(clear, clear.encrypted, cipher), clear.raw)


def sealed(header: Header, first: int, content: bytes, raw: bytes) -> SealedMessage:
    """The message that has this content, whose first payload is of type `first`. Refuses as open_sealed does."""
    payloads, encrypted = _read_chain(Reader(content, NotifyType.INVALID_SYNTAX), first)
    if encrypted is not None:
        raise RemoteProtocolError("an encrypted payload inside another", NotifyType.INVALID_SYNTAX)
    _refuse_critical(payloads)
    return SealedMessage(header, payloads, raw, content)


def build_clear(header: Header, payloads: Iterable[Payload]) -> bytes:
    """The datagram of a message in the clear. Next payload and length of `header` are filled in."""
    chain = tuple(payloads)
    body, writer = Writer(), Writer()
    _write_chain(body, chain)
    first = chain[0].type if chain else 0
    HEADER.write(writer, header._replace(next_payload=first, length=HEADER.size + len(body)))
    writer.put(body.octets())
    return writer.octets()


def content_of(payloads: Iterable[Payload]) -> tuple[int, bytes]:
    """Payloads as they are encrypted: the type of the first, 0 for none, and their octets."""
    chain = tuple(payloads)
    inner = Writer()
    _write_chain(inner, chain)
    return chain[0].type if chain else 0, inner.octets()


# rfc 7296: icv-covers-all
def seal_content(header: Header, first: int, content: bytes, cipher: Cipher, iv: bytes, *, head: bytes = b"") -> bytes:
    """The datagram of a sealed message or fragment. `first`: type of the first payload in `content`; `head` stands
    between the generic header of the encrypted payload and the IV. `iv` is of cipher.iv_len octets: never twice the
    same under one AEAD key, not to be foreseen for CBC (RFC 7296 3.14, RFC 5282 3.1).
    """
    padding = -(len(content) + 1) % cipher.block_len
    body = len(head) + cipher.iv_len + len(content) + padding + 1 + cipher.icv_len
    outer = Writer()
    HEADER.write(outer, header._replace(length=HEADER.size + GENERIC.size + body))
    GENERIC.write(outer, GenericHeader(first, 0, GENERIC.size + body))
    outer.put(head)
    aad = outer.octets()
    if len(iv) != cipher.iv_len:
        raise LocalProtocolError(f"an IV of {len(iv)} octets where the cipher takes {cipher.iv_len}")
    return aad + iv + cipher.seal(iv, content + bytes(padding) + bytes((padding,)), aad)


def covered(header: Header, first: int, plaintext: bytes) -> bytes:
    """What IntAuth covers of a sealed message (RFC 9242 3.3.2): its content, and its headers with lengths that leave
    IV, padding and ICV out. `first`: type of the first payload in it.
    """
    size = GENERIC.size + len(plaintext)
    writer = Writer()
    HEADER.write(writer, header._replace(next_payload=PayloadType.SK, length=HEADER.size + size))
    GENERIC.write(writer, GenericHeader(first, 0, size))
    writer.put(plaintext)
    return writer.octets()


# rfc 7296: any-padding
def open_body(clear: ClearMessage, closed: SkPayload | SkfPayload, cipher: Cipher) -> bytes:
    """What an encrypted payload contains, without padding. RemoteProtocolError with notify 0: it is not authentic."""
    size = len(closed.body) - cipher.iv_len - cipher.icv_len
    if size < 1 or size % cipher.block_len:
        raise RemoteProtocolError(f"an encrypted payload of {len(closed.body)} octets")
    iv, rest = closed.body[: cipher.iv_len], closed.body[cipher.iv_len :]
    try:
        plaintext = cipher.open(iv, rest, clear.raw[: closed.offset])
    except RemoteProtocolError as error:
        raise RemoteProtocolError(str(error)) from None
    padding = plaintext[-1] if plaintext else 0
    if padding >= len(plaintext):
        raise RemoteProtocolError("more padding than content", NotifyType.INVALID_SYNTAX)
    return plaintext[: len(plaintext) - padding - 1]


# rfc 7296: unknown-uncritical critical-ignored sk-last
def _read_chain(reader: Reader, kind: int) -> tuple[tuple[Payload, ...], SkPayload | SkfPayload | None]:
    """Payloads from here to the end, the first of type `kind`, and the encrypted one that must be the last."""
    found: list[Payload] = []
    while kind:
        if len(found) == limits.PAYLOADS:
            raise reader.refuse(f"more than {limits.PAYLOADS} payloads")
        following, flags, length = GENERIC.read(reader)
        try:
            body = reader.restrict(length - GENERIC.size)
            codec = CODECS.get(kind)
            if codec is not None:
                found.append(codec.decode(body))
                body.finish()
            elif kind in (PayloadType.SK, PayloadType.SKF):
                reader.finish()
                return tuple(found), (SkPayload if kind == PayloadType.SK else SkfPayload).read(following, body)
            else:
                found.append(UnknownPayload(kind, flags & CRITICAL != 0, body.rest()))
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{PayloadType(kind).name} payload: {error}", error.notify, error.data) from None
        kind = following
    reader.finish()
    return tuple(found), None


# rfc 7296: unknown-critical
def _refuse_critical(payloads: Sequence[Payload]) -> None:
    for payload in payloads:
        if isinstance(payload, UnknownPayload) and payload.critical:
            raise RemoteProtocolError(
                f"payload type {payload.type} is unknown and critical",
                NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
                bytes((payload.type,)),
            )


# rfc 7296: reserved-zero
def _write_chain(writer: Writer, chain: tuple[Payload, ...]) -> None:
    kinds = [payload.type for payload in chain]
    for payload, following in zip(chain, [*kinds[1:], 0], strict=False):
        start = len(writer)
        writer.put(_ROOM)
        payload.encode(writer)
        flags = CRITICAL if isinstance(payload, UnknownPayload) and payload.critical else 0
        GENERIC.patch(writer, start, GenericHeader(following, flags, len(writer) - start))
