# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's random octets: the only source of nonces, keys and SPIs outside tests."""

from __future__ import annotations

import os


def system_entropy(count: int) -> bytes:
    """`count` octets from getrandom(2). Blocks until the kernel's generator is seeded, at early boot only."""
    return os.getrandom(count) if count <= 256 else os.urandom(count)
