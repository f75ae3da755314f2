# SPDX-License-Identifier: GPL-2.0-or-later
"""negotiate: packets pass on an SA only; the fence behind the maps drops those in the clear."""

from __future__ import annotations

from xfrmd.compiler.actions.row import ActionRow
from xfrmd.model.plan import Verdict
from xfrmd.model.spd import SpdAction
from xfrmd.policy.words import Action

ROW = ActionRow(Action.NEGOTIATE, Verdict.NEGOTIATE, element="return", spd=SpdAction.PROTECT)
