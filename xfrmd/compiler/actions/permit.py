# SPDX-License-Identifier: GPL-2.0-or-later
"""permit: packets pass unmodified."""

from __future__ import annotations

from xfrmd.compiler.actions.row import ActionRow
from xfrmd.model.plan import Verdict
from xfrmd.model.spd import SpdAction
from xfrmd.policy.words import Action

ROW = ActionRow(Action.PERMIT, Verdict.PERMIT, element="accept", spd=SpdAction.BYPASS)
