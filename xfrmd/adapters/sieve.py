# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter on IKE's sockets, in the kernel, that lets in a share of the first messages and all else (bpf(4), as in
SO_ATTACH_FILTER of socket(7)).

What a flood sends more than can be heard fills the sockets otherwise, and what peers say under their IKE SAs is lost
with it. Which of them is lost is drawn by lot: the address of one says nothing, and only a network that sends much of
them all has a share of its own. Decision 46.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from typing import Final, NamedTuple

from xfrmd.ike.v2.constants import FLAG_RESPONSE, NotifyType, PayloadType
from xfrmd.model.addresses import Prefix

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_MEMINFO: Final = 55
_MEMORY: Final = struct.Struct("=2I")
"""Octets that wait in a socket, with what the kernel keeps beside them, and how many may (<linux/sock_diag.h>)."""
_UDP_HEADER: Final = 8
"""The filter sees the datagram from its UDP header on."""
_SPI_R, _FIRST_PAYLOAD, _FLAGS, _NOTIFY_TYPE = 8, 16, 19, 34
"""Octets of an IKE message at which these are (RFC 7296 3.1, 3.10)."""
# <linux/bpf_common.h>, <linux/filter.h>
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET = 0x20, 0x28, 0x30
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x15, 0x35, 0x45, 0x06
_RANDOM: Final = 0xFFFFF000 + 56
_INSTRUCTION: Final = struct.Struct("=HBBI")
_ALL: Final = 0xFFFFFFFF
_IP_HEADER: Final = 0x1_0000_0000 - 0x100000
"""SKF_NET_OFF: from here on a load counts from the IP header."""
_SOURCE: Final = {4: ((_LOAD_HALF, 12, 2), (_LOAD_OCTET, 14, 1)), 6: ((_LOAD_WORD, 8, 4), (_LOAD_HALF, 12, 2))}
"""The octets of the source that are its network's (floods.BEHIND_NETWORK), in two loads, by IP version: how, where in
the IP header, how many (RFC 791 3.1, RFC 8200 3).
"""
_Step = tuple[int, int, str, str]
"""Code, operand, and where to go on if so and if not: "" for the next one."""


class Shares(NamedTuple):
    """Which part of the first messages comes in, of those without a cookie and of those that lead with one."""

    bare: float = 1.0
    shown: float = 1.0
    networks: tuple[tuple[Prefix, float], ...] = ()
    """Networks (/24, /48) of which but a part of these comes in, each with that part."""


def program(marker: int, shares: Shares, version: int) -> bytes:
    """The filter's instructions. `marker`: octets before the IKE message, which are zero there (RFC 3948 2.2).
    `version`: of IP, which the socket is for.

    A response without the responder's SPI is to what we have begun: a cookie that we are to show, another group, a
    redirect. What is too short for a first message is not let in: a load beyond the end refuses the datagram.
    """
    at = _UDP_HEADER + marker
    networks = [(network, part) for network, part in shares.networks if network.family == version]
    places: dict[str, int] = {}
    steps: list[_Step] = [(_LOAD_WORD, _UDP_HEADER, "", ""), (_IF_EQUAL, 0, "", "all")] if marker else []
    steps += [
        (_LOAD_WORD, at + _SPI_R, "", ""),
        (_IF_EQUAL, 0, "", "all"),
        (_LOAD_WORD, at + _SPI_R + 4, "", ""),
        (_IF_EQUAL, 0, "", "all"),
        (_LOAD_OCTET, at + _FLAGS, "", ""),
        (_IF_ANY_BIT, FLAG_RESPONSE, "all", ""),
    ]
    for number, (network, _) in enumerate(networks, 1):
        after = f"after {number}" if number < len(networks) else "kind"
        steps += _is_from(network, f"lot {number}", after)
        places[after] = len(steps)
    for number, (_, part) in enumerate(networks, 1):
        places[f"lot {number}"] = len(steps)
        steps += [(_LOAD_WORD, _RANDOM, "", ""), (_IF_AT_LEAST, _part(part), "none", "kind")]
    places["kind"] = len(steps)
    steps += [
        (_LOAD_OCTET, at + _FIRST_PAYLOAD, "", ""),
        (_IF_EQUAL, PayloadType.NOTIFY, "", "bare"),
        (_LOAD_HALF, at + _NOTIFY_TYPE, "", ""),
        (_IF_EQUAL, NotifyType.COOKIE, "", "bare"),
        (_LOAD_WORD, _RANDOM, "", ""),
        (_IF_AT_LEAST, _part(shares.shown), "none", "all"),
        (_LOAD_WORD, _RANDOM, "", ""),
        (_IF_AT_LEAST, _part(shares.bare), "none", "all"),
        (_RETURN, _ALL, "", ""),
        (_RETURN, 0, "", ""),
    ]
    places |= {"bare": len(steps) - 4, "all": len(steps) - 2, "none": len(steps) - 1}
    return b"".join(
        _INSTRUCTION.pack(code, *(places[to] - here - 1 if to else 0 for to in (yes, no)), value)
        for here, (code, value, yes, no) in enumerate(steps)
    )


def _is_from(network: Prefix, there: str, after: str) -> list[_Step]:
    """Go `there` with a datagram from this network, and on `after` it with others."""
    octets = network.address.packed
    steps: list[_Step] = []
    at = 0
    for load, offset, length in _SOURCE[network.family]:
        steps.append((load, _IP_HEADER + offset, "", ""))
        at += length
        steps.append(
            (_IF_EQUAL, int.from_bytes(octets[at - length : at]), "" if at < network.length // 8 else there, after)
        )
    return steps


def _part(share: float) -> int:
    return min(int(share * (_ALL + 1)), _ALL)


def attach(sock: socket.socket, instructions: bytes) -> None:
    """Have the socket filter what comes, in the place of an earlier filter. OSError."""
    room = ctypes.create_string_buffer(instructions, len(instructions))
    count = len(instructions) // _INSTRUCTION.size
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", count, ctypes.addressof(room)))


def detach(sock: socket.socket) -> None:
    """Have the socket let everything in again; one that has no filter stays as it is. OSError."""
    with contextlib.suppress(FileNotFoundError):  # ENOENT: there is none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def fills(sock: socket.socket) -> bool:
    """Is more than half of the room taken? (The kernel may tell of up to a quarter that is free again.) OSError."""
    waiting, room = _MEMORY.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size))
    return bool(waiting > room // 2)
