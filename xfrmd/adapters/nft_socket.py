# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket for nf_tables requests (<linux/netfilter/nfnetlink.h>): batches that are one transaction, and dumps.

The kernel works while the caller waits. Not for use from two threads at once.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from xfrmd import limits
from xfrmd.adapters import netlink, nft_elements
from xfrmd.adapters.nft_elements import Columns, ElementReader, Request
from xfrmd.errors import KernelError
from xfrmd.model.nft import Counted, ElementChange, ElementKey, NftMap

NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10
_NFPROTO_INET: Final = 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_BATCH_GENID: Final = 1
_GETGEN, _GETOBJ = 16, 19
_GEN_ID: Final = 1
_OBJ_TABLE, _OBJ_NAME, _OBJ_TYPE, _OBJ_DATA = 1, 2, 3, 4
_OBJECT_COUNTER: Final = 1
_GENMSG: Final = struct.Struct(">BBH")
"""struct nfgenmsg: family, version, resource id."""
_U32: Final = struct.Struct(">I")
_HEAD: Final = _GENMSG.pack(_NFPROTO_INET, 0, 0)
_SO_SNDBUFFORCE: Final = 32
_TABLE: Final = limits.NFT_TABLE


class ChangedElsewhereError(KernelError):
    """Somebody else changed nftables meanwhile: nothing of ours was done, or what was read may be of two states."""


def _kind(message: int) -> int:
    return _SUBSYSTEM << 8 | message


class NftSocket:
    """Elements, counters and the generation of nftables in this network namespace."""

    def __init__(self) -> None:
        self._socket = self._open()
        self._sequence = itertools.count(1)
        self.commits = 0
        """Transactions of ours so far."""

    @staticmethod
    def _open() -> socket.socket:
        made = netlink.open_socket(NETLINK_NETFILTER)
        with contextlib.suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, limits.NFT_SEND_BUFFER)
        return made

    def close(self) -> None:
        """Close the socket. What is in the kernel stays there."""
        self._socket.close()

    # Changes

    def fill(self, name: str, added: Mapping[ElementKey, str]) -> None:
        """Put elements into a map that nobody asks yet, in as many transactions as it takes. KernelError if refused."""
        part: list[Request] = []
        size, width = 0, len(next(iter(added), b""))
        for one in nft_elements.encode_added(_TABLE, name, added.items(), width):
            part.append(one)
            size += len(one[1])
            if size > limits.NFT_BATCH:
                self._batch(part, None)
                part, size = [], 0
        self._batch(part, None)

    def change(self, changes: Mapping[str, ElementChange], generation: int) -> None:
        """Change elements of maps, all in one transaction.

        ChangedElsewhereError when the kernel is no longer of this generation, KernelError when it refuses: nothing is
        done.
        """
        self._batch(nft_elements.encode_change(_TABLE, changes), generation)

    def _batch(self, requests: Iterable[Request], generation: int | None) -> None:
        """All requests as one transaction. The acknowledgement of the last comes when all of it is done."""
        listed = list(requests)
        if not listed:
            return
        edge = _GENMSG.pack(0, 0, _SUBSYSTEM)
        begin = edge if generation is None else edge + netlink.attribute(_BATCH_GENID, _U32.pack(generation))
        first = next(self._sequence)
        last = first + len(listed)
        self._sequence = itertools.count(last + 2)
        parts = [netlink.frame(_BATCH_BEGIN, 0, first, begin)]
        for seq, (message, body) in enumerate(listed, first + 1):
            flags = netlink.NLM_F_CREATE if message == nft_elements.NEWSETELEM else 0
            # An element that is there already with another verdict would be an error; one with the same would not.
            flags |= netlink.NLM_F_EXCL if flags else 0
            flags |= netlink.NLM_F_ACK if seq == last else 0
            parts.append(netlink.frame(_kind(message), flags, seq, _HEAD + body))
        parts.append(netlink.frame(_BATCH_END, 0, last + 1, edge))
        self._send(b"".join(parts))
        self._acknowledged(first, last)
        self.commits += 1

    def _acknowledged(self, first: int, last: int) -> None:
        """Wait for the end of a batch. A refusal ends it: the kernel then takes all of it back."""
        while True:
            for message in self._receive():
                if message.type != netlink.NLMSG_ERROR or not first <= message.seq <= last + 1:
                    continue
                found = netlink.answer(message)
                if found.errno == errno.ERESTART:
                    raise ChangedElsewhereError("nftables: another program changed it in this moment", errno.ERESTART)
                if found.errno:
                    self._reopen()  # more refusals of the same batch may follow
                    raise KernelError(f"nftables elements: {netlink.describe(found.errno, found.text)}", found.errno)
                if message.seq == last:
                    return

    # Looking

    def generation(self) -> int:
        """A number that each transaction of anybody changes."""
        for message in self._ask(_GETGEN, 0, b""):
            value = netlink.attributes(message.body, _GENMSG.size).get(_GEN_ID, b"")
            if len(value) == _U32.size:
                return int(_U32.unpack(value)[0])
        raise KernelError("nftables: no generation")

    def elements(self, one: NftMap) -> Iterator[Columns]:
        """All elements of a map, in parts. ChangedElsewhereError: not of one moment."""
        reader = ElementReader(one.key_size, is_set=one.is_set)
        for message in self._ask(nft_elements.GETSETELEM, netlink.NLM_F_DUMP, nft_elements.names(_TABLE, one.name)):
            yield reader.read(message.body)

    def element(self, name: str, key: ElementKey) -> str | None:
        """The verdict of one element, "" in a set, None when there is none."""
        body = nft_elements.encode_get(_TABLE, name, key)
        try:
            for message in self._ask(nft_elements.GETSETELEM, 0, body):
                for found, verdict in nft_elements.verdicts(ElementReader(len(key)).read(message.body)):
                    if found == key:
                        return verdict
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
        return None

    def counters(self) -> dict[str, Counted]:
        """Our named counters, none when there is no table."""
        wanted = netlink.attribute(_OBJ_TABLE, _TABLE.encode() + b"\0")
        wanted += netlink.attribute(_OBJ_TYPE, _U32.pack(_OBJECT_COUNTER))
        found = {}
        for message in self._ask(_GETOBJ, netlink.NLM_F_DUMP, wanted):
            attributes = netlink.attributes(message.body, _GENMSG.size)
            octets, packets = nft_elements.counter_values(attributes.get(_OBJ_DATA, b""))
            name = attributes.get(_OBJ_NAME, b"").rstrip(b"\0").decode("ascii", "backslashreplace")
            found[name] = Counted(packets, octets)
        return found

    def _ask(self, message: int, flags: int, body: bytes) -> list[netlink.Message]:
        """The answers to one request; of a dump, all of it."""
        number = next(self._sequence)
        self._send(netlink.frame(_kind(message), flags, number, _HEAD + body))
        found: list[netlink.Message] = []
        while True:
            for one in self._receive():
                if one.seq != number:
                    continue
                if one.flags & netlink.NLM_F_DUMP_INTR:
                    self._reopen()
                    raise ChangedElsewhereError("nftables: another program changed it while it was read", errno.EINTR)
                if one.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                    end = netlink.answer(one)
                    if end.errno:
                        raise KernelError(f"nftables: {netlink.describe(end.errno, end.text)}", end.errno)
                    return found
                found.append(one)
                if not flags:
                    return found

    # The socket

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            self._reopen()
            raise KernelError(f"nftables request: {error.strerror or error}", error.errno or 0) from error

    def _receive(self) -> list[netlink.Message]:
        """Messages of one receive call. A lost answer leaves the socket's order unknown, so it is opened anew."""
        try:
            return list(netlink.messages(self._socket.recv(netlink.RECEIVE_SIZE)))
        except TimeoutError as error:
            self._reopen()
            raise KernelError("nftables: the kernel did not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            self._reopen()
            raise KernelError(f"nftables answer lost: {error.strerror}", error.errno or 0) from error

    def _reopen(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
        self._socket = self._open()
