# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's SPD for whoever keeps it equal to a plan: bulk changes, single entries, and whether others meddle."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.xfrm import uapi
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import Refusal, Request
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.adapters.xfrm.uapi import Group
from xfrmd.errors import KernelError
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction

_NETLINK_ADD_MEMBERSHIP, _NETLINK_DROP_MEMBERSHIP = 1, 2
_GROUP_NUMBER: Final = Group.POLICY.bit_length()


class Spd:
    """Policies of this network namespace, on a socket of its own. Not for use from two threads at once.

    `friends` are other sockets of this process whose changes are none of others: they write again what is there.
    """

    def __init__(self, friends: tuple[XfrmSocket, ...] = ()) -> None:
        self._socket = XfrmSocket(limits.NETLINK_BULK)
        self._friends = friends
        self._news = self._listen()
        self._certain = False

    @staticmethod
    def _listen() -> socket.socket:
        made = netlink.open_socket(uapi.NETLINK_XFRM, receive_buffer=limits.NETLINK_EVENTS_BUFFER)
        made.setblocking(False)
        return made

    def close(self) -> None:
        """Close the sockets. What is in the kernel stays there."""
        self._socket.close()
        self._news.close()

    def policies(self) -> tuple[ObservedPolicy, ...]:
        """All policies, whoever wrote them."""
        return self._socket.policies()

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        """The policy of this direction and selector, None when there is none."""
        return self._socket.policy(direction, selector)

    def submit(self, requests: Sequence[Request]) -> tuple[Refusal, ...]:
        """Carry out at most limits.NETLINK_BULK requests in order; those that were refused."""
        return self._socket.submit(requests)

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        """See XfrmSocket.hash_thresholds."""
        self._socket.hash_thresholds(v4, v6)

    def watch(self) -> None:
        """From now on tell, through `touched`, whether others change policies."""
        self._join(_NETLINK_ADD_MEMBERSHIP)
        self._certain = True
        while self._read() is not None:
            pass

    def look_away(self) -> None:
        """Do not watch during a bulk change: a message for each policy would double its cost."""
        self._join(_NETLINK_DROP_MEMBERSHIP)
        self._certain = False

    def _join(self, what: int) -> None:
        try:
            self._news.setsockopt(netlink.SOL_NETLINK, what, _GROUP_NUMBER)
        except OSError as error:
            raise KernelError(f"XFRM policy events: {error.strerror}", error.errno or 0) from error

    def fileno(self) -> int:
        """Of the socket that is readable when there are news of policies."""
        return self._news.fileno()

    def hear(self) -> bool:
        """Take all news that have come, for whoever waits for them in an event loop; `touched` then knows."""
        touched = self.touched()
        while touched and self._read() is not None:  # once somebody has, the rest tells nothing more
            pass
        return touched

    def touched(self) -> bool:
        """Has anybody else changed a policy since `watch`, or may somebody have?"""
        while self._certain and (data := self._read()) is not None:
            # A loss of news, which `_read` has told, is no certainty to be had back.
            self._certain = bool(data) and self._of_ours(data)
        return not self._certain

    def _of_ours(self, data: bytes) -> bool:
        ours = {self._socket.port, *(friend.port for friend in self._friends)}
        return all(message.port in ours for message in netlink.messages(data))

    def _read(self) -> bytes | None:
        """One buffer of news; None when there is none."""
        try:
            return self._news.recv(netlink.RECEIVE_SIZE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:  # news were lost
            self._certain = False
            return b""
