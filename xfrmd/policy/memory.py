# SPDX-License-Identifier: GPL-2.0-or-later
"""What Python's memory management costs while a policy of a hundred thousand filters is read and compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cycle collector: it looks at every node and filter again and again, as long as the work itself takes.

    Nothing made here is part of a cycle; what other threads leave meanwhile waits for the end, a few seconds later.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
