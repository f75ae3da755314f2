# SPDX-License-Identifier: GPL-2.0-or-later
"""What a filter action means to nftables and XFRM: one row per action."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.model.plan import Verdict
from xfrmd.model.spd import SpdAction
from xfrmd.policy.words import Action


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One filter action. `element` is the verdict in nftables maps: accept and drop end the packet there, return
    hands it to the fence.
    """

    action: Action
    verdict: Verdict
    element: str
    spd: SpdAction
