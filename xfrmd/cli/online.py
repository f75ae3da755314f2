# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that ask the running daemon."""

from __future__ import annotations

from typing import Final

from xfrmd.cli.table import Command

COMMANDS: Final[tuple[Command, ...]] = ()
