# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter that the default response rule has made at run time, between two hosts."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.model.addresses import Address
from xfrmd.model.selector import Selector


@dataclass(frozen=True, slots=True, eq=False)
class DynamicFilter:
    """`selector` is outbound; its reverse is protected too."""

    reqid: int
    selector: Selector
    local: Address
    remote: Address
