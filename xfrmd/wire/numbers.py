# SPDX-License-Identifier: GPL-2.0-or-later
"""Enums of assigned numbers that keep the numbers they do not know."""

from __future__ import annotations

import enum
from typing import Self


class AssignedNumber(enum.IntEnum):
    """Numbers of a registry. `Kind(99)` of an unassigned 99 is a printable member of its own and equals 99.

    Such members are not kept, so that a peer cannot make the enum grow.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or value < 0:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__} {value}"
        member._value_ = value
        return member
