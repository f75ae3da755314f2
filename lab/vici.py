# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of charon's control protocol (VICI, as its public description has it), for exact answers and events.

Packets: length (4 octets), type, for some a name, then a message of sections, lists and values.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

Message = dict[str, "str | list[str] | Message"]

TIMEOUT = 60.0
"""Seconds that an answer may take; a negotiation with retransmissions takes the longest."""
PACKET_MAX = 512 * 1024
_REQUEST, _RESPONSE, _UNKNOWN, _REGISTER, _UNREGISTER, _CONFIRM, _EVENT_UNKNOWN, _EVENT = range(8)
_SECTION, _SECTION_END, _VALUE, _LIST, _ITEM, _LIST_END = range(1, 7)


class ViciError(Exception):
    """The daemon refused a command, or the connection is gone."""


class Vici:
    """One connection. Not for use by two threads."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def command(self, name: str, arguments: Mapping[str, str] | None = None) -> Message:
        """A command's answer. ViciError, with charon's reason, when it says `success=no`."""
        self._send(_REQUEST, name, encode(arguments or {}))
        kind, body = self._receive()
        if kind != _RESPONSE:
            raise ViciError(f"charon does not know the command {name}")
        answer = decode(body)
        if answer.get("success", "yes") != "yes":
            raise ViciError(f"{name}: {answer.get('errmsg', 'refused')}")
        return answer

    def stream(self, name: str, event: str, arguments: Mapping[str, str] | None = None) -> list[Message]:
        """The events that a command answers with."""
        self.register(event)
        self._send(_REQUEST, name, encode(arguments or {}))
        found = []
        while True:
            kind, body = self._receive()
            if kind == _EVENT:
                found.append(decode(body[1 + body[0] :]))
            else:
                break
        self._send(_UNREGISTER, event)
        self._receive()
        return found

    def register(self, *events: str) -> None:
        """Have these events sent to this connection from now on."""
        for event in events:
            self._send(_REGISTER, event)
            if self._receive()[0] != _CONFIRM:
                raise ViciError(f"charon does not know the event {event}")

    def next_event(self, timeout: float) -> tuple[str, Message] | None:
        """The next registered event, or None after `timeout` seconds."""
        self._socket.settimeout(max(timeout, 0.001))
        try:
            kind, body = self._receive()
        except TimeoutError:
            return None
        finally:
            self._socket.settimeout(TIMEOUT)
        if kind != _EVENT:
            raise ViciError(f"an event was awaited, packet type {kind} came")
        end = 1 + body[0]
        return body[1:end].decode(), decode(body[end:])

    def _send(self, kind: int, name: str, body: bytes = b"") -> None:
        packet = bytes([kind, len(name)]) + name.encode() + body
        self._socket.sendall(struct.pack("!I", len(packet)) + packet)

    def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", self._exactly(4))
        if not 1 <= length <= PACKET_MAX:
            raise ViciError(f"a packet of {length} octets")
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise ViciError("charon closed the connection")
            data += more
        return data


def encode(values: Mapping[str, str]) -> bytes:
    """A flat message of values."""
    parts = []
    for name, value in values.items():
        data = value.encode()
        parts.append(bytes([_VALUE, len(name)]) + name.encode() + struct.pack("!H", len(data)) + data)
    return b"".join(parts)


def decode(data: bytes) -> Message:
    """A message as nested dictionaries; a list is a list of strings."""
    return _section(iter(_elements(data)))


def _elements(data: bytes) -> Iterator[tuple[int, str, str]]:
    """(type, name, value), each empty where the type has none."""
    position = 0

    def text(width: int) -> str:
        nonlocal position
        length = int.from_bytes(data[position : position + width])
        position += width + length
        return data[position - length : position].decode(errors="replace")

    while position < len(data):
        kind = data[position]
        position += 1
        name = text(1) if kind in (_SECTION, _VALUE, _LIST) else ""
        yield kind, name, text(2) if kind in (_VALUE, _ITEM) else ""


def _section(elements: Iterator[tuple[int, str, str]]) -> Message:
    found: Message = {}
    items: list[str] = []
    for kind, name, value in elements:
        if kind == _SECTION:
            found[name] = _section(elements)
        elif kind == _SECTION_END:
            break
        elif kind == _VALUE:
            found[name] = value
        elif kind == _LIST:
            items = []
            found[name] = items
        elif kind == _ITEM:
            items.append(value)
    return found
