# SPDX-License-Identifier: GPL-2.0-or-later
"""Python's cycle collector in a process that lives for years with tens of thousands of objects of SAs and filters.

By itself it walks through all objects of the process whenever a quarter more have been made, and nothing of IKE is
answered meanwhile: for up to a second with 10,000 SAs. SAs, plans and policies end by their reference counts (that
engines leave no cycles is shown in tests/unit/test_daemon_collector), so what has lived for a while is looked at no
more. Cycles of the young, which tasks and exceptions make, are still collected.
"""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 5_000
"""Objects made until the youngest are looked at."""
_MIDDLE: Final = 20
"""Times that this happens until those that survived are looked at, too."""
_NEVER: Final = 1_000_000_000
"""The same for all others."""


def begin() -> None:
    """Walk through all objects no more from now on."""
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)
    settle()


def settle() -> None:
    """Collect what the young leave behind; what lives now is looked at no more. To be called now and then."""
    gc.collect(1)
    gc.freeze()
