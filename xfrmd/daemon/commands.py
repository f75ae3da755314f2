# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the control API, one function a command; xfrmd.control.schema has their arguments and answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from xfrmd import __version__, limits
from xfrmd.compiler.counting import tally_json
from xfrmd.compiler.render import plan_json
from xfrmd.control.schema import ControlError, Json
from xfrmd.daemon import listing, policy_commands, views
from xfrmd.daemon.enforcement import InForce
from xfrmd.daemon.house import House, in_force
from xfrmd.ike.events import Delete, Initiate, Rekey
from xfrmd.model.addresses import Address
from xfrmd.model.plan import Overlay, ProtectPolicy
from xfrmd.model.selector import Packet
from xfrmd.policy import PolicyErrors
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.packets import parse_packet


async def version(house: House, _: Json) -> Json:
    """Which daemon this is."""
    return {"version": __version__, "pid": os.getpid(), "since": house.since}


async def status(house: House, _: Json) -> Json:
    """All in short."""
    boot = await asyncio.to_thread(house.boot)
    degraded, counters = house.degraded(), house.counters()
    ike_sas, child_sas = house.engine.totals()
    return {
        "state": "degraded" if degraded else "running",
        "since": house.since,
        "policy": views.policy(house.enforcement.now),
        "stores": views.stores(house.stores),
        "kernel": views.kernel(degraded),
        "boot": views.boot(boot),
        "revocation": views.revocation(house.enquirer.known.values() if house.enquirer else ()),
        "ike_sas": ike_sas,
        "child_sas": child_sas,
        "peers": views.peers(house.ledger),
        "held": dict(counters.get("hold", {})),
        "drops": {name: dict(values) for name, values in counters.items() if name != "hold"},
    }


async def plan(house: House, _: Json) -> Json:
    """The plan in force."""
    return {"plan": await asyncio.to_thread(plan_json, in_force(house).plan)}


async def facts(house: House, _: Json) -> Json:
    """Facts of the host that the plan was compiled with, and where each is from."""
    return {"facts": views.facts(in_force(house).facts), "sources": views.sources(house.facts.origins())}


async def counters(house: House, _: Json) -> Json:
    """Every counter, by part."""
    return {"counters": {name: dict(values) for name, values in house.counters().items()}}


async def filters(house: House, arguments: Json) -> Json:
    """Packets and octets by filter: those that decided most, or none."""
    most, unused = int(arguments.get("top") or limits.FILTERS_SHOWN), bool(arguments.get("unused"))

    def look(now: InForce | None) -> Json:
        if now is None or now.made is None:
            raise ControlError("no-policy", "no policy is in force", "xfrmctl apply FILE")
        with collector_paused():
            return tally_json(now.made, house.filter_counters(now.plan.nft), most, unused=unused)

    return await house.enforcement.at_rest(look)


def _explained(now: InForce, packet: Packet, overlay: Overlay) -> Json:
    from xfrmd.daemon.studies import explained  # noqa: PLC0415 - imported when the daemon is ready, as said there

    return explained(now, packet, overlay)


async def explain_packet(house: House, arguments: Json) -> Json:
    """The fate of one packet under the plan in force."""
    try:
        packet = parse_packet(arguments["packet"].split())
    except PolicyErrors as error:
        raise ControlError(
            "bad-packet",
            str(error),
            "see xfrmctl explain --help",
            details={"problems": [*map(views.problem, error.problems)]},
        ) from error
    return await asyncio.to_thread(_explained, in_force(house), packet, house.overlay())


def _has(house: House, spi: bytes) -> bool:
    """Is there an SA with this SPI of ours? Asked again with each event while somebody waits, so no others are looked
    at.
    """
    return next(house.engine.each_ike_sa(spi=spi), None) is not None


def _count(house: House) -> int:
    return sum(house.engine.totals())


async def delete(house: House, arguments: Json) -> Json:
    """Delete one SA or all. With `wait`, until it is gone."""
    spi = None if arguments["spi"] == "all" else listing.own_spi(house, arguments["spi"])
    before = _count(house)
    house.core.post(Delete(spi))
    gone = await house.changes.until(
        lambda: not any(house.engine.totals()) if spi is None else not _has(house, spi), arguments.get("wait") or 0
    )
    return {"deleted": max(before - _count(house), 0), "gone": gone}


_IN_USE: Final = ("installed", "rekeying")
"""Child SAs that packets leave with."""


def _just_made(house: House, spi: bytes) -> bool:
    """Is it a child SA that packets do not leave with yet? Nobody would rekey it."""
    number = int.from_bytes(spi) if len(spi) == 4 else None
    children = (child for sa in house.engine.each_ike_sa(spi=spi) for child in sa.children if child.spi_in == number)
    return any(child.state in ("made", "awaited") for child in children)


async def rekey(house: House, arguments: Json) -> Json:
    """Replace one SA, all child SAs, or all IKE SAs. With `wait`, until the old ones are gone."""
    wait = arguments.get("wait") or 0
    match arguments["spi"]:
        case "all":
            children = (child for sa in house.engine.ike_sas() for child in sa.children)
            # One that a rekey of the peer's has just made, or replaced, is new or goes anyhow: nobody would rekey it.
            spis = [child.spi_in.to_bytes(4) for child in children if child.state in _IN_USE]
        case "ike":
            spis = [sa.local_spi for sa in house.engine.ike_sas() if sa.state == "established"]
        case spi:
            spis = [listing.own_spi(house, spi)]
            end = asyncio.get_running_loop().time() + wait
            if not await house.changes.until(lambda: not _just_made(house, spis[0]), wait):
                raise ControlError(
                    "just-made",
                    f"the peer has just made {spi}: its keys are new, and it is not in use yet",
                    "ask again when xfrmctl sas shows it installed, or with --wait",
                )
            listing.own_spi(house, spi)  # it may have gone meanwhile
            wait = max(end - asyncio.get_running_loop().time(), 0)
    for number, spi in enumerate(spis, 1):
        house.core.post(Rekey(spi))
        if number % limits.REKEYED_AT_ONCE == 0:
            await asyncio.sleep(0)
    left = spis[::-1]

    def replaced() -> bool:
        while left and not _has(house, left[-1]):
            left.pop()
        return not left

    done = await house.changes.until(replaced, wait)
    return {"rekeyed": arguments["spi"], "count": len(spis), "done": done}


def _wanted(house: House, arguments: Json) -> tuple[ProtectPolicy, Address, Address]:
    """The negotiate filter and the two ends that the operator means."""
    now = in_force(house)
    remote = listing.address(arguments["remote"])
    local = listing.address(arguments["local"]) if arguments.get("local") else None
    own = [one for one in now.facts.own_addresses() if one.family == remote.family and local in (None, one)]
    for protect in now.plan.protect:
        if arguments.get("rule") in (None, protect.origin.rule):
            near = _near_end(protect, own, remote)
            if near is not None:
                return protect, near, remote
    raise ControlError(
        "no-filter",
        f"no negotiate filter speaks of traffic to {remote}",
        "see xfrmctl explain, and rules in the policy",
    )


def _near_end(protect: ProtectPolicy, own: Iterable[Address], remote: Address) -> Address | None:
    """The address of ours from which a filter speaks to a peer. A tunnel's peer is the gateway, not what is behind."""
    if protect.tunnel is not None:
        return protect.tunnel[0] if protect.tunnel[1] == remote and protect.tunnel[0] in own else None
    fitting = (selector for selector in protect.selectors if selector.dst.contains(remote))
    return next((one for selector in fitting for one in own if selector.src.contains(one)), None)


def _stands(house: House, protect: ProtectPolicy, remote: Address) -> bool:
    """Is there a pair of SAs for a filter with a peer?"""
    return any(child.reqid == protect.reqid for sa in house.engine.each_ike_sa(remote) for child in sa.children)


async def initiate(house: House, arguments: Json) -> Json:
    """Negotiate an SA. With `wait`, until it stands or the peer refuses."""
    protect, local, remote = _wanted(house, arguments)
    record = house.ledger.peers.get(str(remote))
    failures = record.failures if record else 0

    def failed() -> bool:
        found = house.ledger.peers.get(str(remote))
        return found is not None and found.failures > failures

    def stands() -> bool:
        return _stands(house, protect, remote)

    house.core.post(Initiate(protect.reqid, local, remote))
    await house.changes.until(lambda: stands() or failed(), arguments.get("wait") or 0)
    if failed() and not stands():
        failure = views.peer(str(remote), house.ledger.peers[str(remote)])
        raise ControlError("failed", failure["message"], failure["remedy"], details={"peer": failure})
    return {"rule": protect.origin.rule, "local": str(local), "remote": str(remote), "established": stands()}


Command = Callable[[House, Json], Awaitable[Json]]
TABLE: Final[Mapping[str, Command]] = {
    "version": version,
    "status": status,
    "sas": listing.sas,
    "plan": plan,
    "facts": facts,
    "counters": counters,
    "filters": filters,
    "explain": explain_packet,
    **policy_commands.TABLE,
    "delete": delete,
    "rekey": rekey,
    "initiate": initiate,
}
