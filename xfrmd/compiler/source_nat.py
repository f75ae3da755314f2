# SPDX-License-Identifier: GPL-2.0-or-later
"""What was bound for an SA before source NAT leaves on an SA, or not at all (docs/decisions/0025).

The kernel looks a packet up again when NAT has changed its source. A packet of a network behind this gateway, that a
tunnel's filter speaks of, is then one of the gateway's own address, which no filter may speak of, and would leave in
the clear. So whatever is bound for an SA of ours is marked just before source NAT (100), and the fence behind it drops
what is marked and has no SA any more.

The mark is taken off there again, so nobody sees it. It is the packet's fwmark, if it has none, else its priority, if
it has none: what another program gave it stays. Where both are taken the fwmark is lost from there on, which routing
and filters have used already.
"""

from __future__ import annotations

from typing import Final

from xfrmd import limits
from xfrmd.model.nft import NftChain

_BEFORE: Final = "type filter hook postrouting priority 99; policy accept;"
_MARK: Final = f"meta mark {limits.BOUND_MARK:#x}"
_PRIORITY: Final = f"{limits.BOUND_PRIORITY >> 16:x}:{limits.BOUND_PRIORITY & 0xFFFF:x}"
_OURS: Final = f"{limits.REQID_FIRST}-{limits.REQID_LAST}"
_DROP: Final = "rt ipsec missing counter name fence_nat drop"

CHAINS: Final = (
    NftChain("unbind_mark", "", (_DROP, "meta mark set 0x0")),
    NftChain("unbind_priority", "", (_DROP, "meta priority set none")),
    NftChain(
        "bound",
        _BEFORE,
        (
            "rt ipsec missing accept",
            f"ipsec out reqid != {_OURS} accept",
            f"meta mark 0x0 meta mark set {limits.BOUND_MARK:#x} accept",
            f"meta priority none meta priority set {_PRIORITY} accept",
            f"meta mark set {limits.BOUND_MARK:#x}",
        ),
    ),
)
"""`bound` marks; the others are for the fence."""
FENCE: Final = (f"{_MARK} jump unbind_mark", f"meta priority {_PRIORITY} jump unbind_priority")
"""What postrouting begins with: packets that go on are as they were."""
