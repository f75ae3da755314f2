# SPDX-License-Identifier: GPL-2.0-or-later
"""SAs into the kernel and out of it, so that a failure leaves neither half a pair nor takes what belongs to others."""

from __future__ import annotations

import errno
from collections.abc import Callable

from xfrmd.adapters.xfrm.requests import NoAnswerError
from xfrmd.daemon.ledger import Ledger, SaKey
from xfrmd.daemon.ports import SaDatabase
from xfrmd.errors import KernelError
from xfrmd.model.sad import SadEntry

Late = Callable[[str, str, KernelError], None]
"""Hears what the kernel has not done, the name of the step, and why: it is to be tried again."""


class Installing:
    """The ledger knows which SAs are ours."""

    def __init__(self, sas: SaDatabase, ledger: Ledger, late: Late) -> None:
        self._sas = sas
        self._ledger = ledger
        self._late = late
        self.taken: set[SaKey] = set()
        """SAs that another program has in the place of one of ours, until ours is to be removed."""

    def put(self, sa: SadEntry) -> None:
        """Install an SA. KernelError: it is not there, or soon will not be."""
        try:
            self._sas.add_sa(sa)
        except NoAnswerError:
            self._take_out(sa.key)
            raise
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            self.taken.add(sa.key)
            if not self._is_left_over(sa.key):
                raise
            self.taken.discard(sa.key)
            self._ledger.counters["sas-left-over"] += 1
            self._sas.remove_sa(sa.protocol, sa.spi, sa.dst)
            self._sas.add_sa(sa)
        self._ledger.installed(sa)

    def _is_left_over(self, key: SaKey) -> bool:
        """Is what stands in the way an SA of ours that nobody knows any more, or nothing?"""
        dst, protocol, spi = key
        found = self._sas.sa(protocol, spi, dst)
        return key not in self._ledger.sas and (found is None or found.ours)

    def remove(self, key: SaKey) -> None:
        """Remove an SA that `put` has been asked for. That the kernel refuses is told."""
        if key in self.taken:
            self.taken.discard(key)
            return
        self._ledger.removed(key)
        self._take_out(key)

    def _take_out(self, key: SaKey) -> None:
        dst, protocol, spi = key
        try:
            self._sas.remove_sa(protocol, spi, dst)
        except KernelError as error:
            self._late(f"the SA {spi:08x} to {dst} was not removed", "remove-sa", error)
