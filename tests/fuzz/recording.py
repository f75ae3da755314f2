# SPDX-License-Identifier: GPL-2.0-or-later
"""What real peers say to the daemon, as a corpus to mutate: messages in the clear, and what others have encrypted.

    XFRMD_DAEMON=tests.fuzz.recording .venv/bin/python -m lab.suite tests/lab/test_e2e_strongswan.py
    .venv/bin/python -m tests.fuzz.recording

The first runs tests of the lab with a daemon that keeps in build/recorded what its codec has read; keys are of tests
and are not kept. The second takes one message of each shape (exchange, direction, payloads, notifies) that the corpus
does not have yet, and writes it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.fuzz.mutate import CORPUS, Part, corpus, join, split
from xfrmd.ike.v2.header import Header

RECORDED: Final = Path(__file__).resolve().parents[2] / "build/recorded"
LARGEST: Final = 2500
"""Octets of a message that is kept."""
SEALED: Final = (46, 53)
_HEADER: Final = 28
_IKE_SA_INIT: Final = 34
_NOTIFY: Final = 41


def main() -> int:
    """The daemon, as `xfrmd.cli.xfrmd.main`, with a codec that keeps what it reads."""
    from xfrmd.ike.v2 import message  # noqa: PLC0415 - ahead of those who take its functions by name

    parse, sealed = message.parse_clear, message.sealed

    def parse_and_keep(data: bytes, header: Header | None = None) -> message.ClearMessage:
        keep(data)
        return parse(data, header)

    def sealed_and_kept(header: Header, first: int, content: bytes, raw: bytes) -> message.SealedMessage:
        if raw:
            keep(opened(raw[:_HEADER], first, content))
        return sealed(header, first, content, raw)

    message.parse_clear, message.sealed = parse_and_keep, sealed_and_kept
    from xfrmd.cli import xfrmd  # noqa: PLC0415 - takes the functions above

    return xfrmd.main()


def opened(header: bytes, first: int, content: bytes) -> bytes:
    """The message that would have this content in the clear."""
    return header[:16] + bytes((first,)) + header[17:24] + (_HEADER + len(content)).to_bytes(4) + content


def keep(data: bytes) -> None:
    """Keep a message, once each."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    (RECORDED / hashlib.sha256(data).hexdigest()[:24]).write_bytes(data)


def shape(data: bytes) -> tuple[int, int, tuple[tuple[int, bytes], ...]]:
    """What makes a message another one: exchange, direction, its payloads by type, notifies by theirs."""
    parts = split(data[_HEADER:], data[16])
    return data[18], data[19] & 0x20, tuple((kind, _kind_of(kind, body)) for kind, _, body in parts)


def _kind_of(kind: int, body: bytes) -> bytes:
    """The type of a notify, the kind of an identity, certificate or proof."""
    if kind == _NOTIFY:
        return body[2:4]
    return body[:1] if 35 <= kind <= 39 else b""


def chosen(recorded: Iterable[bytes], known: Iterable[bytes]) -> list[bytes]:
    """The smallest of each new shape."""
    seen = {shape(one) for one in known if len(one) >= _HEADER}
    found = []
    for one in sorted(recorded, key=lambda data: (len(data), data)):
        if _HEADER <= len(one) <= LARGEST and shape(one) not in seen:
            seen.add(shape(one))
            found.append(one)
    return found


def whole(data: bytes) -> bool:
    """Can it be taken apart and put together again? What is sealed is as opaque as any other."""
    parts: list[Part] = split(data[_HEADER:], data[16])
    return join(parts) == (data[16], data[_HEADER:]) and not any(kind in SEALED for kind, _, _ in parts)


def collect() -> None:
    """Add to the corpus what is new in RECORDED."""
    recorded = [path.read_bytes() for path in RECORDED.iterdir()]
    new = chosen(filter(whole, recorded), corpus().values())
    for one in new:
        exchange, response, parts = shape(one)
        said = (
            f"exchange {exchange}{' answer' if response else ''}: payloads {' '.join(str(kind) for kind, _ in parts)}"
        )
        inside = "" if exchange == _IKE_SA_INIT else "inside_"
        name = f"{inside}recorded_{exchange}_{hashlib.sha256(one).hexdigest()[:8]}.hex"
        (CORPUS / name).write_text(f"# {said}\n{one.hex()}\n")
    print(f"{len(recorded)} recorded, {len(new)} of a new shape, {sum(map(len, new))} octets")


if __name__ == "__main__":
    collect()
