# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter: the table `inet xfrmd_boot`, which stands from the start of the system until a policy is in force.

It is loaded by `nft -f` before any network, without the daemon. Filters speak of addresses on the wire, so it looks
where the policy's own table looks: before destination NAT, and after source NAT. What would be forwarded is dropped.

Exemptions come first, in both directions: DHCP, neighbour discovery with its listener reports, and what the
administrator names, with the answers to it. An answer belongs to a connection that a packet of the exemption began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from xfrmd import limits
from xfrmd.compiler import nft_text
from xfrmd.compiler.boot_filters import boot_maps
from xfrmd.compiler.exempt import EXEMPTIONS
from xfrmd.compiler.nft import POSTROUTING, PREROUTING
from xfrmd.model.facts import HostFacts
from xfrmd.model.nft import NftChain, NftMap, NftTable
from xfrmd.model.selector import ICMP, ICMPV6, TCP, UDP
from xfrmd.policy.words import BootExemption, BootMode, Config, PolicySet

FORMAT: Final = 1
"""Of the first line of a file."""
_NAME: Final = f"inet {limits.BOOT_TABLE}"
_FORWARD: Final = "type filter hook forward priority -190; policy drop;"
_ALWAYS: Final = ("exempt-nd", "exempt-mld", "exempt-dhcp")
_REPLY: Final = "ct state established ct direction reply"
_SIDES: Final = ("in", "out")
_COUNTERS: Final = (*(f"{what}_{side}" for what in ("exempt", "dropped") for side in _SIDES), "dropped_forward")
_HEAD: Final = (
    "# SPDX-License-Identifier: GPL-2.0-or-later",
    "# The boot filter of xfrmd: stands until a policy is in force. Compiled from a policy: edit that, not this.",
)
_MODES: Final = frozenset(mode.value for mode in BootMode)
_PORTS: Final = {TCP: "tcp", UDP: "udp"}


def _matches(one: BootExemption, sport: int, dport: int) -> Iterator[str]:
    """The packets of an exemption, or the answers to them, as nftables rules say it."""
    if one.protocol == ICMP:
        yield f"meta nfproto ipv4 meta l4proto {ICMP}"
        yield f"meta nfproto ipv6 meta l4proto {ICMPV6}"
        return
    named = [f"{_PORTS[one.protocol]} {side} {port}" for side, port in (("sport", sport), ("dport", dport)) if port]
    yield " ".join(named) or f"meta l4proto {one.protocol}"


def _exempt(side: str, exemptions: tuple[BootExemption, ...]) -> NftChain:
    inbound = side == "in"
    rules = [row.rule for row in EXEMPTIONS if row.name in _ALWAYS and row.inbound == inbound]
    for one in exemptions:
        if one.inbound == inbound:
            rules += _matches(one, one.sport, one.dport)
        else:
            rules += (f"{match} {_REPLY}" for match in _matches(one, one.dport, one.sport))
    return NftChain(f"exempt_{side}", "", tuple(f"{rule} counter name exempt_{side} accept" for rule in rules))


def _side(side: str, hook: str, maps: tuple[NftMap, ...], last: tuple[str, ...]) -> Iterator[NftChain]:
    """The chains of one direction. `last` is what follows on exemptions and policy."""
    interface = "iifname" if side == "in" else "oifname"
    rules = [f'{interface} "lo" accept', f"jump exempt_{side}"]
    if maps:
        yield NftChain(f"policy_{side}", "", tuple(f"{one.expression} vmap @{one.name}" for one in maps))
        rules.append(f"jump policy_{side}")
    yield NftChain("prerouting" if side == "in" else "postrouting", hook, (*rules, *last))


def table(policies: PolicySet, facts: HostFacts, mode: BootMode) -> NftTable | None:
    """The boot filter of a policy; None under permit. Of the facts only the addresses of DNS names count.

    Raises PolicyErrors when the policy is too large without this host's facts.
    """
    if mode is BootMode.PERMIT:
        return None
    maps: dict[str, tuple[NftMap, ...]] = dict.fromkeys(_SIDES, ())
    drops = {side: (f"counter name dropped_{side} drop",) for side in _SIDES}
    ends: dict[str, tuple[str, ...]] = {**drops}
    if mode is BootMode.STATEFUL:
        maps = boot_maps(policies.in_force, facts)
        # Related are ICMP errors about such a flow alone: nothing here assigns a helper to one.
        answers = "ct state established,related ct direction reply accept"
        ends = {"in": (answers, *drops["in"]), "out": ("accept",)}
    exempt = policies.config.bootexemptions
    chains = (
        *(_exempt(side, exempt) for side in _SIDES),
        *_side("in", PREROUTING.replace("accept", "drop"), maps["in"], ends["in"]),
        *_side("out", POSTROUTING.replace("accept", "drop"), maps["out"], ends["out"]),
        NftChain("forward", _FORWARD, ("counter name dropped_forward drop",)),
    )
    return NftTable((*maps["in"], *maps["out"]), chains, _COUNTERS)


def sealed(mode: BootMode, found: NftTable | None) -> str:
    """A table, or that there is none, as a file: its first line has the checksum of the rest, so that a file of which
    something is missing is recognised. It may be loaded again and again.
    """
    if found is None:
        body = "\n".join((*_HEAD, f"add table {_NAME}", f"delete table {_NAME}", ""))
    else:
        body = nft_text.render(found, _NAME, _HEAD)
    return f"# xfrmd-boot {FORMAT} {mode.value} {hashlib.sha256(body.encode('ascii')).hexdigest()}\n{body}"


def seal_of(text: str) -> BootMode | None:
    """The mode of a file; None when it is damaged, or of another version."""
    head, _, body = text.partition("\n")
    match head.split(" "):
        case ["#", "xfrmd-boot", version, mode, checksum] if version == str(FORMAT) and mode in _MODES:
            whole = hashlib.sha256(body.encode("ascii", "replace")).hexdigest() == checksum
            return BootMode(mode) if whole else None
    return None


def boot_file(policies: PolicySet, facts: HostFacts, mode: BootMode) -> str:
    """The boot filter as a file. Raises PolicyErrors as `table` does."""
    return sealed(mode, table(policies, facts, mode))


def block_file(config: Config) -> str:
    """What blocks everything but exemptions, as a file: for a host whose daemon fails."""
    mode = BootMode.BLOCK
    return sealed(mode, table(PolicySet((), None, config=config), HostFacts(), mode))


def boot_mode(config: Config, *, ever_assigned: bool) -> BootMode:
    """The boot mode of a host. `ever_assigned`: a policy is or was assigned on it."""
    return config.bootmode or (BootMode.STATEFUL if ever_assigned else BootMode.PERMIT)
