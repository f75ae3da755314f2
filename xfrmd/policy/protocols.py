# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of protocols and ICMP types as policies and packets may write them."""

from __future__ import annotations

from typing import Final

from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NUMBERS

# Names of Windows' own list of protocols that Linux's /etc/protocols gives other people's numbers or none.
PROTOCOLS: Final = {"any": 0, "egp": 8, "hmp": 20, "xns-idp": 22, "rdp": 27, "rvd": 66} | PROTOCOL_NUMBERS
ICMP_TYPES: Final = {
    ICMP: {"echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11},
    ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "echo-request": 128,
        "echo-reply": 129,
    },
}
