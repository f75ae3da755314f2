# SPDX-License-Identifier: GPL-2.0-or-later
"""From one run to the next (docs/decisions/0023): what is looked for before the policy, adopted with it, and left."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from xfrmd.adapters.entropy import system_entropy
from xfrmd.daemon.overlay import Kind
from xfrmd.daemon.remembered import Remembered
from xfrmd.daemon.service import Service
from xfrmd.errors import KernelError
from xfrmd.ike.events import Adopt, CrashSecrets, Delete
from xfrmd.ike.saved import KernelSa, Saved
from xfrmd.model.notice import Level, Notice


def find(service: Service) -> None:
    """Read what an earlier run has left. What it protected by filters of its own stands again with the policy."""
    found = service.custody.look()
    for one in found.filters:
        service.kernel.overlays.expect(Kind.DYNAMIC, one.reqid, one.selector)
    for redirect in found.redirects:
        service.facts.redirect(redirect.end, redirect.gateway)
    remembered = Remembered(service.settings.revoked, service.kernel.journal.tell)
    revoked = remembered.recall(datetime.fromtimestamp(service.house.clocks().wall, UTC))
    if revoked is not None:
        service.house.core.post(revoked)


def adopt(service: Service) -> None:
    """SAs of an earlier run go on under the policies that are in force now; those that nobody knows are removed: the
    fence of the policies stands, so their traffic waits. Raises KernelError.
    """
    saved, faults = service.custody.take(), service.errands.faults.count
    if saved != Saved():
        now = service.house.clocks().wall
        there = {
            (sa.dst, sa.protocol, sa.spi): KernelSa(sa.due(now), sa.soft, sa.added)
            for sa in service.kernel.xfrm.sas()
            if sa.ours
        }
        service.house.core.post(Adopt(saved, there))
    if service.errands.faults.count > faults:  # what is half adopted is not to be trusted
        service.house.core.post(Delete(None))
    try:
        service.kernel.remove_sas(service.house.ledger.sas)
    except KernelError as error:
        service.watch.late("SAs that nobody knows any more were not removed", "remove-sa", error)


def tell_of_losses(service: Service) -> None:
    """From now on, peers are told of IKE SAs that they have with us and nobody here knows (RFC 6290)."""
    file = service.settings.crash_secrets
    if file is None:
        return
    try:
        secrets = file.load(system_entropy, time.time())
    except OSError as error:
        text = f"peers will not be told quickly when this host has lost its SAs: {file.path}: {error.strerror or error}"
        service.kernel.journal.tell(Notice(Level.WARNING, "crash-secrets", text, {}, "make room there, and restart"))
        return
    service.house.core.post(CrashSecrets(secrets))


def leave(service: Service) -> None:
    """SAs stay, for the next run to go on with. What passes in the clear without IKE does not: nobody would end it."""
    try:
        service.kernel.overlays.close(Kind.SOFT)
    except KernelError as error:
        text = f"soft SAs cannot be ended: {error}"
        service.kernel.journal.tell(Notice(Level.ERROR, "soft-left", text, {}, "the next start ends them"))
