# SPDX-License-Identifier: GPL-2.0-or-later
"""What nftables tells unasked: transactions, whoever made them, that touch our table.

The kernel sends a message for each thing that a transaction changed, and then one that ends it and names the process.
Messages of other tables are told from ours by one search for our table's name; a table of that name in another family,
or an element that has those octets, costs its owner's reader a look too many and nothing else.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.adapters.netlink_listener import Listener
from xfrmd.adapters.nft_socket import NETLINK_NETFILTER
from xfrmd.errors import KernelError

_GROUP: Final = 7
"""NFNLGRP_NFTABLES."""
_MEMBERSHIP: Final = {True: 1, False: 2}
"""NETLINK_ADD_MEMBERSHIP and NETLINK_DROP_MEMBERSHIP."""
_NEWGEN: Final = 10 << 8 | 15
_PROC_PID, _PROC_NAME = 2, 3
_HEAD: Final = struct.calcsize("=BBH")
"""struct nfgenmsg."""
_OURS: Final = netlink.attribute(1, limits.NFT_TABLE.encode() + b"\0")[: 4 + len(limits.NFT_TABLE) + 1]
"""The attribute that names the table: it is the first one, of type 1, in messages of every kind."""
_READS_PER_TURN: Final = 256
"""Receive calls in one turn of the event loop: a ruleset of others that is loaded anew has thousands of messages."""


class NftEvents:
    """Listens in the running event loop. `touched(who)` is called after each transaction that changed our table, by
    whomever: `who` is the process, as "nft (pid 77)". `lost` is called when the kernel had to drop messages.
    """

    def __init__(
        self,
        touched: Callable[[str], None],
        lost: Callable[[], None],
        buffer_size: int = limits.NETLINK_EVENTS_BUFFER,
    ) -> None:
        self._touched = touched
        self._lost = lost
        self._buffer_size = buffer_size
        self._listener = Listener(self._hear, self._overflowed, _READS_PER_TURN)
        self._ours = False
        """Has the transaction whose messages come changed our table?"""

    def open(self) -> None:
        """Begin to listen. KernelError when the kernel does not allow it."""
        self._listener.open(netlink.open_socket(NETLINK_NETFILTER, receive_buffer=self._buffer_size))
        self.listen(True)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def listen(self, wanted: bool) -> None:
        """Hear what happens from now on, or nothing: a message for each element would double the cost of loading."""
        if (sock := self._listener.socket) is not None:
            try:
                sock.setsockopt(netlink.SOL_NETLINK, _MEMBERSHIP[wanted], _GROUP)
            except OSError as error:
                raise KernelError(f"nftables events: {error.strerror}", error.errno or 0) from error

    def _overflowed(self) -> None:
        """What is lost is unknown; the socket goes on."""
        self._ours = False
        self._lost()

    def _hear(self, data: bytes) -> None:
        self._ours = self._ours or _OURS in data
        if len(data) < netlink.HEADER.size or netlink.HEADER.unpack_from(data)[1] != _NEWGEN:
            return
        ours, self._ours = self._ours, False
        if ours:
            self._touched(_process(data))


def _process(data: bytes) -> str:
    """Who made the transaction that this message ends, as far as it says."""
    found: dict[int, bytes] = {}
    with contextlib.suppress(KernelError):
        found = netlink.attributes(data, netlink.HEADER.size + _HEAD)
    name = found.get(_PROC_NAME, b"").rstrip(b"\0").decode("ascii", "backslashreplace") or "a process"
    return f"{name} (pid {int.from_bytes(found.get(_PROC_PID, b''), 'big')})"
