# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries the engine's effects out, in the order given: each kind of effect is one row.

The kernel may refuse any of them, or not answer. Then nothing is half done: a pair of SAs that is not whole goes, at
both ends; what could not be taken away is told, and `SaWatch` and `Overlays.catch_up` take it away a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from xfrmd.credentials.ocsp import Revoked
from xfrmd.credentials.sources import Source
from xfrmd.daemon.installing import Installing, Late
from xfrmd.daemon.ledger import Ledger
from xfrmd.daemon.overlay import Kind, Overlays
from xfrmd.daemon.ports import Datagrams, HoldQueue, SaDatabase
from xfrmd.errors import KernelError
from xfrmd.ike.effects import (
    AddFilter,
    AskRevocation,
    AskUsed,
    CloseClear,
    DropHeld,
    Effect,
    InstallSa,
    KeepRevoked,
    KeepSa,
    MoveTunnel,
    OpenClear,
    ReleaseHeld,
    RemapSa,
    RemoveFilter,
    RemoveSa,
    RevokeTickets,
    SendDatagram,
    SendKeepalive,
    Tell,
)
from xfrmd.ike.events import ClearOpened, Event, SaFailed, SaUsed
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice


class Executor:
    """The hands of the engine. `tell` writes a notice for the operator, `late` hears what the kernel has not done,
    `enquire` asks about revoked certificates, `revoke_tickets` gives up the keys of tickets,
    `keep_revoked` keeps for later runs who is known to be revoked.
    """

    def __init__(
        self,
        datagrams: Datagrams,
        sas: SaDatabase,
        hold: HoldQueue,
        tell: Callable[[Notice], None],
        ledger: Ledger,
        *,
        overlays: Overlays,
        late: Late,
        move_tunnel: Callable[[Address, Address], None],
        enquire: Callable[[Source], None] = lambda _: None,
        revoke_tickets: Callable[[], None] = lambda: None,
        keep_revoked: Callable[[Sequence[Revoked]], None] = lambda _: None,
    ) -> None:
        self._datagrams = datagrams
        self._sas = sas
        self._hold = hold
        self._tell = tell
        self._ledger = ledger
        self._overlays = overlays
        self._late = late
        self._installing = Installing(sas, ledger, late)
        self._enquire = enquire
        self._rows: dict[type, Callable[[Any], Event | None]] = {
            SendDatagram: self._send,
            SendKeepalive: self._keep_alive,
            InstallSa: self._install,
            KeepSa: self._keep,
            RemoveSa: self._remove,
            RemapSa: self._remap,
            AskUsed: self._ask,
            ReleaseHeld: self._release,
            DropHeld: self._drop,
            OpenClear: self._open,
            CloseClear: self._close,
            AddFilter: self._add,
            RemoveFilter: self._take_away,
            MoveTunnel: lambda effect: move_tunnel(effect.end, effect.gateway),
            AskRevocation: self._ask_revocation,
            KeepRevoked: lambda effect: keep_revoked(effect.revoked),
            RevokeTickets: lambda _: revoke_tickets(),
            Tell: self._told,
        }

    def carry(self, effect: Effect) -> Event | None:
        """Carry one effect out. An event that follows from it is for the engine to hear after the rest."""
        return self._rows[type(effect)](effect)

    def _send(self, effect: SendDatagram) -> None:
        reason = self._datagrams.send(effect.local, effect.remote, effect.data)
        if reason:
            self._tell(
                Notice(
                    Level.NOTICE,
                    "send-failed",
                    f"IKE message from {effect.local} to {effect.remote} was not sent: {reason}",
                    {"peer": str(effect.remote.address), "reason": reason},
                    "see ip route and the host's firewall; it is sent again",
                )
            )

    def _keep_alive(self, effect: SendKeepalive) -> None:
        self._datagrams.keep_alive(effect.local, effect.remote)  # one that is lost has another behind it

    def _install(self, effect: InstallSa) -> Event | None:
        sa = effect.sa
        if self._overlays.lacks(sa):
            return SaFailed(sa.spi, sa.protocol, sa.dst, "the kernel refused its filter")
        try:
            self._installing.put(sa)
        except KernelError as error:
            self._ledger.counters["sas-refused"] += 1
            notice = Notice(
                Level.ERROR,
                "sa-refused",
                f"the kernel refused the SA {sa.spi:08x} from {sa.src} to {sa.dst}: {error}",
                {"peer": str(sa.src if sa.inbound else sa.dst), "spi": f"{sa.spi:08x}", "reason": str(error)},
                "see that the kernel has this algorithm (modinfo esp4 esp6; cat /proc/crypto)",
            )
            self._told(Tell(notice))
            return SaFailed(sa.spi, sa.protocol, sa.dst, str(error))
        return None

    def _keep(self, effect: KeepSa) -> None:
        self._ledger.kept(effect.sa, effect.added)

    def _remove(self, effect: RemoveSa) -> None:
        self._installing.remove((effect.dst, effect.protocol, effect.spi))

    def _remap(self, effect: RemapSa) -> Event | None:
        there = self._ledger.sas.get((effect.dst, effect.protocol, effect.spi))
        if there is None:
            return None
        sa = replace(there.sa, encap_ports=effect.ports)
        try:
            self._sas.update_sa(sa)
        except KernelError as error:
            return SaFailed(sa.spi, sa.protocol, sa.dst, str(error))
        self._ledger.sas[sa.key] = there._replace(sa=sa)
        return None

    def _ask(self, effect: AskUsed) -> Event | None:
        try:
            found = self._sas.sa(effect.protocol, effect.spi, effect.dst)
        except KernelError as error:
            self._late(f"the SA {effect.spi:08x} was not looked at", "ask-used", error)
            return None
        return SaUsed(found.spi, found.protocol, found.dst, found.octets) if found and found.octets else None

    def _release(self, effect: ReleaseHeld) -> None:
        try:
            self._hold.release(effect.reqid, effect.selector)
        except KernelError as error:
            self._late(f"packets that waited were not let go ({effect.selector})", "release", error)

    def _drop(self, effect: DropHeld) -> None:
        try:
            self._hold.drop(effect.reqid, effect.selector)
        except KernelError as error:
            self._late(f"packets that waited were not dropped ({effect.selector})", "drop", error)

    def _open(self, effect: OpenClear) -> Event:
        try:
            self._overlays.add(Kind.SOFT, effect.reqid, effect.selector)
        except KernelError as error:
            self._late(f"clear traffic was not let pass ({effect.selector})", "open-clear", error)
            return ClearOpened(effect.reqid, effect.selector, str(error))
        return ClearOpened(effect.reqid, effect.selector)

    def _close(self, effect: CloseClear) -> None:
        self._without(Kind.SOFT, effect, "clear traffic was not closed", "close-clear")

    def _add(self, effect: AddFilter) -> None:
        try:
            self._overlays.add(Kind.DYNAMIC, effect.reqid, effect.selector)
        except KernelError as error:
            notice = Notice(
                Level.ERROR,
                "filter-refused",
                f"the kernel refused the filter of the default response rule for {effect.selector}: {error}",
                {"peer": str(effect.selector.dst), "reason": str(error)},
                "nothing passes that the peer asked for; it asks again; see `xfrmctl status`",
            )
            self._told(Tell(notice))
            self._late(f"a filter of the default response rule was not made ({effect.selector})", "add-filter", error)

    def _take_away(self, effect: RemoveFilter) -> None:
        self._without(Kind.DYNAMIC, effect, "a filter of the default response rule was not removed", "remove-filter")

    def _without(self, kind: Kind, part: CloseClear | RemoveFilter, what: str, step: str) -> None:
        try:
            self._overlays.remove(kind, part.reqid, part.selector)
        except KernelError as error:
            self._late(f"{what} ({part.selector})", step, error)

    def _ask_revocation(self, effect: AskRevocation) -> None:
        self._enquire(effect.source)

    def _told(self, effect: Tell) -> None:
        self._ledger.heard(effect.notice)
        self._tell(effect.notice)
