# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of a running daemon, wired: sockets, kernel events and timers to the engine, its effects to the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from xfrmd import limits
from xfrmd.adapters.boot_files import BootFiles
from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.facts import FactsWatcher
from xfrmd.adapters.hold import PacketHold
from xfrmd.adapters.journal import Journal
from xfrmd.adapters.kernel_stats import xfrm_statistics
from xfrmd.adapters.names.follow import NameSources
from xfrmd.adapters.nft import NftLoader
from xfrmd.adapters.notify import Notifier
from xfrmd.adapters.udp import UdpSockets
from xfrmd.adapters.xfrm.events import XfrmEvent, XfrmEvents
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.adapters.xfrm.spd import Spd
from xfrmd.compiler.compile import NO_PLAN
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.credentials.sources import News, Source
from xfrmd.daemon.boot import BootFilter, BootState
from xfrmd.daemon.changes import Changes
from xfrmd.daemon.core import Core, Faults
from xfrmd.daemon.custody import Custody, state_file
from xfrmd.daemon.enforcement import Enforcement
from xfrmd.daemon.enquirer import Enquirer, Ways, by_http
from xfrmd.daemon.executor import Executor
from xfrmd.daemon.house import House
from xfrmd.daemon.inbox import Inbox
from xfrmd.daemon.installing import Late
from xfrmd.daemon.ledger import Ledger, SaKey
from xfrmd.daemon.opening import remove_sas
from xfrmd.daemon.others import Others
from xfrmd.daemon.overlay import Overlays
from xfrmd.daemon.packets import NegotiatedPackets
from xfrmd.daemon.parts import Errands, Settings
from xfrmd.daemon.reconcile import Reconciler
from xfrmd.daemon.remembered import Remembered
from xfrmd.daemon.sa_watch import SaWatch
from xfrmd.daemon.sieve import Sieve
from xfrmd.daemon.stores import Stores
from xfrmd.daemon.ticket_keys import TicketKeyring
from xfrmd.daemon.views import Clocks
from xfrmd.errors import KernelError
from xfrmd.ike.engine import Engine
from xfrmd.ike.events import (
    Acquire,
    DatagramReceived,
    Goodbye,
    PlanChanged,
    RevocationKept,
    RevocationLearnt,
    TicketKeys,
)
from xfrmd.model.notice import Level, Notice
from xfrmd.model.plan import Overlay, Plan
from xfrmd.model.selector import Selector
from xfrmd.policy.words import Config


class Kernel:
    """The kernel's side: sockets to it, and the plan as packets see it."""

    def __init__(
        self,
        journal: Journal,
        boot_files: BootFiles | None,
        hear: Callable[[XfrmEvent], None],
        lost: Callable[[], None],
    ) -> None:
        """`hear` is told what happens to SAs, `lost` that something was not told."""
        self.journal = journal
        self.xfrm = XfrmSocket()
        self.events = XfrmEvents(hear, lost, friends=(self.xfrm,))
        self.spd = Spd((self.xfrm,))
        self.nft = NftLoader()
        self.boot = BootFilter(boot_files, self.nft.lift_boot_filter, journal.tell)
        self.packets = NegotiatedPackets(NO_PLAN)
        self.enforce: Callable[[Overlay], None] = lambda _: None
        """Has the kernel carry something else beside the Plan; is_busy tells whether a thread is at work in it."""
        self.is_busy: Callable[[], bool] = lambda: False
        self.overlays = Overlays(NO_PLAN, self._enforce)
        self._late: dict[tuple[int, Selector], None] = {}
        self.shortcomings: tuple[str, ...] = ()
        """What this kernel lacks for as long as it runs."""

    def reqid(self, packet: Selector) -> int:
        """The reqid of the negotiate filter that decides an outbound packet now, 0 when none does."""
        return self.packets.reqid(packet) or self.overlays.reqid(packet)

    def rule(self, packet: Selector) -> str:
        """The rule whose SA an outbound packet needs now, "" when it needs none."""
        return self.packets.rule(packet)

    def kick(self, reqid: int, selector: Selector) -> None:
        """Send the out policies of this traffic again, so that what waits looks its route up anew. KernelError when the
        kernel refuses; then `settle` does it.

        While a thread changes policies that is put off: a policy that has just gone would come back.
        """
        self._late[reqid, selector] = None
        if not self.is_busy():
            self._kick(reqid, selector)
            self._late.pop((reqid, selector), None)

    def _kick(self, reqid: int, selector: Selector) -> None:
        for entry in (*self.packets.out_entries(reqid, selector), *self.overlays.out_entries(reqid, selector)):
            self.xfrm.kick(entry)

    def _enforce(self, wanted: Overlay) -> None:
        self.enforce(wanted)

    def settle(self) -> None:
        """Do what was put off. KernelError when the kernel refuses; then the rest stays put off."""
        while self._late and not self.is_busy():
            late = next(iter(self._late))
            self._kick(*late)
            del self._late[late]

    def catch_up(self) -> None:
        """Do what the kernel has refused, and what was put off. KernelError when it refuses again."""
        if not self.is_busy():
            self.overlays.catch_up()
            self.settle()

    def remove_sas(self, known: Collection[SaKey] = ()) -> None:
        """Remove all SAs of ours but those that are known, those of an earlier run included."""
        remove_sas(self.xfrm, known)

    def counters(self) -> dict[str, Mapping[str, int]]:
        """What nftables and XFRM dropped and let by, in packets."""
        counted = {name: found.packets for name, found in self.nft.counters().items()}
        return {"nftables": counted, "xfrm": xfrm_statistics()}

    def close(self) -> None:
        """Close the sockets. What is in the kernel stays."""
        self.xfrm.close()
        self.spd.close()
        self.nft.close()


def _call_later(seconds: float, step: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, step)


def _hands(service: Service, ledger: Ledger, enquirer: Enquirer, tickets: TicketKeyring, late: Late) -> Executor:
    """What carries out the effects of the engine. `late` hears of what failed and is tried again."""
    return Executor(
        service.datagrams,
        service.kernel.xfrm,
        service.hold,
        service.kernel.journal.tell,
        ledger,
        overlays=service.kernel.overlays,
        late=late,
        move_tunnel=service.facts.redirect,
        enquire=enquirer.ask,
        revoke_tickets=tickets.revoke,
        keep_revoked=Remembered(service.settings.revoked, service.kernel.journal.tell).keep,
    )


def _sieve(service: Service, journal: Journal) -> Sieve:
    """The sockets' and the engine's, which come after it."""
    return Sieve(
        lambda shares: service.datagrams.let_in(shares),  # noqa: PLW0108
        lambda remote, now: service.house.engine.suspect(remote, now),  # noqa: PLW0108
        journal.tell,
    )


class Service:
    """All parts. Nothing is opened yet; `xfrmd.daemon.main` does that in the safe order."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings = settings
        self.notifier = Notifier(settings.environ)
        self.errands = Errands(Faults(journal.tell))
        self.kernel = Kernel(journal, settings.boot_files, self._hear, self._lost)
        self.inbox = Inbox(self._datagram, _sieve(self, journal))
        self.datagrams = UdpSockets(self.inbox.take, pressed=self.inbox.sieve.pressed)
        self.hold = PacketHold(
            self.kernel.reqid,
            lambda reqid, packet: self.house.core.post(Acquire(reqid, packet)),
            self.kernel.kick,
        )
        self.facts = FactsWatcher(tell=journal.tell, names=NameSources(store=settings.name_store))
        self.house = self._house()
        self.kernel.enforce = self.house.enforcement.overlay
        self.kernel.is_busy = lambda: self.house.enforcement.busy
        self.others = Others(self.house.enforcement, self.kernel.spd, self.errands, journal.tell, self._mended)

    def _house(self) -> House:
        ledger, changes = Ledger(time.time), Changes()
        engine = Engine(NO_PLAN, system_entropy, time.time)
        tell = self.kernel.journal.tell
        self.custody = Custody(state_file(self.settings.environ, self.notifier, tell), engine, tell)
        overlays = self.kernel.overlays
        ways = Ways(by_http(self.facts), time.time, self.kernel.rule, self.settings.fetched_lists)
        enquirer = Enquirer(ways, self._learnt, tell, self.errands.faults, self._list_kept)
        tickets = TicketKeyring(self.settings.ticket_keys, self._ticket_keys, tell)
        executor = _hands(self, ledger, enquirer, tickets, self._late)
        core = Core(engine, executor.carry, self.errands.faults, changes.happened, self.custody.keep)
        self.watch = SaWatch(
            self.kernel.xfrm, ledger, core.post, tell, _call_later, wall=time.time, backlog=self.kernel
        )
        secrets = secret_reader(self.settings.environ.get("CREDENTIALS_DIRECTORY"))
        enforcement = Enforcement(
            Reconciler(self.kernel.spd, self.kernel.nft),
            self.facts,
            self._plan_changed,
            time.time,
            overlay=overlays.plan_changed,
            at_work=self._at_work,
        )
        settings = self.settings
        return House(
            engine=engine,
            core=core,
            enforcement=enforcement,
            stores=Stores(
                enforcement,
                settings.sources,
                settings.store_files,
                read_secret=secrets,
                tell=tell,
                clock=time.time,
            ),
            facts=self.facts,
            overlay=lambda: overlays.sum,
            ledger=ledger,
            sas=self.kernel.xfrm,
            changes=changes,
            counters=self.counters,
            filter_counters=self.kernel.nft.element_counters,
            degraded=self.degraded,
            boot=self._boot,
            clocks=lambda: Clocks(asyncio.get_running_loop().time(), time.time()),
            since=time.time(),
            tickets=tickets,
            enquirer=enquirer,
        )

    # What is made before the watch, and tells it.

    def _hear(self, event: XfrmEvent) -> None:
        self.watch.hear(event)

    def _lost(self) -> None:
        self.watch.lost()

    def _late(self, what: str, step: str, error: KernelError) -> None:
        self.watch.late(what, step, error)

    def _learnt(self, source: Source, news: News | None, trouble: str) -> None:
        self.house.core.post(RevocationLearnt(source, news, trouble))

    def _list_kept(self, source: Source, der: bytes) -> None:
        self.house.core.post(RevocationKept(lists=((source.url, der),)))

    def _ticket_keys(self, keys: TicketKeys) -> None:
        self.house.core.post(keys)

    def _datagram(self, event: DatagramReceived) -> None:
        self.house.core.post(event)

    def _plan_changed(self, plan: Plan, negotiates: bool) -> None:
        self.others.forget()
        if negotiates:
            self.kernel.packets = NegotiatedPackets(plan)
            self.house.core.post(PlanChanged(plan))
            if self.house.enquirer is not None:
                self.house.enquirer.plan_changed(plan)
        self._settle()
        self.notifier.status(self.story())
        self.hold.reclassify()
        if not self.house.stores.starting:
            self.policies_stand()

    def policies_stand(self) -> None:
        """What is in force is all that is to be: only then does the boot filter go, and the next one is made."""
        now = self.house.enforcement.now
        if now is None:
            return
        self.kernel.boot.lift()
        if self.kernel.boot.want(now.policies, now.facts):
            self.errands.start("boot filter", self.kernel.boot.save())

    def _at_work(self, busy: bool) -> None:
        self.others.at_work(busy)

    def _mended(self) -> None:
        self.others.forget()
        self._settle()
        self.hold.reclassify()

    def _settle(self) -> None:
        """The policy stands, also where what follows has to wait."""
        try:
            self.kernel.settle()
        except KernelError as error:
            self._late("packets that wait were not told of their SA", "kick", error)

    def unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that came out of a callback of the event loop: a fault of ours, and not the daemon's end."""
        error = context.get("exception")
        self.errands.faults(
            "event loop", error if isinstance(error, Exception) else RuntimeError(str(context.get("message")))
        )

    def degraded(self) -> tuple[str, ...]:
        """What is not as it should be."""
        found = [*self.others.degraded(), *self.kernel.shortcomings, *self.kernel.boot.troubles]
        found += self.house.stores.degraded()
        if self.errands.faults.count:
            found.append(f"{self.errands.faults.count} internal errors since the start; see journalctl -u xfrmd")
        return tuple(found)

    def _boot(self) -> BootState:
        now = self.house.enforcement.now
        try:
            loaded = self.kernel.nft.exists(limits.BOOT_TABLE)
        except KernelError:
            loaded = False  # what cannot be asked is degraded already
        return self.kernel.boot.state(now.policies.config if now else Config(), loaded=loaded)

    def story(self) -> str:
        """One line for `systemctl status`."""
        now = self.house.enforcement.now
        if now is None or not now.plan.policy:
            return "no policy assigned, nothing is filtered"
        degraded = (
            ", degraded" if now.outcome.degraded or self.kernel.shortcomings or self.house.stores.troubles else ""
        )
        return f"policy {now.plan.policy!r} in force, {len(now.plan.filters)} filters{degraded}"

    def counters(self) -> dict[str, Mapping[str, int]]:
        """All counters by part."""
        return {
            "ike": self.house.engine.counters(),
            "udp": {**self.datagrams.counters, **self.inbox.counters},
            "hold": {**self.hold.counters, "waiting": len(self.hold)},
            "daemon": {
                **self.house.ledger.counters,
                "internal-errors": self.errands.faults.count,
                "kernel-mended": self.others.mended,
                "damaged-kernel-events": self.kernel.events.damaged,
                "notices-lost": self.kernel.journal.lost,
            },
            **self.kernel.counters(),
        }

    async def say_goodbye(self) -> None:
        """Tell the peers, give their answers a moment, and take our SAs out of the kernel."""
        self.inbox.close()
        self.kernel.events.close()
        self.hold.close()
        self.house.core.post(Goodbye())
        await self.house.changes.until(lambda: not any(self.house.engine.totals()), limits.STOP_WAIT)
        try:
            self.kernel.remove_sas()
        except KernelError as error:
            text = f"some SAs are left in the kernel: {error}"
            remedy = "the next start removes them, or xfrmd open; peers were told that they end"
            self.kernel.journal.tell(Notice(Level.WARNING, "sas-left", text, {"reason": str(error)}, remedy))
        self.custody.forget()
