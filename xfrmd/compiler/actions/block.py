# SPDX-License-Identifier: GPL-2.0-or-later
"""block: packets are dropped without an answer, protected or not."""

from __future__ import annotations

from xfrmd.compiler.actions.row import ActionRow
from xfrmd.model.plan import Verdict
from xfrmd.model.spd import SpdAction
from xfrmd.policy.words import Action

ROW = ActionRow(Action.BLOCK, Verdict.BLOCK, element="drop", spd=SpdAction.DISCARD)
