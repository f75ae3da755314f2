# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of protocols and ICMP types as policies and packets may write them."""

from __future__ import annotations

from typing import Final

from xfrmd.model.selector import ICMP, ICMPV6, PROTOCOL_NUMBERS

# Names of Windows' own lists of protocols, some of which Linux's /etc/protocols gives other numbers or none, and more.
PROTOCOLS: Final = {
    "any": 0,
    "igmp": 2,
    "ggp": 3,
    "egp": 8,
    "pup": 12,
    "hmp": 20,
    "xns-idp": 22,
    "rdp": 27,
    "rvd": 66,
    "eigrp": 88,
    "pim": 103,
} | PROTOCOL_NUMBERS
# IANA's registries of ICMP and ICMPv6 types, deprecated ones that no system sends left out.
ICMP_TYPES: Final = {
    ICMP: {
        "echo-reply": 0,
        "destination-unreachable": 3,
        "source-quench": 4,
        "redirect": 5,
        "echo-request": 8,
        "router-advertisement": 9,
        "router-solicitation": 10,
        "time-exceeded": 11,
        "parameter-problem": 12,
        "timestamp-request": 13,
        "timestamp-reply": 14,
        "address-mask-request": 17,
        "address-mask-reply": 18,
        "photuris": 40,
        "extended-echo-request": 42,
        "extended-echo-reply": 43,
    },
    ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "parameter-problem": 4,
        "echo-request": 128,
        "echo-reply": 129,
        "multicast-listener-query": 130,
        "multicast-listener-report": 131,
        "multicast-listener-done": 132,
        "router-solicitation": 133,
        "router-advertisement": 134,
        "neighbor-solicitation": 135,
        "neighbor-advertisement": 136,
        "redirect": 137,
        "router-renumbering": 138,
        "node-information-query": 139,
        "node-information-reply": 140,
        "inverse-neighbor-solicitation": 141,
        "inverse-neighbor-advertisement": 142,
        "multicast-listener-report-v2": 143,
        "certification-path-solicitation": 148,
        "certification-path-advertisement": 149,
        "multicast-router-advertisement": 151,
        "multicast-router-solicitation": 152,
        "multicast-router-termination": 153,
        "extended-echo-request": 160,
        "extended-echo-reply": 161,
    },
}
