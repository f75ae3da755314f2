# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's life: start in the safe order, serve, stop and leave the fence standing.

Start: the policy is read, compiled and put into the kernel, blocks first; then IKE sockets, hold queue, control, READY.
A policy that cannot be used ends the start and leaves the kernel as it was found: what an earlier run enforced stays
enforced. Stop: policies, the nftables table and SAs stay, for the next run to go on with. SIGINT, or a stop of
which no later run could know, ends SAs: peers are told, and ours are removed.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.journal import Journal
from xfrmd.adapters.sysctl import keep_first_packets
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError, Json
from xfrmd.daemon import collector, commands, heritage, policy_commands
from xfrmd.daemon.following import Following
from xfrmd.daemon.parts import Settings, StartError, start_error
from xfrmd.daemon.probe import esp_families
from xfrmd.daemon.server import Answerer, ControlServer, listen
from xfrmd.daemon.service import Service
from xfrmd.daemon.startup import Startup
from xfrmd.daemon.stopping import stop
from xfrmd.errors import KernelError
from xfrmd.model.notice import Level, Notice


async def serve(settings: Settings, journal: Journal) -> int:
    """Run the daemon until SIGTERM or SIGINT; the exit code. Raises StartError."""
    loop, signals = asyncio.get_running_loop(), asyncio.Queue[signal.Signals]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        service = Service(settings, journal)
    except KernelError as error:
        raise start_error(error) from error
    loop.set_exception_handler(service.unhandled)
    try:
        server = await _start(service)
        service.notifier.ready(service.story())
        journal.tell(Notice(Level.INFO, "started", f"ready: {service.story()}"))
        service.errands.start("imports", asyncio.to_thread(importlib.import_module, "xfrmd.daemon.studies"))
        interrupted = await signals.get() is signal.SIGINT
        service.notifier.stopping()
        await server.stop()
        journal.tell(await stop(service, interrupted=interrupted))
    finally:
        await _close(service)
    return ExitCode.OK


async def _start(service: Service) -> ControlServer:
    """Everything that must stand before READY, in this order."""
    inherited = service.notifier.inherited.sockets
    try:
        _probe(service)
        # Before any change: who finds another daemon on its control socket must not touch that one's kernel state.
        control = _control_socket(service.settings.control, inherited)
        # Listened to from before the first policy on, or its first packet and the ACQUIRE for it would be lost.
        service.kernel.events.open()
        service.hold.open()
        service.others.open()
        heritage.find(service)
        refusal = _ike_sockets(service, inherited)
        await _first_policy(service)
        if refusal is not None:
            raise refusal
        service.datagrams.attach(asyncio.get_running_loop())
        heritage.adopt(service)
        heritage.tell_of_losses(service)
        service.house.tickets.look()  # from now on, lost IKE SAs may go on from tickets
        following = Following(service.house.enforcement, service.errands, service.kernel.journal.tell)
        service.facts.watch(following.facts_changed)
        following.facts_changed()  # since they were read for the first policy, nobody has watched
    except KernelError as error:
        raise start_error(error) from error
    server = ControlServer(_answerer(service), service.errands.faults)
    await server.start(control)
    service.errands.every(limits.SA_USE_INTERVAL[0], "SA counters", service.watch.look_apart)
    stores = service.house.stores
    service.errands.every(
        limits.DIRECTORY_RETRY, "directory", lambda: service.errands.start("directory", stores.ask_again())
    )
    service.errands.every(limits.TICKET_KEY_LOOK, "tickets", service.house.tickets.look)
    collector.begin()
    service.errands.every(limits.SETTLE_INTERVAL, "memory", collector.settle)
    if service.notifier.watchdog_interval:
        service.errands.every(service.notifier.watchdog_interval, "watchdog", service.notifier.alive)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: service.errands.start("reload", _reload(service))
    )
    return server


def _ike_sockets(service: Service, inherited: Sequence[socket.socket]) -> KernelError | None:
    """Open them, so that the first policy's first packets are asked for at once; answers wait until all is adopted.

    What is in the way is given back: the policy is put in force all the same (docs/decisions/0004).
    """
    try:
        service.datagrams.open([sock for sock in inherited if sock.family != socket.AF_UNIX])
    except KernelError as error:
        return error
    return None


def _probe(service: Service) -> None:
    """Fail before anything is changed where nothing could work."""
    larval = keep_first_packets()
    shortcomings = [larval] if larval else []
    families = esp_families(service.kernel.xfrm, system_entropy(20))
    if families != (4, 6):
        text = f"the kernel has ESP for IPv{families[0]} only: negotiate filters of the other IP version block"
        service.kernel.journal.tell(Notice(Level.WARNING, "esp-missing", text, remedy="modprobe esp4 esp6"))
        shortcomings.append(text)
    service.kernel.shortcomings = tuple(shortcomings)
    try:
        service.kernel.nft.probe()
    except KernelError as error:
        raise KernelError(f"nftables cannot be used: {error}", error.errno or errno.EOPNOTSUPP) from error


async def _first_policy(service: Service) -> None:
    """Put in force what the stores hold.

    Also what locks out: a host without a policy is worse than one that is managed from its console.
    """
    stores, report = service.house.stores, service.kernel.journal.report
    await Startup(stores, system_entropy, report, fresh=not service.kernel.nft.exists()).run()
    service.policies_stand()


def _control_socket(path: Path, inherited: Sequence[socket.socket]) -> socket.socket:
    for sock in inherited:
        if sock.family == socket.AF_UNIX:
            return sock
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        return listen(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"another xfrmd serves {path}; stop it, or name another socket with --control"
            raise StartError(message, ExitCode.PORT_IN_USE) from error
        raise StartError(f"the control socket {path} cannot be made: {error.strerror}", ExitCode.ERROR) from error


def _answerer(service: Service) -> Answerer:
    async def answer(command: str, arguments: Json) -> Json:
        return await commands.TABLE[command](service.house, arguments)

    return answer


async def _reload(service: Service) -> None:
    """SIGHUP: a policy that cannot be used is told, problem by problem, and changes nothing."""
    service.notifier.reloading()
    try:
        await policy_commands.reload(service.house, {})
    except ControlError as error:
        for one in error.details.get("problems", ()):
            text = "{file}:{line}:{column}: {message}".format(**one)
            service.kernel.journal.report(Notice(Level.ERROR, "policy-problem", text, {}, one["remedy"]))
        text = f"reload failed: {error}; the running policy stays"
        service.kernel.journal.tell(Notice(Level.ERROR, "reload-failed", text, {"code": error.code}, error.remedy))
    else:
        service.kernel.journal.tell(Notice(Level.NOTICE, "reloaded", f"policy reloaded: {service.story()}"))
    service.notifier.ready(service.story())


async def _close(service: Service) -> None:
    loop = asyncio.get_running_loop()
    await service.errands.cancel()
    service.house.core.stop()
    service.others.close()
    if service.house.enquirer is not None:
        service.house.enquirer.close()
    service.kernel.events.close()
    service.hold.close()
    service.facts.close()
    service.datagrams.detach(loop)
    service.datagrams.close()
    service.custody.close()
    service.kernel.close()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
