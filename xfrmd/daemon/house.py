# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands of the control API work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xfrmd.compiler.counting import Counts
from xfrmd.control.schema import ControlError
from xfrmd.daemon import views
from xfrmd.daemon.boot import BootState
from xfrmd.daemon.changes import Changes
from xfrmd.daemon.core import Core
from xfrmd.daemon.enforcement import Enforcement, InForce
from xfrmd.daemon.enquirer import Enquirer
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.ports import Engine, FactsSource, SaUses
from xfrmd.daemon.stores import Stores
from xfrmd.daemon.ticket_keys import TicketKeyring
from xfrmd.model.nft import NftTable
from xfrmd.model.plan import Overlay


@dataclass(slots=True)
class House:
    """The parts of a running daemon. `overlay` is what stands in the kernel beside the Plan, `counters` gathers those
    of all parts, `filter_counters` those of the elements of a table, `degraded` says what is not as it should be,
    `boot` looks at the boot filter (in a thread of its own).
    """

    engine: Engine
    core: Core
    enforcement: Enforcement
    stores: Stores
    facts: FactsSource
    overlay: Callable[[], Overlay]
    ledger: Ledger
    sas: SaUses
    changes: Changes
    counters: Callable[[], Mapping[str, Mapping[str, int]]]
    filter_counters: Callable[[NftTable], Counts]
    degraded: Callable[[], tuple[str, ...]]
    boot: Callable[[], BootState]
    clocks: Callable[[], views.Clocks]
    since: float
    tickets: TicketKeyring
    enquirer: Enquirer | None = None
    """Who asks whether certificates were revoked."""


def in_force(house: House) -> InForce:
    """What is in force. Raises ControlError when nothing has ever been."""
    if house.enforcement.now is None:
        raise ControlError("no-policy", "no policy is in force", "xfrmctl apply FILE")
    return house.enforcement.now
