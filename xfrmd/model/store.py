# SPDX-License-Identifier: GPL-2.0-or-later
"""Where policies come from, as in Windows: the persistent store, the directory, and the host's own local store."""

from __future__ import annotations

import enum
from typing import Final


class Store(enum.Enum):
    """A policy store. Of equally specific filters the one of the earlier store decides."""

    PERSISTENT = "persistent"
    """In force first and beside whichever other policy applies, also when that one cannot be used."""
    DIRECTORY = "directory"
    """Takes the place of the local one as long as it assigns a policy."""
    LOCAL = "local"

    @property
    def rank(self) -> int:
        """0 for the store that is asked first."""
        return _RANKS[self]


_RANKS: Final = {store: rank for rank, store in enumerate(Store)}
