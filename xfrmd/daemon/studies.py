# SPDX-License-Identifier: GPL-2.0-or-later
"""What takes a long look at policies because somebody asks: which filter decides a packet, what a change would change.

A start needs none of it. A thread imports it as soon as the daemon is ready, so that no request waits for that and what
cannot be imported is told then; a request that comes sooner has it imported in the thread that answers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain_whole
from xfrmd.compiler.traffic import traffic
from xfrmd.compiler.traffic_json import traffic_json
from xfrmd.compiler.unanswered import unanswered
from xfrmd.control.schema import Json
from xfrmd.daemon.enforcement import InForce
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Overlay
from xfrmd.model.selector import Packet
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import PolicySet


def explained(now: InForce, packet: Packet, overlay: Overlay) -> Json:
    """The fate of one packet under the plan in force."""
    return _plain(explain_whole(now.policies, now.facts, packet, now.plan, overlay).to_json())


def compared(policies: PolicySet, facts: HostFacts, now: InForce, *, running_is_old: bool) -> Json:
    """Which traffic fares differently under these policies and what is in force. Raises PolicyError."""
    with collector_paused():
        other = compile_policy(policies, facts)
        names = unanswered(now.policies, policies, facts)
        plans = (now.plan, other) if running_is_old else (other, now.plan)
        return _plain(traffic_json(traffic(*plans, unanswered=names)))


def _plain(answer: Mapping[str, Any]) -> Json:
    return {key: value for key, value in answer.items() if key != "schema"}
