# SPDX-License-Identifier: GPL-2.0-or-later
"""One bounded HTTP/1.1 exchange (RFC 9112) with a server that may lie, hang or never end.

No redirects, no cookies, no compression, no proxies, no second exchange on a connection: nothing that a revocation list
or an OCSP responder needs. What is fetched is signed, so that plain HTTP is enough.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from xfrmd.credentials.locations import Place, is_unfit, location_of
from xfrmd.errors import XfrmdError
from xfrmd.limits import fetching
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import Ports, Selector

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses of a name."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n\0]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_SIZE: Final = re.compile(rb"[0-9]{1,12}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[^\r\n\0]*)?")
_REDIRECTS: Final = range(300, 400)
_OK: Final = 200
_TOLD: Final = 100
_OURS: Final = 50_000
"""A port of this host, of those that connections get."""


class FetchError(XfrmdError):
    """Nothing was fetched, and why not. `place`: whom it was tried to reach, once that is known."""

    def __init__(self, message: str, address: Address | None = None) -> None:
        super().__init__(message)
        self.address = address


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: a GET or, with a body, a POST. At most `most` octets are taken as the answer."""

    url: str
    most: int
    body: bytes | None = None
    body_type: str = ""


async def fetch(request: Request, resolve: Resolve, seconds: float = fetching.TIME) -> bytes:
    """The body of a good answer, within this time. FetchError for all else."""
    tried: list[Address] = []
    try:
        async with asyncio.timeout(seconds):
            return await _fetch(request, resolve, tried)
    except TimeoutError as error:
        last = tried[-1] if tried else None
        raise FetchError(f"no whole answer within {seconds:.0f} seconds{_at(last)}", last) from error
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        last = tried[-1] if tried else None
        raise FetchError(f"{_why(error)}{_at(last)}", last) from error


async def _fetch(request: Request, resolve: Resolve, tried: list[Address]) -> bytes:
    place, target = location_of(request.url)
    reader, writer = await _connect(place, await _addresses(place, resolve), tried)
    try:
        writer.write(_head(request, place, target) + (request.body or b""))
        await writer.drain()
        fields = await _answer_head(reader)
        return await _body(reader, fields, request.most)
    finally:
        writer.transport.abort()  # nothing that is still to come is of interest


def _at(address: Address | None) -> str:
    return f" (at {address})" if address is not None else ""


def _why(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the answer ends too early"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


async def _addresses(place: Place, resolve: Resolve) -> list[Address]:
    """Where a server is. A name never leads to this host, its link or to nobody: only who writes such an address."""
    if place.address is not None:
        return [Address.parse(place.host)]
    found = list(await resolve(place.host))
    if not found:
        raise FetchError(f"the name {place.host} has no address")
    fit = [one for one in found if not is_unfit(ip_address(one.packed))]
    if not fit:
        raise FetchError(f"the name {place.host} leads to {found[0]}, where no server may be")
    return fit[: fetching.ADDRESSES]


async def _connect(
    place: Place, addresses: Sequence[Address], tried: list[Address]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    trouble = ""
    for address in addresses:
        tried.append(address)
        try:
            async with asyncio.timeout(fetching.CONNECT):
                return await asyncio.open_connection(str(address), place.port, limit=fetching.HEAD)
        except TimeoutError:
            trouble = f"port {place.port} does not answer"
        except OSError as error:
            trouble = f"port {place.port} cannot be reached: {_why(error)}"
    raise FetchError(f"{trouble}{_at(tried[-1])}", tried[-1])


def _head(request: Request, place: Place, target: str) -> bytes:
    lines = [
        f"{'GET' if request.body is None else 'POST'} {target} HTTP/1.1",
        f"Host: {place}",
        "User-Agent: xfrmd",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if request.body is not None:
        lines += [f"Content-Type: {request.body_type}", f"Content-Length: {len(request.body)}"]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


async def _answer_head(reader: asyncio.StreamReader) -> dict[bytes, bytes]:
    """The fields of a good answer, by their names in lower case."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise FetchError(f"the head of the answer is longer than {fetching.HEAD} octets") from error
    first, *lines = head[:-4].split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise FetchError("the answer is none of HTTP/1.1")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise FetchError("the head of the answer is malformed")
        name = found[1].lower()
        if fields.setdefault(name, found[2]) != found[2] and name in (b"content-length", b"transfer-encoding"):
            raise FetchError("the answer says twice, and not alike, how long it is")
    number = int(status[1])
    if number in _REDIRECTS:
        raise FetchError(f"it refers to {fields.get(b'location', b'')[:_TOLD].decode('latin-1')!a} ({number}), "
                         "which is not followed")  # fmt: skip
    if number != _OK:
        raise FetchError(f"it answers with status {number}")
    return fields


async def _body(reader: asyncio.StreamReader, fields: dict[bytes, bytes], most: int) -> bytes:
    """How long it is: RFC 9112 6.3."""
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise FetchError("the answer is compressed, though nobody has asked for it")
    encoding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if encoding is not None:
        if encoding.lower() != b"chunked" or length is not None:
            raise FetchError("the answer has a transfer coding that is not taken")
        return await _chunks(reader, most)
    if length is not None:
        if not _SIZE.fullmatch(length):
            raise FetchError("the answer has a malformed Content-Length")
        _check_size(int(length), most)
        return await reader.readexactly(int(length))
    return await _rest(reader, most)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise FetchError(f"the answer is longer than {most} octets")


async def _rest(reader: asyncio.StreamReader, most: int) -> bytes:
    """To the end of the connection."""
    body = bytearray()
    while octets := await reader.read(fetching.HEAD):
        body += octets
        _check_size(len(body), most)
    return bytes(body)


async def _chunks(reader: asyncio.StreamReader, most: int) -> bytes:
    """RFC 9112 7.1. Trailers are not looked at, and need not have come."""
    body, count = bytearray(), 0
    while True:
        count += 1
        found = _CHUNK.fullmatch((await _line(reader)).removesuffix(b"\r\n"))
        if found is None:
            raise FetchError("the answer has a malformed chunk")
        size = int(found[1], 16)
        if size == 0:
            return bytes(body)
        _check_size(max(len(body) + size, count), most)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise FetchError("the answer has a malformed chunk")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError as error:
        raise FetchError("the answer has a malformed chunk") from error


def outgoing(address: Address, port: int) -> Selector | None:
    """The packets of a connection of this host to there, as the policy sees them; None when there is no route."""
    family = socket.AF_INET if address.family == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), port))  # sends nothing
            ours = Address.parse(probe.getsockname()[0])
    except (OSError, ValueError):
        return None
    return Selector(Prefix.host(ours), Prefix.host(address), socket.IPPROTO_TCP, Ports(_OURS, _OURS), Ports(port, port))
