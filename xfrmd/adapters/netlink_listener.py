# SPDX-License-Identifier: GPL-2.0-or-later
"""A netlink socket whose messages are heard in the event loop, some of them in each turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from xfrmd.adapters import netlink


class Listener:
    """`heard` gets what each receive call gave; `failed` is called when one fails (ENOBUFS: messages are lost), and may
    close or open the listener. `most` is the number of receive calls in one turn, so that a flood leaves room for all
    else.
    """

    def __init__(self, heard: Callable[[bytes], None], failed: Callable[[], None], most: int) -> None:
        self._heard = heard
        self._failed = failed
        self._most = most
        self.socket: socket.socket | None = None

    def open(self, made: socket.socket) -> None:
        """Listen to this socket, and own it."""
        made.setblocking(False)
        self.socket = made
        asyncio.get_running_loop().add_reader(made.fileno(), self._readable)

    def close(self) -> None:
        """Stop listening. Harmless when done twice."""
        if self.socket is not None:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.socket.close()
            self.socket = None

    def _readable(self) -> None:
        for _ in range(self._most):
            if self.socket is None:
                return
            try:
                data = self.socket.recv(netlink.RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._failed()
                return
            self._heard(data)
