# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTTP client against servers that lie, hang, drip and never end. Real sockets; time runs as fast as the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from xfrmd.adapters import http
from xfrmd.adapters.http import FetchError, Request
from xfrmd.model.addresses import Address

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MOST = 100_000
OK = b"HTTP/1.1 200 OK\r\n"


async def nobody(name: str) -> Sequence[Address]:
    raise AssertionError(name)


@asynccontextmanager
async def server(script: Script | bytes) -> Any:
    """A server on 127.0.0.1 that plays a script for each connection; its port and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(script, bytes):
                writer.write(script)
                await writer.drain()
            else:
                await script(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], asked


async def got(script: Script | bytes, *, most: int = MOST, body: bytes | None = None, seconds: float = 20.0) -> bytes:
    async with server(script) as (port, _):
        return await http.fetch(Request(f"http://127.0.0.1:{port}/x?y", most, body, "text/plain"), nobody, seconds)


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x;why=not\r\n%s\r\n" % (len(one), one) for one in parts) + b"0\r\nTrailer: 1\r\n\r\n"


GOOD = {
    "with its length": OK + b"Content-Length: 3\r\n\r\nabcmore",
    "to the end": OK + b"\r\nabc",
    "of HTTP/1.0": b"HTTP/1.0 200\r\n\r\nabc",
    "in chunks": OK + b"transfer-encoding: Chunked\r\n\r\n" + chunked(b"a", b"bc"),
    "with the same length twice": OK + b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "with fields that do not matter": OK + b"X: 1\r\nX: 2\r\nEmpty:\r\n\r\nabc",
}


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD)
def test_good_answers(answer: bytes) -> None:
    assert run(got(answer)) == b"abc"


def test_what_is_asked() -> None:
    async def ask() -> list[bytes]:
        async with server(OK + b"\r\n") as (port, asked):
            for body in (None, b"what"):
                await http.fetch(Request(f"http://127.0.0.1:{port}/p?q=1", MOST, body, "a/b"), nobody)
            return [one.replace(b":%d" % port, b"") for one in asked]

    get, post = run(ask())
    assert get == (
        b"GET /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: xfrmd\r\nAccept-Encoding: identity\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert post.startswith(b"POST /p?q=1 HTTP/1.1\r\n")
    assert post.endswith(b"Content-Type: a/b\r\nContent-Length: 4\r\n\r\n")


LIES = {
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "none of HTTP/1.1"),
    "a status that is none": (b"HTTP/1.1 abc\r\n\r\n", "none of HTTP/1.1"),
    "an error": (b"HTTP/1.1 500 Oh\r\n\r\n", "status 500"),
    "not found": (b"HTTP/1.1 404 \r\n\r\n", "status 404"),
    "informational": (b"HTTP/1.1 100 Continue\r\n\r\n", "status 100"),
    "a redirect to this host": (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "refers to 'http://127.0.0.1/' .302., which",
    ),
    "a redirect with control characters": (
        b"HTTP/1.1 301 Found\r\nLocation: \x1b[2J\xff\r\n\r\n", r"refers to '\\x1b\[2J\\xff'",
    ),
    "fields without a name": (OK + b": x\r\n\r\n", "malformed"),
    "folded fields": (OK + b"A: b\r\n c\r\n\r\n", "malformed"),
    "a space before the colon": (OK + b"Content-Length : 3\r\n\r\nabc", "malformed"),
    "bare line feeds": (OK + b"A: b\nC: d\r\n\r\n", "malformed"),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "twice, and not alike"),
    "length and chunks": (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", "coding that is"),
    "another coding": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\nabc", "coding that is not taken"),
    "compressed": (OK + b"Content-Encoding: gzip\r\n\r\nabc", "compressed"),
    "a negative length": (OK + b"Content-Length: -1\r\n\r\nabc", "malformed Content-Length"),
    "gigabytes that it tells": (OK + b"Content-Length: 99999999999\r\n\r\n", "longer than 100000"),
    "gigabytes in one chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", "longer than 100000"),
    "a chunk of no size": (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx", "malformed chunk"),
    "a chunk that goes on": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabcd", "malformed chunk"),
    "a chunk's line without end": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 99_999, "malformed chunk"),
    "a head without end": (OK + b"A: " + b"a" * 99_999, "head of the answer is longer"),
    "an early end": (OK + b"Content-Length: 9\r\n\r\nabc", "ends too early"),
    "an early end of a head": (OK, "ends too early"),
    "nothing": (b"", "ends too early"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES.values(), ids=LIES)
def test_servers_that_lie(case: tuple[bytes, str]) -> None:
    with pytest.raises(FetchError, match=case[1]):
        run(got(case[0]))


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def pour_chunks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n" * 1000)
        await writer.drain()


@pytest.mark.parametrize("script", [hang, drip])
def test_servers_that_take_their_time(script: Script) -> None:
    with pytest.raises(FetchError, match=r"no whole answer within 0 seconds \(at 127.0.0.1\)"):
        run(got(script, seconds=0.3))


@pytest.mark.parametrize("script", [pour, pour_chunks])
def test_servers_that_never_end(script: Script) -> None:
    with pytest.raises(FetchError, match="longer than 100000"):
        run(got(script))


@pytest.mark.parametrize(
    "found", ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "::ffff:7f00:1", "0.1.2.3"]
)
def test_names_never_lead_to_this_host_or_its_link(found: str) -> None:
    async def resolve(_: str) -> Sequence[Address]:
        return [Address.parse(found)]

    with pytest.raises(FetchError, match=f"the name crl.example leads to {found}, where no server may be"):
        run(http.fetch(Request("http://crl.example/", MOST), resolve))


def test_a_name_without_an_address() -> None:
    async def resolve(_: str) -> Sequence[Address]:
        return []

    with pytest.raises(FetchError, match=r"the name crl\.example has no address"):
        run(http.fetch(Request("http://crl.example/", MOST), resolve))


def test_a_port_where_nobody_listens() -> None:
    async def ask() -> bytes:
        async with server(b"") as (port, _):
            pass
        return await http.fetch(Request(f"http://127.0.0.1:{port}/", MOST), nobody)

    with pytest.raises(FetchError, match=r"port [0-9]+ cannot be reached: .*\(at 127.0.0.1\)") as caught:
        run(ask())
    assert str(caught.value.address) == "127.0.0.1"
