# SPDX-License-Identifier: GPL-2.0-or-later
"""Child SAs beside a wide one of the peer's (docs/decisions/0009).

A peer that asks for all traffic between two hosts gets the SA of our widest filter. What heavier filters of ours take
out of it, it would send in that SA too, and our kernel would drop it: such an SA is not theirs. So we ask for theirs at
once; the peer prefers the narrower ones. A peer whose proposal a packet leads has filters as ours has, and asks itself.
"""

from __future__ import annotations

from itertools import islice

from xfrmd import limits
from xfrmd.ike import narrow
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.context import Context
from xfrmd.ike.demand import WantKey
from xfrmd.ike.ike_sa import IkeSa, Task, TaskKind
from xfrmd.ike.narrow import Ends, Traffic
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import TsiPayload, TsrPayload
from xfrmd.model.spd import Mode


def ask(ctx: Context, sa: IkeSa, child: ChildSa, message: SealedMessage) -> None:
    """Ask for the child SAs of heavier filters, after we have answered the request for `child`."""
    tsi, tsr = message.first(TsiPayload), message.first(TsrPayload)
    if tsi is None or tsr is None or child.agreed.protect.mode is not Mode.TRANSPORT:
        return
    if narrow.led_by_packet(Traffic(tsr.ranges, tsi.ranges)) or _replaces(ctx, child):
        return
    ends = Ends(child.local, child.remote, Mode.TRANSPORT)
    for protect, region in islice(narrow.heavier(ctx.index, ends, child.agreed), limits.SIBLINGS):
        key = WantKey(protect.reqid, child.local, child.remote, region)
        there = ctx.store.children(child.local, child.remote, protect.reqid)
        if ctx.demand.find(key) is not None or any(one.agreed.selector == region for one in there):
            continue
        want = ctx.demand.add(key, None, ctx.now)
        if want is not None:
            want.tries += 1
            sa.tasks.append(Task(TaskKind.NEW_CHILD, want=want))
            ctx.touch(sa)


def _replaces(ctx: Context, child: ChildSa) -> bool:
    """Is there an older one for the same traffic? Then its siblings are there as well, as far as they were wanted."""
    there = ctx.store.children(child.local, child.remote, child.reqid)
    return any(one is not child and one.selectors == child.selectors for one in there)
