# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that work on files alone: no daemon, no root."""

from __future__ import annotations

from typing import Final

from xfrmd.cli.checking import CHECK
from xfrmd.cli.compiling import COMPILE
from xfrmd.cli.converting import EXPORT, IMPORT
from xfrmd.cli.differing import DIFF
from xfrmd.cli.explaining import EXPLAIN
from xfrmd.cli.table import Command

COMMANDS: Final[tuple[Command, ...]] = (CHECK, COMPILE, DIFF, EXPLAIN, IMPORT, EXPORT)
