# SPDX-License-Identifier: GPL-2.0-or-later
"""A socket for XFRM requests. A call returns when the kernel has answered; it works while the caller waits."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.netlink_dump import interrupted
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.errors import KernelError

GONE: Final = (errno.ENOENT, errno.ESRCH)
"""What the kernel says of something that is to be removed and is not there."""
T = TypeVar("T")


class NoAnswerError(KernelError):
    """A request was made, and whether the kernel has done it is not known."""


class Wire(Protocol):
    """What is needed of a netlink socket. All raise OSError."""

    def send(self, data: bytes, /) -> int:
        """The kernel works on it before this returns."""

    def recv(self, size: int, /) -> bytes:
        """The next answer, or part of one."""

    def getsockname(self) -> tuple[int, int]:
        """The port, and multicast groups."""

    def close(self) -> None:
        """Answers that were not read are lost."""


def _opened() -> socket.socket:
    return netlink.open_socket(uapi.NETLINK_XFRM)


class Request(NamedTuple):
    """One request: its type, flags beside NLM_F_REQUEST, its body and what it is about, for people."""

    type: Msg
    body: bytes
    about: object
    flags: int = 0


class Refusal(NamedTuple):
    """A request that the kernel refused: which one of the batch, why, and both for people."""

    place: int
    errno: int
    message: str


class RequestSocket:
    """Requests to XFRM of this network namespace. Not for use from two threads.

    What fails for a reason that may pass is asked for once more, but for bulk changes, whose owner looks again, and for
    an SA of which no answer says whether the kernel has it: its keys must not go there twice.
    """

    def __init__(self, batch: int = limits.NETLINK_BATCH, opener: Callable[[], Wire] = _opened) -> None:
        """`batch`: most requests at once. The default one does not hold up an event loop."""
        self._batch = batch
        self._opener = opener
        self._socket: Wire | None = None
        self._port = 0
        self._wire()
        self._sequence = itertools.count(1)
        self.repeats = 0
        """Requests that were made once more."""

    @property
    def port(self) -> int:
        """The netlink port: the kernel's news of a change carry that of whoever asked for it."""
        self._wire()
        return self._port

    def close(self) -> None:
        """Close the socket. What is in the kernel stays there."""
        if self._socket is not None:
            self._socket.close()

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        """Carry out requests in order, each on its own: one that is refused stops no other.

        KernelError when no answer comes.
        """
        if not requests:
            return ()
        if len(requests) > self._batch:
            raise ValueError(f"{len(requests)} requests in a batch of at most {self._batch}")
        first = next(self._sequence)
        numbers = [first, *itertools.islice(self._sequence, len(requests) - 1)]
        last, port = numbers[-1], self.port
        self._send(
            b"".join(
                netlink.frame(r.type, r.flags | (netlink.NLM_F_ACK if n == last else 0), n, r.body, port)
                for n, r in zip(numbers, requests, strict=True)
            )
        )
        return tuple(self._refusals(requests, first))

    def _refusals(self, requests: Sequence[Request], first: int) -> Iterator[Refusal]:
        """Errors come for each request; the acknowledgement of the last one comes after all of them."""
        while True:
            for message in self._receive():
                index = message.seq - first
                if message.type != netlink.NLMSG_ERROR or not 0 <= index < len(requests):
                    continue
                found = netlink.answer(message)
                if found.errno:
                    request = requests[index]
                    why = netlink.describe(found.errno, found.text)
                    yield Refusal(index, found.errno, f"{request.type.name} {request.about}: {why}")
                if index == len(requests) - 1:
                    return

    def _wire(self) -> Wire:
        """The socket, anew after a loss. KernelError."""
        if self._socket is None:
            self._socket = self._opener()
            self._port = self._socket.getsockname()[0]
        return self._socket

    def _send(self, data: bytes) -> None:
        wire = self._wire()
        try:
            wire.send(data)
        except OSError as error:
            self._forsake()
            raise KernelError(f"XFRM request: {error.strerror or error}", error.errno or 0) from error

    def _receive(self) -> list[netlink.Message]:
        """Messages of one receive call. A lost answer leaves the socket's order unknown, so it is opened anew."""
        try:
            return list(netlink.messages(self._wire().recv(netlink.RECEIVE_SIZE)))
        except TimeoutError as error:
            self._forsake()
            raise NoAnswerError("XFRM: the kernel did not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            self._forsake()
            raise NoAnswerError(f"XFRM answer lost: {error.strerror or error}", error.errno or 0) from error

    def _forsake(self) -> None:
        """Read nothing more from this socket; the next request opens another."""
        wire, self._socket = self._socket, None
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.close()

    def one(self, request: Request) -> None:
        """Carry out one request. KernelError when it is refused or no answer comes."""
        for refusal in self.submit([request]):
            raise KernelError(refusal.message, refusal.errno)

    def twice(self, work: Callable[[], T]) -> T:
        """Do something that may be done twice, and once more where it fails for a reason that may pass."""
        try:
            return work()
        except KernelError as error:
            if error.errno not in netlink.PASSING:
                raise
            self.repeats += 1
            return work()

    def dump(self, kind: Msg, wanted: Msg, decode: Callable[[bytes], T | None]) -> tuple[T, ...]:
        """All objects that `decode` takes. KernelError."""
        return self.twice(lambda: self._dumped(kind, wanted, decode))

    def _dumped(self, kind: Msg, wanted: Msg, decode: Callable[[bytes], T | None]) -> tuple[T, ...]:
        number = next(self._sequence)
        self._send(netlink.frame(kind, netlink.NLM_F_DUMP, number, b""))
        found: list[T] = []
        while True:
            for message in self._receive():
                if message.seq != number:
                    continue
                if message.flags & netlink.NLM_F_DUMP_INTR:
                    self._forsake()
                    raise interrupted(kind.name)
                if message.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                    end = netlink.answer(message)
                    if end.errno:
                        raise KernelError(f"{kind.name} dump: {netlink.describe(end.errno, end.text)}", end.errno)
                    return tuple(found)
                value = decode(message.body) if message.type == wanted else None
                if value is not None:
                    found.append(value)

    def get(self, kind: Msg, body: bytes, wanted: Msg, decode: Callable[[bytes], T | None]) -> T | None:
        """One object, None when there is no such. KernelError."""
        return self.twice(lambda: self._got(kind, body, wanted, decode))

    def _got(self, kind: Msg, body: bytes, wanted: Msg, decode: Callable[[bytes], T | None]) -> T | None:
        number = next(self._sequence)
        self._send(netlink.frame(kind, 0, number, body))
        while True:
            for message in self._receive():
                if message.seq != number:
                    continue
                if message.type == wanted:
                    return decode(message.body)
                refused = netlink.answer(message)
                if refused.errno in GONE:
                    return None
                raise KernelError(f"{kind.name}: {netlink.describe(refused.errno, refused.text)}", refused.errno)
