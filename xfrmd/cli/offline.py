# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that work on files alone: no daemon, no root."""

from __future__ import annotations

from typing import Final

from xfrmd.cli.table import Elsewhere

COMMANDS: Final = (
    Elsewhere("check", "xfrmd.cli.checking"),
    Elsewhere("compile", "xfrmd.cli.compiling"),
    Elsewhere("diff", "xfrmd.cli.differing"),
    Elsewhere("explain", "xfrmd.cli.explaining"),
    Elsewhere("import", "xfrmd.cli.converting"),
    Elsewhere("export", "xfrmd.cli.converting"),
)
