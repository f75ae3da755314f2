# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutations of IKEv2 datagrams: some know the structure of a message, some know nothing. Deterministic by seed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
COUNT: Final = int(os.environ.get("XFRMD_FUZZ_COUNT", "1000000"))
"""Mutated datagrams that engines get in a whole run; codecs alone and contents under right keys come on top."""
SEED: Final = int(os.environ.get("XFRMD_FUZZ_SEED", "20260101"))

_HEADER: Final = 28
_ODD_OCTETS: Final = (0, 1, 2, 3, 4, 7, 8, 16, 32, 33, 46, 53, 127, 128, 200, 254, 255)
_ODD_WORDS: Final = (0, 1, 3, 4, 5, 7, 8, 9, 255, 256, 0x7FFF, 0x8000, 0xFFFF)
_TYPES: Final = (0, *range(33, 49), 53, 1, 13, 132, 200, 255)

Part = tuple[int, int, bytes]
"""A payload: type, flags, body."""


def corpus() -> dict[str, bytes]:
    """Datagrams to start from, by file name: lines of hex with comments after `#`."""
    return {path.name: _octets(path) for path in sorted(CORPUS.glob("*.hex"))}


def _octets(path: Path) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in path.read_text().splitlines()))


def split(chain: bytes, kind: int) -> list[Part]:
    """Payloads of a chain as far as it can be followed."""
    parts: list[Part] = []
    while kind and len(chain) >= 4:
        size = max(4, int.from_bytes(chain[2:4]))
        parts.append((kind, chain[1], chain[4:size]))
        kind, chain = chain[0] if kind not in (46, 53) else 0, chain[size:]
    return parts


def join(parts: Iterable[Part]) -> tuple[int, bytes]:
    """Type of the first payload, and the chain."""
    chain, kind = b"", 0
    for part_kind, flags, body in reversed(list(parts)):
        chain = bytes((kind, flags)) + (len(body) + 4 & 0xFFFF).to_bytes(2) + body + chain
        kind = part_kind
    return kind, chain


class Mutator:
    """An endless source of broken messages made from good ones."""

    def __init__(self, seeds: Iterable[bytes], seed: int = SEED) -> None:
        self._rng = random.Random(seed)
        self._seeds = [
            (octets[:_HEADER], split(octets[_HEADER:], octets[16])) for octets in seeds if len(octets) >= _HEADER
        ]
        self._pool = [part for _, parts in self._seeds for part in parts]
        self._chain_ops: tuple[Callable[[list[Part]], None], ...] = (
            self._drop,
            self._repeat,
            self._swap,
            self._insert,
            self._retype,
            self._flag,
            self._break_body,
            self._break_body,
            self._break_body,
        )
        self._octet_ops: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._odd_octet,
            self._odd_word,
            self._cut,
            self._grow,
        )

    def chain(self) -> tuple[int, bytes]:
        """A broken chain of payloads with the type of its first, as it could stand inside an encryption."""
        rng = self._rng
        parts = list(rng.choice(self._seeds)[1])
        rng.choice(self._chain_ops)(parts)
        kind, chain = join(parts)
        if rng.getrandbits(2) == 0:
            chain = self.octets(chain)
        return kind, chain

    def datagram(self) -> bytes:
        """A broken datagram. In most the header's length is right, so that the fault lies deeper."""
        rng = self._rng
        header, parts = rng.choice(self._seeds)
        dice = rng.getrandbits(3)
        if dice == 0:
            return self.octets(header + join(parts)[1])
        parts = list(parts)
        for _ in range(1 + (dice == 1)):
            rng.choice(self._chain_ops)(parts)
        kind, chain = join(parts)
        if dice == 2:
            header = bytes(self.octets(header))[:_HEADER].ljust(_HEADER, b"\0")
            return header[:24] + (len(chain) + _HEADER).to_bytes(4) + chain
        return header[:16] + bytes((kind,)) + header[17:24] + (len(chain) + _HEADER).to_bytes(4) + chain

    def octets(self, octets: bytes) -> bytes:
        """The octets with up to four faults that know nothing of structure."""
        broken = bytearray(octets)
        for _ in range(1 + self._rng.getrandbits(2)):
            if broken:
                self._rng.choice(self._octet_ops)(broken)
        return bytes(broken)

    def _at(self, size: int) -> int:
        return int(self._rng.random() * size)

    def _flip(self, octets: bytearray) -> None:
        octets[self._at(len(octets))] ^= 1 << self._rng.getrandbits(3)

    def _odd_octet(self, octets: bytearray) -> None:
        octets[self._at(len(octets))] = self._rng.choice(_ODD_OCTETS)

    def _odd_word(self, octets: bytearray) -> None:
        at = self._at(len(octets))
        octets[at : at + 2] = self._rng.choice(_ODD_WORDS).to_bytes(2)

    def _cut(self, octets: bytearray) -> None:
        at = self._at(len(octets))
        del octets[at : at + 1 + self._rng.getrandbits(5)]

    def _grow(self, octets: bytearray) -> None:
        at = self._at(len(octets))
        octets[at:at] = self._rng.randbytes(1 + self._rng.getrandbits(4))

    def _drop(self, parts: list[Part]) -> None:
        if parts:
            del parts[self._at(len(parts))]

    def _repeat(self, parts: list[Part]) -> None:
        if parts:
            part = parts[self._at(len(parts))]
            parts[self._at(len(parts)) :] += [part] * (80 if self._rng.getrandbits(6) == 0 else 1)

    def _swap(self, parts: list[Part]) -> None:
        if parts:
            a, b = self._at(len(parts)), self._at(len(parts))
            parts[a], parts[b] = parts[b], parts[a]

    def _insert(self, parts: list[Part]) -> None:
        parts.insert(self._at(len(parts) + 1), self._rng.choice(self._pool))

    def _retype(self, parts: list[Part]) -> None:
        if parts:
            at = self._at(len(parts))
            parts[at] = (self._rng.choice(_TYPES), *parts[at][1:])

    def _flag(self, parts: list[Part]) -> None:
        if parts:
            at = self._at(len(parts))
            kind, _, body = parts[at]
            parts[at] = (kind, self._rng.getrandbits(8), body)

    def _break_body(self, parts: list[Part]) -> None:
        if parts:
            at = self._at(len(parts))
            kind, flags, body = parts[at]
            parts[at] = (kind, flags, self.octets(body or b"\0"))
