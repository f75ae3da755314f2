# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a host may have dropped packets: what its kernel has counted, by the names it has for the reasons."""

from __future__ import annotations

import json
import re

from lab.netns import Host

_IS_DROP = re.compile("Discards|Errors|NoRoutes|Fails|NoPorts|Overflows|RateLimit")


def dropped(host: Host) -> dict[str, int]:
    """Packets that the host may have dropped since it was made, by reason; reasons without any are left out."""
    counted = {**_xfrm(host), **_protocols(host), **_links(host), **_nftables(host)}
    return {reason: count for reason, count in counted.items() if count}


def _xfrm(host: Host) -> dict[str, int]:
    lines = host.run("cat", "/proc/net/xfrm_stat", check=False).stdout.splitlines()  # kernels may lack it
    return {name: int(count) for name, count in (line.split() for line in lines)}


def _protocols(host: Host) -> dict[str, int]:
    """The MIB's counters (RFC 4293), in pairs of lines: names, then values."""
    lines = host.run("cat", "/proc/net/snmp", "/proc/net/netstat").stdout.splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, *each = names.split()
        found |= {protocol + name: int(value) for name, value in zip(each, values.split()[1:], strict=True)}
    return {name: count for name, count in found.items() if _IS_DROP.search(name)}


def _links(host: Host) -> dict[str, int]:
    links = json.loads(host.run("ip", "-j", "-s", "link").stdout)
    return {
        f"{link['ifname']} {way} {what}": link["stats64"][way][what]
        for link in links
        for way in ("rx", "tx")
        for what in ("dropped", "errors")
    }


def _nftables(host: Host) -> dict[str, int]:
    objects = json.loads(host.run("nft", "-j", "list", "counters").stdout)["nftables"]
    counters = (each["counter"] for each in objects if "counter" in each)
    return {f"{counter['table']} {counter['name']}": counter["packets"] for counter in counters}
