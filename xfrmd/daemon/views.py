# SPDX-License-Identifier: GPL-2.0-or-later
"""What `status` and `sas` answer, made of plain values: the same for the terminal, for JSON and for monitors."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from xfrmd.adapters.facts import Origins
from xfrmd.adapters.xfrm.uses import Use
from xfrmd.control.schema import Json
from xfrmd.daemon.boot import BootState
from xfrmd.daemon.enforcement import InForce
from xfrmd.daemon.enquirer import Known
from xfrmd.daemon.ledger import Installed, Ledger, PeerRecord
from xfrmd.daemon.stores import Stores
from xfrmd.ike.proven import Proven
from xfrmd.ike.views import ChildSaView, IkeSaView
from xfrmd.model.facts import HostFacts
from xfrmd.model.proposals import Transform, TransformType
from xfrmd.model.source import Problem
from xfrmd.model.store import Store
from xfrmd.policy.boot import exemption_text
from xfrmd.policy.stores import decisive
from xfrmd.policy.words import BootMode
from xfrmd.transforms.catalog import name_of

_ESN: Final = Transform(TransformType.ESN, 1)


class Clocks(NamedTuple):
    """One moment on both clocks: the engine's and the wall's, in seconds."""

    monotonic: float
    wall: float


def problem(one: Problem) -> Json:
    """A problem of a policy, for JSON."""
    return {
        "severity": one.severity.value,
        "file": one.at.file,
        "line": one.at.line,
        "column": one.at.column,
        "message": one.message,
        "remedy": one.remedy,
    }


def policy(now: InForce | None) -> Json:
    """The policy in force, in short."""
    if now is None:
        return {"name": None, "assigned": False, "file": None, "since": None}
    plan = now.plan
    return {
        "name": plan.policy or None,
        "assigned": bool(plan.policy),
        "file": now.file,
        "since": now.since,
        "filters": len(plan.filters),
        "negotiate_filters": len(plan.protect),
        "spd_entries": len(plan.spd),
        "warnings": [*map(problem, now.warnings)],
    }


def stores(all_: Stores) -> list[Json]:
    """What each store holds, the one that is asked first first."""
    sets = {store: held.policies for store, held in all_.held.items()}
    in_force = {Store.PERSISTENT, decisive(sets)}
    return [_store(store, all_, in_force=store in in_force) for store in Store]


def _store(store: Store, all_: Stores, *, in_force: bool) -> Json:
    held, trouble, source = all_.held.get(store), all_.troubles.get(store), all_.sources.get(store)
    assigned = held.policies.assigned if held else None
    return {
        "store": store.value,
        "policy": assigned.name if assigned else None,
        "in_force": in_force and assigned is not None,
        "origin": held.origin.value if held else None,
        "file": held.file if held else source.first if source else None,
        "checksum": held.checksum if held else None,
        "since": held.since if held else None,
        "trouble": {
            "condition": trouble.condition.value,
            "message": trouble.message,
            "remedy": trouble.remedy,
        }
        if trouble
        else None,
    }


def facts(found: HostFacts) -> Json:
    """Facts of the host, in the words of a facts file."""
    return {
        "interfaces": [
            {
                "name": one.name,
                "kind": one.kind.value,
                "addresses": [f"{address}/{length}" for address, length in one.addresses],
            }
            for one in found.interfaces
        ],
        "dns_servers": [*map(str, found.dns_servers)],
        "wins_servers": [*map(str, found.wins_servers)],
        "dhcp_servers": [*map(str, found.dhcp_servers)],
        "default_gateways": [*map(str, found.default_gateways)],
        "names": {name: [*map(str, addresses)] for name, addresses in found.names.items()},
        "redirects": {str(end): str(gateway) for end, gateway in found.redirects.items()},
    }


def sources(origins: Origins) -> Json:
    """Where facts come from. Addresses and gateways, which are not there, are the kernel's."""
    return {
        "dns_servers": origins.name_servers or None,
        "leases": [
            {
                "interface": one.interface,
                "address": str(one.lease.address),
                "file": str(one.file),
                "dhcp_servers": [*map(str, one.lease.servers)],
                "wins_servers": [*map(str, one.lease.wins_servers)],
                "expires": one.lease.expires if one.lease.expires != float("inf") else None,
            }
            for one in origins.leases
        ],
        "names": {
            name: {"source": one.source or None, "asked_in": one.seconds, "trouble": one.trouble or None}
            for name, one in origins.names.items()
        },
    }


def boot(found: BootState) -> Json:
    """The boot filter: what the policy wants, what is saved for the next start, and whether it stands now."""
    return {
        "bootmode": found.mode.value,
        "exemptions": [*map(exemption_text, found.exemptions)],
        "had_policy": found.had_policy,
        "files": {
            name: {"variant": what.value, "checksum": "ok"}
            if isinstance(what, BootMode)
            else {"variant": None, "checksum": what}
            for name, what in found.saved.items()
        },
        "loaded": found.loaded,
    }


def revocation(known: Iterable[Known]) -> list[Json]:
    """Lists that are fetched, and responders that did not answer. `until`: Unix time until when a list holds."""
    return [
        {
            "url": one.source.url,
            "kind": "list" if one.source.is_list else "ocsp",
            "until": one.until.timestamp() if one.until else None,
            "trouble": one.trouble or None,
        }
        for one in known
        if one.source.is_list or one.trouble
    ]


def kernel(degraded: Iterable[str]) -> Json:
    """Is the kernel equal to the plan, and if not, why."""
    reasons = list(degraded)
    return {"state": "degraded" if reasons else "equal", "reasons": reasons}


def peer(name: str, record: PeerRecord) -> Json:
    """A peer: when it worked, and its last failure with both sides' offers."""
    failure = record.failure
    return {
        "peer": name,
        "worked_at": record.worked_at,
        "failures": record.failures,
        "failed_at": record.failed_at if failure else None,
        "code": failure.code if failure else None,
        "message": failure.message if failure else None,
        "remedy": failure.remedy if failure else None,
        "fields": dict(failure.fields) if failure else {},
    }


def peers(ledger: Ledger) -> list[Json]:
    """All peers, the one heard of last first."""
    return [peer(name, record) for name, record in reversed(ledger.peers.items())]


@lru_cache(maxsize=256)
def _names(*transforms: Transform | None) -> tuple[str, ...]:
    """Few sets are agreed with all peers."""
    return tuple(name_of(transform) for transform in transforms if transform is not None)


def proven(end: Proven) -> Json | None:
    """How one end has proved who it is, None while it has not (or before this was remembered). `expires`: Unix time."""
    if not end.method:
        return None
    return {
        "method": end.method,
        "scheme": end.scheme,
        "subject": end.subject,
        "serial": end.serial,
        "authority": end.authority,
        "expires": end.until,
    }


def ike_sa(view: IkeSaView, clocks: Clocks) -> Json:
    """One IKE SA. Ages and rekey times in seconds from now."""
    return {
        "spi_local": view.local_spi.hex(),
        "spi_remote": view.remote_spi.hex(),
        "local": str(view.local),
        "remote": str(view.remote),
        "local_id": view.local_id,
        "remote_id": view.remote_id,
        "vendor": view.vendor,
        "initiator": view.initiator,
        "state": view.state,
        "rule": view.rule,
        "nat": view.nat or None,
        "authenticated": {"local": proven(view.proofs.local), "remote": proven(view.proofs.remote)},
        "ppk": view.proofs.ppk or None,
        "extensions": list(view.extensions),
        "transforms": _names(*view.transforms),
        "age": round(clocks.monotonic - view.created, 1),
        "rekey_in": None if view.rekey_at is None else round(view.rekey_at - clocks.monotonic, 1),
        "reauthentication_in": None if view.reauth_at is None else round(view.reauth_at - clocks.monotonic, 1),
        "children": [f"{child.spi_in:08x}" for child in view.children],
    }


class InKernel(NamedTuple):
    """What the kernel has of a child SA: one half as it was installed, and what both have carried; None for none."""

    installed: Installed | None
    inbound: Use | None
    outbound: Use | None


def child_sa(ike: IkeSaView, view: ChildSaView, rule: str, kernel: InKernel, clocks: Clocks) -> Json:
    """One child SA: a pair of kernel SAs."""
    known, inbound, outbound = kernel
    answer: Json = {
        "spi_in": f"{view.spi_in:08x}",
        "spi_out": f"{view.spi_out:08x}",
        "ike_spi": ike.local_spi.hex(),
        "local": str(ike.local.address),
        "remote": str(ike.remote.address),
        "rule": rule,
        "reqid": view.reqid,
        "protocol": view.protocol.name.lower(),
        "state": view.state,
        "selectors": [str(selector) for selector in view.selectors],
        "age": round(clocks.monotonic - view.created, 1),
        "octets_in": inbound.octets if inbound else 0,
        "packets_in": inbound.packets if inbound else 0,
        "octets_out": outbound.octets if outbound else 0,
        "packets_out": outbound.packets if outbound else 0,
        "mode": None,
        "udp": False,
        "transforms": [],
        "rekey_in": None,
        "expires_in": None,
    }
    if known is not None:
        sa, age = known.sa, clocks.wall - known.at
        answer["mode"] = sa.mode.name.lower()
        answer["udp"] = sa.encap_ports is not None
        answer["transforms"] = _names(sa.encryption, sa.integrity, _ESN if sa.esn else None)
        answer["rekey_in"] = round(sa.soft.seconds - age, 1) if sa.soft.seconds else None
        answer["expires_in"] = round(sa.hard.seconds - age, 1) if sa.hard.seconds else None
    return answer
