# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter actions, one file each; a new one is a file and a line here."""

from __future__ import annotations

from xfrmd.compiler.actions import block, negotiate, permit
from xfrmd.compiler.actions.row import ActionRow

ROWS = (permit.ROW, block.ROW, negotiate.ROW)
BY_ACTION = {row.action: row for row in ROWS}
BY_VERDICT = {row.verdict: row for row in ROWS}

__all__ = ["BY_ACTION", "BY_VERDICT", "ROWS", "ActionRow"]
