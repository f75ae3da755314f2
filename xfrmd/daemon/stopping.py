# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a daemon that was told to end: what stays in the kernel, and what does not (docs/decisions/0004)."""

from __future__ import annotations

from typing import Final

from xfrmd.adapters.service_manager import stopped_for_good
from xfrmd.daemon import heritage
from xfrmd.daemon.opening import remove_all
from xfrmd.daemon.service import Service
from xfrmd.errors import KernelError
from xfrmd.model.notice import Level, Notice
from xfrmd.policy.words import OnStop

_KEPT: Final = "stopped; {} stay in the kernel and keep protecting and blocking"
_REMEDY: Final = "xfrmd open removes it"


async def stop(service: Service, *, interrupted: bool) -> Notice:
    """Leave the kernel as the policy's `on_stop` says; what became of it.

    `interrupted`, so by SIGINT: no other run goes on with the SAs. Under systemd the system goes down, which
    units/goodbye says that way, and stays closed (docs/decisions/0032).
    """
    await service.errands.cancel()  # a policy that was being put in force would come back behind what is removed here
    opens = _opens(service, interrupted=interrupted)
    stays = service.custody.active and not interrupted
    if stays and not opens:
        heritage.leave(service)
    else:
        await service.say_goodbye()
    if not opens:
        text = _KEPT.format("policies and SAs" if stays else "policies")
        if opens is not None:
            return Notice(Level.INFO, "stopped", text)
        text = f"{text}: whether this is a stop or a restart is not known, as systemd does not say"
        return Notice(Level.WARNING, "stopped", text, remedy=_REMEDY)
    service.others.close()  # or what goes would be put back
    try:
        removed = remove_all(service.kernel.xfrm, service.kernel.spd, service.kernel.nft)
    except KernelError as error:
        text = f"stopped, but the kernel refused to have the policy removed: {error}"
        return Notice(Level.ERROR, "stopped", text, remedy=_REMEDY)
    text = f"stopped; {removed.policies} XFRM policies and the nftables table are removed: nothing is filtered any more"
    return Notice(Level.WARNING, "opened", text, remedy="config: {on_stop: keep} goes on enforcing")


def _opens(service: Service, *, interrupted: bool) -> bool | None:
    """Is the policy to be removed? None: it would be, if this were known to be a stop."""
    now = service.house.enforcement.now
    if now is None or now.policies.config.on_stop is not OnStop.OPEN:
        return False
    return stopped_for_good(service.settings.environ, interrupted=interrupted)
