# SPDX-License-Identifier: GPL-2.0-or-later
"""Values as plain JSON and back, by their types: what is read is exactly what its type says, or a ValueError.

Octets and secrets become hexadecimal text, tuples and NamedTuples lists when json writes them, enums their values.
Dataclasses become objects by field: a field that is missing has its default, if it has one, so that an older writer's
values can be read; a field that is not known is an error.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

from xfrmd.model.secret import Secret

Plain = Any
"""What the json module takes and gives."""


def _same(value: Any) -> Any:
    return value


@functools.cache
def writer(kind: Any) -> Callable[[Any], Plain]:
    """A function that makes plain JSON of values of this type."""
    if kind in (int, bool, float, str, type(None)):
        return _same
    if kind is bytes:
        return bytes.hex
    if kind is Secret:
        return lambda secret: secret.reveal().hex()
    inner = _optional(kind)
    if inner is not None:
        write = writer(inner)
        return _same if write is _same else lambda value: None if value is None else write(value)
    if get_origin(kind) is tuple:
        if get_args(kind)[-1] is not Ellipsis:
            return _parts([writer(one) for one in get_args(kind)])
        one = writer(get_args(kind)[0])
        return _same if one is _same else lambda values: [one(value) for value in values]
    if issubclass(kind, enum.Enum):
        return lambda member: member.value
    fields = [(name, writer(hint)) for name, hint in _hints(kind)]
    if dataclasses.is_dataclass(kind):
        return _object_of(fields)
    return _parts([write for _, write in fields])


def _parts(writers: list[Callable[[Any], Plain]]) -> Callable[[Any], Plain]:
    if all(write is _same for write in writers):
        return _same  # a tuple is as good as a list to the json module
    return lambda value: [write(part) for write, part in zip(writers, value, strict=True)]


def _object_of(fields: list[tuple[str, Callable[[Any], Plain]]]) -> Callable[[Any], Plain]:
    """Most fields are plain as they are: calls for each would be half of what an SA costs to keep."""
    same = [name for name, write in fields if write is _same]
    others = [(name, write) for name, write in fields if write is not _same]

    def write_object(value: Any) -> Plain:
        found = {name: getattr(value, name) for name in same}
        for name, write in others:
            found[name] = write(getattr(value, name))
        return found

    return write_object


@functools.cache
def reader(kind: Any) -> Callable[[Plain], Any]:
    """A function that makes a value of this type of plain JSON. It raises ValueError."""
    if kind in (int, bool, str, type(None)):
        return functools.partial(_exactly, kind)
    if kind is float:
        return _number
    if kind is bytes:
        return _octets
    if kind is Secret:
        return lambda plain: Secret(_octets(plain))
    inner = _optional(kind)
    if inner is not None:
        read = reader(inner)
        return lambda plain: None if plain is None else read(plain)
    if get_origin(kind) is tuple:
        if get_args(kind)[-1] is not Ellipsis:
            return functools.partial(_row, lambda *parts: parts, tuple(reader(one) for one in get_args(kind)))
        one = reader(get_args(kind)[0])
        return lambda plain: tuple(one(part) for part in _exactly(list, plain))
    if issubclass(kind, enum.Enum):
        return functools.partial(_member, kind)
    readers = {name: reader(hint) for name, hint in _hints(kind)}
    if dataclasses.is_dataclass(kind):
        return functools.partial(_object, kind, readers)
    return functools.partial(_row, kind, tuple(readers.values()))


def _optional(kind: Any) -> Any:
    """X of `X | None`, None for any other type."""
    if get_origin(kind) is not types.UnionType:
        return None
    (inner,) = [one for one in get_args(kind) if one is not type(None)]
    return inner


def _hints(kind: Any) -> list[tuple[str, Any]]:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else kind._fields
    return [(name, hints[name]) for name in names]


def _exactly(kind: type, plain: Plain) -> Any:
    if type(plain) is not kind:
        raise ValueError(f"a {type(plain).__name__} in place of a {kind.__name__}")
    return plain


def _member(kind: type[enum.Enum], plain: Plain) -> enum.Enum:
    return kind(plain)


def _number(plain: Plain) -> float:
    if type(plain) not in (int, float) or not math.isfinite(plain):
        raise ValueError("no number")
    return float(plain)


def _octets(plain: Plain) -> bytes:
    text: str = _exactly(str, plain)
    octets = bytes.fromhex(text)
    if octets.hex() != text:
        raise ValueError("hexadecimal text in another form than ours")
    return octets


def _object(kind: Any, readers: dict[str, Callable[[Plain], Any]], plain: Plain) -> Any:
    found: dict[str, Plain] = _exactly(dict, plain)
    if not found.keys() <= readers.keys():
        raise ValueError(f"{kind.__name__}: a field that is not known here")
    try:
        return kind(**{name: readers[name](value) for name, value in found.items()})
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: a field is missing") from error


def _row(kind: Any, readers: tuple[Callable[[Plain], Any], ...], plain: Plain) -> Any:
    parts: list[Plain] = _exactly(list, plain)
    if len(parts) != len(readers):
        raise ValueError(f"{len(parts)} parts, not {len(readers)}")
    return kind(*(read(part) for read, part in zip(readers, parts, strict=True)))
