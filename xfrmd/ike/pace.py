# SPDX-License-Identifier: GPL-2.0-or-later
"""How many SAs are renewed at once. Thousands may be due together, as an operator says so, a policy has changed or a
machine has slept. All asked for at once, a peer that has many of them may answer the last ones after our patience, and
be kept from it by our repetitions: IKE SAs are given up that nothing is wrong with.
"""

from __future__ import annotations

from typing import Final

from xfrmd import limits
from xfrmd.ike.ike_sa import IkeSa, Task, TaskKind

_RENEWALS: Final = (TaskKind.REKEY_CHILD, TaskKind.REKEY_IKE)


class Pace:
    """IKE SAs under which a rekey is outstanding, `most` of them, and those that wait for their turn, in order."""

    __slots__ = ("_most", "_outstanding", "_waiting")

    def __init__(self, most: int = limits.RENEWALS_AT_ONCE) -> None:
        self._most = most
        self._outstanding: set[IkeSa] = set()
        self._waiting: dict[IkeSa, None] = {}

    @property
    def due(self) -> bool:
        """Does somebody wait whose turn it is?"""
        return bool(self._waiting) and len(self._outstanding) < self._most

    def admits(self, sa: IkeSa, task: Task) -> bool:
        """May the request be sent? If not, its IKE SA waits. What goes on with a rekey may: another key exchange."""
        if task.kind not in _RENEWALS or task.follow is not None or len(self._outstanding) < self._most:
            return True
        self._waiting[sa] = None
        return False

    def sent(self, sa: IkeSa, task: Task) -> None:
        """The request is on its way."""
        if task.kind in _RENEWALS:
            self._outstanding.add(sa)

    def over(self, sa: IkeSa) -> None:
        """It has its answer, or its peer does not answer soon: others go on."""
        self._outstanding.discard(sa)

    def next(self) -> IkeSa:
        """Whose turn it is."""
        sa = next(iter(self._waiting))
        del self._waiting[sa]
        return sa
