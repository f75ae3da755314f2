# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases of systemd-networkd: /run/systemd/netif/leases/IFINDEX, one `KEY=value` a line.

networkd removes the file when the lease ends. Its "private data" note means that keys may change: a file without
those below gives no lease. Seen with systemd 252, which asks for WINS servers (option 44) but keeps only options 224
to 254 in the file; a later one that wrote OPTION_44 as it writes those, in hexadecimal, would be understood.
"""

from __future__ import annotations

from xfrmd.adapters.leases.lease import Ignored, Lease, unicast


def parse(text: str, index: int, ignored: Ignored) -> Lease | None:
    """The lease of the interface with this index; None when the text holds none."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign:
            values[key] = value
        elif line and not line.startswith("#"):
            ignored.append(line)
    address = unicast([values.get("ADDRESS", "")], ignored)
    if not address:
        return None
    servers = unicast([values.get("SERVER_ADDRESS", "")], ignored)
    return Lease(index, address[0], servers, unicast(_quads(values.get("OPTION_44", ""), ignored), ignored))


def _quads(digits: str, ignored: Ignored) -> list[str]:
    """Addresses in hexadecimal, four octets each (RFC 2132 8.5)."""
    try:
        octets = bytes.fromhex(digits)
    except ValueError:
        ignored.append(digits)
        return []
    return [".".join(map(str, octets[at : at + 4])) for at in range(0, len(octets) - 3, 4)]
