# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents that are made of tables in the code and of marks in code and tests: `python -m tools.docs` renews them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.docs import conformance, rfc, states

ROOT: Final = Path(__file__).parents[2]
RENEW: Final = "python -m tools.docs"


def files(root: Path) -> dict[str, str]:
    """What each document holds, by its path below `root`."""
    return states.files() | rfc.files(root) | conformance.files(root)
