# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket for XFRM requests. A call returns when the kernel has answered; it works while the caller waits."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.xfrm import policies, states, uapi
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry

GONE: Final = (errno.ENOENT, errno.ESRCH)
"""What the kernel says of something that is to be removed and is not there."""
_WORD: Final = bytes(4)
T = TypeVar("T")


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


def add_policy(entry: SpdEntry) -> Request:
    """A new policy. The kernel answers EEXIST when its direction and selector are taken, by whomever."""
    return Request(Msg.NEWPOLICY, policies.encode(entry), entry.selector)


def update_policy(entry: SpdEntry) -> Request:
    """Replace the policy of this direction and selector at once, or add it. Sockets then look their routes up anew."""
    return Request(Msg.UPDPOLICY, policies.encode(entry), entry.selector)


def delete_policy(direction: Direction, selector: Selector, index: int = 0) -> Request:
    """Remove a policy, by index where one is known: then nobody else's can be hit."""
    return Request(Msg.DELPOLICY, policies.encode_id(direction, selector, index), selector)


class XfrmSocket:
    """SPD and SAD of this network namespace. Not for use from two threads."""

    def __init__(self, batch: int = limits.NETLINK_BATCH) -> None:
        """`batch`: most requests at once. The default one does not hold up an event loop."""
        self._batch = batch
        self._socket = self._open()
        self._sequence = itertools.count(1)

    @staticmethod
    def _open() -> socket.socket:
        return netlink.open_socket(uapi.NETLINK_XFRM)

    @property
    def port(self) -> int:
        """The netlink port: the kernel's news of a change carry that of whoever asked for it."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        """Close the socket. What is in the kernel stays there."""
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
        last = numbers[-1]
        self._send(
            b"".join(
                netlink.frame(r.type, r.flags | (netlink.NLM_F_ACK if n == last else 0), n, r.body)
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

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            self._reopen()
            raise KernelError(f"XFRM request: {error.strerror or error}", error.errno or 0) from error

    def _receive(self) -> list[netlink.Message]:
        """Messages of one receive call. A lost answer leaves the socket's order unknown, so it is opened anew."""
        try:
            return list(netlink.messages(self._socket.recv(netlink.RECEIVE_SIZE)))
        except TimeoutError as error:
            self._reopen()
            raise KernelError("XFRM: the kernel did not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            self._reopen()
            raise KernelError(f"XFRM answer lost: {error.strerror}", error.errno or 0) from error

    def _reopen(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
        self._socket = self._open()

    def _one(self, request: Request) -> None:
        for refusal in self.submit([request]):
            raise KernelError(refusal.message, refusal.errno)

    def _dump(self, kind: Msg, wanted: Msg, decode: Callable[[bytes], T | None]) -> tuple[T, ...]:
        number = next(self._sequence)
        self._send(netlink.frame(kind, netlink.NLM_F_DUMP, number, b""))
        found: list[T] = []
        while True:
            for message in self._receive():
                if message.seq != number:
                    continue
                if message.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                    end = netlink.answer(message)
                    if end.errno:
                        raise KernelError(f"{kind.name} dump: {netlink.describe(end.errno, end.text)}", end.errno)
                    return tuple(found)
                value = decode(message.body) if message.type == wanted else None
                if value is not None:
                    found.append(value)

    def _get(self, kind: Msg, body: bytes, wanted: Msg, decode: Callable[[bytes], T | None]) -> T | None:
        """One object, None when there is no such."""
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

    # SPD

    def policies(self) -> tuple[ObservedPolicy, ...]:
        """All policies of the namespace but those of single sockets."""
        return self._dump(Msg.GETPOLICY, Msg.NEWPOLICY, policies.decode)

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        """The policy of this direction and selector, None when there is none."""
        return self._get(Msg.GETPOLICY, policies.encode_id(direction, selector), Msg.NEWPOLICY, policies.decode)

    def kick(self, entry: SpdEntry) -> None:
        """Write a policy again, unchanged: connected sockets look their routes up anew, packets in its queue go on."""
        self._one(update_policy(entry))

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        """Prefix lengths (local, remote) from which on policies are found by hash and not by tree."""
        self._one(
            Request(
                Msg.NEWSPDINFO,
                _WORD
                + netlink.attribute(uapi.SpdAttr.IPV4_HTHRESH, bytes(v4))
                + netlink.attribute(uapi.SpdAttr.IPV6_HTHRESH, bytes(v6)),
                "hash thresholds",
            )
        )

    # SAD

    def add_sa(self, sa: SadEntry) -> None:
        """Install an SA. KernelError when the kernel refuses it (EEXIST: SPI and destination are taken)."""
        self._one(Request(Msg.NEWSA, states.encode(sa), f"SA {sa.spi:08x} {sa.src} -> {sa.dst}"))

    def update_sa(self, sa: SadEntry) -> None:
        """Give an SA that is there other UDP ports. KernelError when the kernel refuses it (ESRCH: it is gone)."""
        body = states.encode_ports(sa, system_entropy)
        self._one(Request(Msg.UPDSA, body, f"SA {sa.spi:08x} {sa.src} -> {sa.dst}"))

    def remove_sa(self, protocol: ProtocolId, spi: int, dst: Address) -> bool:
        """Remove an SA; False when it was gone already."""
        request = Request(Msg.DELSA, states.encode_id(protocol, spi, dst), f"SA {spi:08x} -> {dst}")
        for refusal in self.submit([request]):
            if refusal.errno in GONE:
                return False
            raise KernelError(refusal.message, refusal.errno)
        return True

    def sas(self) -> tuple[ObservedSa, ...]:
        """All ESP and AH SAs of the namespace, whoever installed them."""
        return self._dump(Msg.GETSA, Msg.NEWSA, states.decode)

    def sa(self, protocol: ProtocolId, spi: int, dst: Address) -> ObservedSa | None:
        """One SA with its counters, None when there is no such."""
        return self._get(Msg.GETSA, states.encode_id(protocol, spi, dst), Msg.NEWSA, states.decode)
