# SPDX-License-Identifier: GPL-2.0-or-later
"""Soft SAs (Windows' word): traffic in the clear, because its peer does not speak IKE and its filter is soft."""

from __future__ import annotations

from dataclasses import dataclass

from xfrmd.ike.demand import WantKey


@dataclass(frozen=True, slots=True, eq=False)
class SoftSa:
    """One of them. It speaks of the traffic of one filter between two hosts, with the filter's protocol and ports."""

    key: WantKey
    rule: str
    since: float
    until: float
