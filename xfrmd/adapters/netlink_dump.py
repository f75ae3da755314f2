# SPDX-License-Identifier: GPL-2.0-or-later
"""All objects of a kind, as the kernel has them at one moment. A dump that others interrupt by a change may lack what
was there all the time (NLM_F_DUMP_INTR): it is made again, as is one that fails for a reason that may pass.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from xfrmd.adapters import netlink
from xfrmd.errors import KernelError

TRIES: Final = 8
"""Times that a dump is made until what fails is told."""
PAUSE: Final = 0.001
"""Seconds before the second try, twice as many before each further one: whoever changes much at once has then done
so, and an event loop waits for 0.13 s at the most.
"""
T = TypeVar("T")


class Wire(Protocol):
    """What is needed of a netlink socket. All raise OSError."""

    def send(self, data: bytes, /) -> int:
        """The kernel begins to work on it."""

    def recv(self, size: int, /) -> bytes:
        """A part of the answer."""

    def close(self) -> None:
        """Nothing more is read."""


Opener = Callable[[], Wire]


def interrupted(what: str) -> KernelError:
    """What was read of `what` is of two states of the kernel."""
    return KernelError(f"{what}: changed by others while they were read", errno.EINTR)


def steady(read: Callable[[], T], pause: Callable[[float], None] = time.sleep) -> T:
    """What `read` gives, which is asked again where it fails for a reason that may pass. KernelError."""
    for tried in range(TRIES - 1):
        try:
            return read()
        except KernelError as error:
            if error.errno not in netlink.PASSING:
                raise
        pause(PAUSE * 2**tried)
    return read()


def dump(opened: Opener, what: str, kind: int, body: bytes) -> tuple[netlink.Message, ...]:
    """The answers to a dump request, which must be of one moment. KernelError, with EINTR when they are not."""
    with contextlib.closing(opened()) as wire:
        try:
            wire.send(netlink.frame(kind, netlink.NLM_F_DUMP, 1, body))
            return _answers(wire, what)
        except OSError as error:
            number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or 0
            raise KernelError(f"{what}: {netlink.describe(number, '')}", number) from error


def _answers(wire: Wire, what: str) -> tuple[netlink.Message, ...]:
    found: list[netlink.Message] = []
    while True:
        for message in netlink.messages(wire.recv(netlink.RECEIVE_SIZE)):
            if message.seq != 1:
                continue
            if message.flags & netlink.NLM_F_DUMP_INTR:
                raise interrupted(what)
            if message.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                end = netlink.answer(message)
                if end.errno:
                    raise KernelError(f"{what}: {netlink.describe(end.errno, end.text)}", end.errno)
                return tuple(found)
            found.append(message)
