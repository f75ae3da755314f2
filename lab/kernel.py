# SPDX-License-Identifier: GPL-2.0-or-later
"""The user-mode Linux kernel of the lab: named by XFRMD_LAB_KERNEL, else built."""

from __future__ import annotations

import os
from pathlib import Path

NAMED = "XFRMD_LAB_KERNEL"


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


def lab_kernel() -> Path:
    """Path of a user-mode Linux kernel."""
    named = os.environ.get(NAMED)
    if not named:
        raise LabError(f"set {NAMED}")
    return Path(named)
