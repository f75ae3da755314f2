# SPDX-License-Identifier: GPL-2.0-or-later
"""The last answers in a file: a restart goes on with them, also where DNS cannot be asked yet."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xfrmd import limits
from xfrmd.adapters.names.table import Addresses, Last
from xfrmd.model.addresses import Address, is_nobody

_SCHEMA: Final = 1


class NameStore:
    """One file in the daemon's state directory, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Last]:
        """The answers; none when there is no file, or one that cannot be read. Raises ValueError when it is damaged."""
        try:
            with self.path.open("rb") as file:
                octets = file.read(limits.NAMES_FILE_SIZE)
        except OSError:
            return {}
        try:
            found: Any = json.loads(octets)
            if found["schema"] != _SCHEMA:
                return {}
            return {str(name): Last(*map(_addresses, halves)) for name, halves in found["names"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.path} is damaged") from error

    def save(self, known: Mapping[str, Last]) -> None:
        """Replace the file. OSError."""
        names = {name: [_texts(last.v4), _texts(last.v6)] for name, last in known.items()}
        new = self.path.with_name(f"{self.path.name}.new")
        with open(new, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({"schema": _SCHEMA, "names": names}, file)
        new.replace(self.path)


def _texts(addresses: Addresses | None) -> list[str] | None:
    return None if addresses is None else [*map(str, addresses)]


def _addresses(texts: Any) -> Addresses | None:
    if texts is None:
        return None
    found = tuple(Address.parse(text) for text in texts)
    return tuple(one for one in found if not is_nobody(one))[: limits.NAME_ADDRESSES]
