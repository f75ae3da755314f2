# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts told to the operator: journal lines and `status` are made of them. They never hold keys."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final


class Level(enum.IntEnum):
    """syslog severities (RFC 5424 6.2.1), those in use."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@dataclass(slots=True, unsafe_hash=True)
class Notice:
    """One fact. `code` is stable, for programs; `fields` become journal fields; `remedy` says the next step."""

    level: Final[Level]
    code: Final[str]
    message: Final[str]
    fields: Final[dict[str, str]] = field(default_factory=dict)
    remedy: Final[str] = ""
