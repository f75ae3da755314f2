# SPDX-License-Identifier: GPL-2.0-or-later
"""The control server: JSON lines over a Unix socket, for root and the daemon's own user.

A client costs one task. It is bounded in what it may send, in how long it may take, and it can hold up nobody else:
each has one request under way, and a reader that does not take its answer is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import SCHEMA, ControlError, Json, checked
from xfrmd.daemon.answers import pieces
from xfrmd.errors import KernelError

Answerer = Callable[[str, Json], Awaitable[Json]]
"""Carries a checked request out: command name and arguments to answer, whose lists may be Parts. ControlError."""
REFUSAL_LINGER: Final = 1.0
"""Seconds in which a refused client may read why."""
_UCRED: Final = struct.Struct("=iII")


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, 0660, in place of a dead one. Raises OSError; a living one is EADDRINUSE."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) != 0:
                path.unlink(missing_ok=True)
        before = os.umask(0o117)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(limits.CONTROL_CLIENTS)
    except OSError:
        sock.close()
        raise
    return sock


def may_control(sock: socket.socket) -> bool:
    """Is the process at the other end root's, or of the daemon's own user or group (SO_PEERCRED)?"""
    _, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return uid in (0, os.geteuid()) or gid == os.getegid()


class ControlServer:
    """Serves one listening socket. `allowed` decides who may ask, `broken` is told of unexpected exceptions."""

    def __init__(
        self,
        answer: Answerer,
        broken: Callable[[str, Exception], None],
        allowed: Callable[[socket.socket], bool] = may_control,
        patience: float = limits.CONTROL_TIMEOUT,
        longest: int = limits.CONTROL_REQUEST,
    ) -> None:
        self._answer = answer
        self._broken = broken
        self._allowed = allowed
        self._patience = patience
        self._longest = longest
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        """Accept clients from now on."""
        self._server = await asyncio.start_unix_server(self._client, sock=sock, limit=self._longest)

    async def stop(self) -> None:
        """Accept no more and cut off who is there."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._clients.discard(task)
            writer.transport.abort() if self._unread(writer) else writer.close()

    @staticmethod
    def _unread(writer: asyncio.StreamWriter) -> bool:
        return writer.transport.get_write_buffer_size() > 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if not self._allowed(sock):
            refusal = ControlError("not-authorised", "not authorised", "run it as root", ExitCode.NOT_AUTHORISED)
            await self._refuse(reader, writer, refusal)
            return
        if len(self._clients) > limits.CONTROL_CLIENTS:
            await self._refuse(reader, writer, ControlError("busy", "too many clients", "try again"))
            return
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), self._patience)
            except ValueError:
                await self._refuse(reader, writer, ControlError("too-long", "the request is too long"))
                return
            if not line.endswith(b"\n"):
                return
            await self._answered(writer, await self._one(line))

    async def _answered(self, writer: asyncio.StreamWriter, message: Json) -> None:
        try:
            await self._send(writer, message)
        except (OSError, TimeoutError):
            raise
        except Exception as error:  # of lists that are made meanwhile
            if not isinstance(error, KernelError):  # what the kernel fails at passes, and is no fault of ours
                self._broken("control", error)
            raise ConnectionAbortedError from error  # too late for a refusal: the line has no end

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, why: ControlError) -> None:
        """Refuse for good. What the client still sends is thrown away for a moment: a socket that is closed on unread
        octets resets the connection, and the client would not see why.
        """
        await self._send(writer, _refusal(why))
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._patience, REFUSAL_LINGER)):
                while await reader.read(65536):
                    pass

    async def _one(self, line: bytes) -> Json:
        """The answer to one request line."""
        try:
            command, arguments = checked(_parsed(line))
            return {"schema": SCHEMA, "ok": True, "answer": await self._answer(command.name, arguments)}
        except ControlError as error:
            return _refusal(error)
        except KernelError as error:
            return _refusal(
                ControlError("kernel", f"the kernel failed at this: {error}", "see xfrmctl status; try again")
            )
        except Exception as error:  # noqa: BLE001 (the daemon outlives a fault in one command)
            self._broken("control", error)
            return _refusal(ControlError("internal", "the daemon failed at this", "see journalctl -u xfrmd"))

    async def _send(self, writer: asyncio.StreamWriter, message: Json) -> None:
        """Send an answer as its reader takes it, who has `patience` for all of it, without the time that we take."""
        clock, patience = asyncio.get_running_loop().time, self._patience
        async with contextlib.aclosing(pieces(message)) as made:
            async for piece in made:
                begun = clock()
                async with asyncio.timeout(patience):
                    writer.write(piece)
                    await _drained(writer)
                patience -= clock() - begun
                await asyncio.sleep(0)  # others have their turn


async def _drained(writer: asyncio.StreamWriter) -> None:
    """Until the reader has taken everything (drain alone returns at the low-water mark)."""
    writer.transport.set_write_buffer_limits(high=0)
    await writer.drain()


def _parsed(line: bytes) -> object:
    try:
        parsed: object = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("usage", "the request is no JSON", "", ExitCode.USAGE) from None
    return parsed


def _refusal(error: ControlError) -> Json:
    return {"schema": SCHEMA, "ok": False, "error": error.to_json()}
