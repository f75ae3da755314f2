# SPDX-License-Identifier: GPL-2.0-or-later
"""xfrmd whole, on a kernel that has neither ESP nor nfnetlink_queue: for handshakes of IKE SAs alone (RFC 6023).

`main` is that of `xfrmd`, with three things changed: the kernel is not asked whether it takes an SA, nothing holds
packets and the rule that would have them held drops them, and no line is logged but errors, as of a charon whose log is
off. All else is as it is: policy compiled and in force, sockets, inbox, engine, executor, state, control, timers.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from xfrmd import limits
from xfrmd.adapters.hold import PacketHold
from xfrmd.adapters.journal import Journal, Sink
from xfrmd.adapters.nft import NftLoader
from xfrmd.cli import run, xfrmd
from xfrmd.daemon import main as life
from xfrmd.daemon import service
from xfrmd.daemon.ports import SaDatabase
from xfrmd.model.nft import NftTable
from xfrmd.model.notice import Level

_QUEUED: Final = f"counter name held queue num {limits.HOLD_QUEUE}"
_DROPPED: Final = "counter name held drop"
_LISTED: Final = 'counter name "held" drop'


class NoHold(PacketHold):
    """Holds nothing."""

    def open(self) -> None:
        """There is no queue."""


class QueuelessNft(NftLoader):
    """The kernel has a rule that drops where ours queues, and is said to have ours."""

    def probe(self) -> None:
        """It would be refused."""

    def observe(self) -> NftTable | None:
        """With our rule."""
        table = super().observe()
        if table is None:
            return None
        chains = (replace(c, rules=tuple(r.replace(_LISTED, _QUEUED) for r in c.rules)) for c in table.chains)
        return replace(table, chains=tuple(chains))

    def _from_file(self, text: str, *, dry_run: bool) -> None:
        super()._from_file(text.replace(_QUEUED, _DROPPED), dry_run=dry_run)


def _families(sas: SaDatabase, key: bytes) -> tuple[int, ...]:
    """Both IP versions, unasked."""
    del sas, key
    return 4, 6


def _silent(sink: Sink, least: Level) -> Journal:
    del least
    return Journal(sink, Level.ERROR)


def main() -> int:
    """As xfrmd's. Returns the exit code."""
    with contextlib.ExitStack() as changed:
        for where, name, instead in (
            (life, "esp_families", _families),
            (service, "PacketHold", NoHold),
            (service, "NftLoader", QueuelessNft),
            (run, "Journal", _silent),
        ):
            changed.enter_context(patch.object(where, name, instead))
        return xfrmd.main()
