# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements of verdict maps and sets in nfnetlink messages (<linux/netfilter/nf_tables.h>), both ways.

A hundred thousand filters are two hundred thousand elements, so each way is one pass in C over octets that are equal
but for key and verdict. What does not look like that (elements of others) is read attribute by attribute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.adapters import netlink
from xfrmd.errors import KernelError
from xfrmd.model.nft import ElementChange, ElementKey

NEWSETELEM: Final = 12
GETSETELEM: Final = 13
DELSETELEM: Final = 14

_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM: Final = 1
_KEY, _DATA, _EXPR = 1, 2, 7
_VALUE, _VERDICT = 1, 2
_CODE: Final = 1
_EXPR_NAME, _EXPR_DATA = 1, 2
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_NESTED: Final = 0x8000
_HEAD: Final = struct.Struct("=HH")
_I32: Final = struct.Struct(">i")
_U64: Final = struct.Struct(">Q")

_COUNTER_DATA_SIZE: Final = 2 * (_HEAD.size + _U64.size)
_COUNTER_SIZE: Final = 20 + _COUNTER_DATA_SIZE
_COUNTER_HEAD: Final = (
    _HEAD.pack(_COUNTER_SIZE, _EXPR)
    + netlink.attribute(_EXPR_NAME, b"counter\0")
    + _HEAD.pack(4 + _COUNTER_DATA_SIZE, _EXPR_DATA)
    + _HEAD.pack(12, _COUNTER_BYTES)
)
_PACKETS_HEAD: Final = _HEAD.pack(12, _COUNTER_PACKETS)
_GENMSG_SIZE: Final = 4

_ELEMENT_ROOM: Final = 32
"""Octets that an element takes beside its key, at most."""
Request = tuple[int, bytes]
"""Type and body of a message of a batch."""

VERDICTS: Final = {"drop": 0, "accept": 1, "return": -5}
"""NF_DROP, NF_ACCEPT and NFT_RETURN."""
_VERDICT_NAMES: Final = {code: name for name, code in VERDICTS.items()}


def _nest(kind: int, value: bytes) -> bytes:
    return netlink.attribute(kind | _NESTED, value)


def _data(verdict: str) -> bytes:
    return _nest(_DATA, _nest(_VERDICT, netlink.attribute(_CODE, _I32.pack(VERDICTS[verdict]))))


_DATA_OF: Final = {verdict: _data(verdict) for verdict in VERDICTS} | {"": b""}
"""By what an element says; those of sets say nothing."""
_DATA_SIZE: Final = len(_DATA_OF["drop"])


def _around(size: int, data: int) -> tuple[bytes, bytes]:
    """What stands before and behind the key in an element whose key has `size` octets and whose data has `data`."""
    padded = (size + 3) & ~3
    key = _HEAD.pack(8 + size, _KEY | _NESTED) + _HEAD.pack(4 + size, _VALUE)
    return _HEAD.pack(4 + len(key) + padded + data, _LIST_ELEM | _NESTED) + key, bytes(padded - size)


def _encoded(added: Iterable[tuple[ElementKey, str]], size: int) -> Iterator[bytes]:
    around = {verdict: (_around(size, len(data)), data) for verdict, data in _DATA_OF.items()}
    heads = {verdict: head for verdict, ((head, _), _) in around.items()}
    tails = {verdict: tail + data for verdict, ((_, tail), data) in around.items()}
    return (heads[verdict] + key + tails[verdict] for key, verdict in added)


def _encoded_keys(keys: Iterable[ElementKey], size: int) -> Iterator[bytes]:
    head, tail = _around(size, 0)
    return (head + key + tail for key in keys)


def names(table: str, name: str) -> bytes:
    """Attributes that name a map, which requests for its elements begin with."""
    return netlink.attribute(_LIST_TABLE, table.encode() + b"\0") + netlink.attribute(_LIST_SET, name.encode() + b"\0")


def _messages(kind: int, named: bytes, elements: Iterator[bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message. `size` is the most that an element takes."""
    while part := list(islice(elements, limits.NFT_MESSAGE // size)):
        yield kind, named + _nest(_LIST_ELEMENTS, b"".join(part))


def encode_added(table: str, name: str, added: Iterable[tuple[ElementKey, str]], size: int) -> Iterator[Request]:
    """New elements of one map whose keys have `size` octets."""
    return _messages(NEWSETELEM, names(table, name), _encoded(added, size), size + _ELEMENT_ROOM)


def encode_change(table: str, changes: Mapping[str, ElementChange]) -> Iterator[Request]:
    """Changes of elements by map. What is removed goes first: a key whose verdict changes is removed and added."""
    for name, (removed, added) in changes.items():
        size = len(next(chain(removed, (key for key, _ in added)), b""))
        gone = _encoded_keys(removed, size)
        yield from _messages(DELSETELEM, names(table, name), gone, size + _ELEMENT_ROOM)
        yield from encode_added(table, name, added, size)


def encode_get(table: str, name: str, key: ElementKey) -> bytes:
    """Body of the request for one element."""
    return names(table, name) + _nest(_LIST_ELEMENTS, b"".join(_encoded_keys((key,), len(key))))


class Columns(NamedTuple):
    """Elements of one map, column by column. What they do not have is an empty column: codes in a set, counters in a
    map without.
    """

    keys: tuple[ElementKey, ...]
    codes: tuple[int, ...]
    """Verdict codes: see `verdict_name`."""
    octets: tuple[int, ...]
    packets: tuple[int, ...]


def verdict_name(code: int) -> str:
    """A verdict in nft's words; of one that we never write its number."""
    return _VERDICT_NAMES.get(code) or str(code)


def verdicts(columns: Columns) -> Iterator[tuple[ElementKey, str]]:
    """Each key with its verdict, "" in a set."""
    if not columns.codes:
        return ((key, "") for key in columns.keys)
    names = {code: verdict_name(code) for code in set(columns.codes)}
    return zip(columns.keys, map(names.__getitem__, columns.codes), strict=True)


class ElementReader:
    """Reads the messages of one map's dump."""

    def __init__(self, size: int, *, is_set: bool = False) -> None:
        """`size`: octets of a key."""
        padding = -size % 4
        data = 0 if is_set else _DATA_SIZE + _COUNTER_SIZE
        self._is_set = is_set
        self._constants: tuple[bytes, ...] = (
            _HEAD.pack(4 + 8 + size + padding + data, _LIST_ELEM)
            + _HEAD.pack(8 + size, _KEY)
            + _HEAD.pack(4 + size, _VALUE),
            bytes(padding),
        )
        if is_set:
            self._row = struct.Struct(f"{len(self._constants[0])}s{size}s{padding}s")
            return
        verdict = _HEAD.pack(16, _DATA) + _HEAD.pack(12, _VERDICT) + _HEAD.pack(8, _CODE)
        self._constants = (self._constants[0], bytes(padding) + verdict, _COUNTER_HEAD, _PACKETS_HEAD)
        head, middle, counter, packets = map(len, self._constants)
        self._row = struct.Struct(f">{head}s{size}s{middle}si{counter}sQ{packets}sQ")

    def read(self, body: bytes) -> Columns:
        """All elements in the body of one NFT_MSG_NEWSETELEM. KernelError for damaged octets."""
        elements = netlink.attributes(body, _GENMSG_SIZE).get(_LIST_ELEMENTS, b"")
        if elements and len(elements) % self._row.size == 0:
            columns = tuple(zip(*self._row.iter_unpack(elements), strict=True))
            found, constants = self._sorted_out(columns)
            if all(set(one) == {constant} for one, constant in zip(constants, self._constants, strict=True)):
                return found
        return _columns(elements)

    def _sorted_out(self, columns: tuple[tuple[Any, ...], ...]) -> tuple[Columns, tuple[tuple[bytes, ...], ...]]:
        """What elements say, and what must be the same of all."""
        if self._is_set:
            heads, keys, tails = columns
            return Columns(keys, (), (), ()), (heads, tails)
        heads, keys, middles, codes, counters, octets, heads_again, packets = columns
        return Columns(keys, codes, octets, packets), (heads, middles, counters, heads_again)


def _columns(elements: bytes) -> Columns:
    """The same for elements of any form."""
    rows = [_row(one) for one in netlink.attribute_list(elements, 0)]
    keys, codes, counted = (tuple(column) for column in zip(*rows, strict=True)) if rows else ((), (), ())
    if rows and None in codes:
        if set(codes) != {None}:
            raise KernelError("nftables: an element without verdict")
        codes = ()
    if not rows or None in counted:
        return Columns(keys, codes, (), ())
    return Columns(keys, codes, *(tuple(column) for column in zip(*counted, strict=True)))


def _row(element: bytes) -> tuple[ElementKey, int | None, tuple[int, int] | None]:
    found = netlink.attributes(element, 0)
    key = netlink.attributes(found.get(_KEY, b""), 0).get(_VALUE, b"")
    if not key:
        raise KernelError("nftables: an element without key")
    if _DATA not in found:
        return key, None, None
    verdict = netlink.attributes(found[_DATA], 0).get(_VERDICT, b"")
    code = netlink.attributes(verdict, 0).get(_CODE, b"")
    if len(code) != _I32.size:
        raise KernelError("nftables: an element without verdict")
    return key, _I32.unpack(code)[0], _counter(found.get(_EXPR, b""))


def _counter(expression: bytes) -> tuple[int, int] | None:
    """Octets and packets."""
    found = netlink.attributes(expression, 0)
    if found.get(_EXPR_NAME) != b"counter\0":
        return None
    return counter_values(found.get(_EXPR_DATA, b""))


def counter_values(data: bytes) -> tuple[int, int]:
    """Octets and packets of a counter's data. KernelError for damaged octets."""
    values = netlink.attributes(data, 0)
    octets, packets = values.get(_COUNTER_BYTES, b""), values.get(_COUNTER_PACKETS, b"")
    if len(octets) != _U64.size or len(packets) != _U64.size:
        raise KernelError("nftables: a counter without counts")
    return _U64.unpack(octets)[0], _U64.unpack(packets)[0]
