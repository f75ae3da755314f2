# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases of NetworkManager's own DHCP client: /run/NetworkManager/devices/IFINDEX, group [dhcp4].

The `internal-*.lease` files below /var/lib/NetworkManager hold nothing but the address, for the next start; where its
client is dhclient, the `dhclient-*.lease` files there are dhclient's. Seen with NetworkManager 1.42, which writes the
file anew with each state of the device and takes the address from the interface when the lease ends; the `expiry` in
the file may be that of an earlier renewal, so it is not looked at.
"""

from __future__ import annotations

from xfrmd.adapters.leases.lease import Ignored, Lease, unicast


def parse(text: str, index: int, ignored: Ignored) -> Lease | None:
    """The lease of the interface with this index; None when the text holds none."""
    group, values = "", dict[str, str]()
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if line.startswith("["):
            group = line.strip()
        elif not sign and line and not line.startswith("#"):
            ignored.append(line)
        elif group == "[dhcp4]":
            values[key.removeprefix("dhcp4.")] = value
    address = unicast([values.get("ip_address", "")], ignored)
    if not address:
        return None
    servers = unicast([values.get("dhcp_server_identifier", "")], ignored)
    return Lease(index, address[0], servers, unicast(values.get("netbios_name_servers", "").split(), ignored))
