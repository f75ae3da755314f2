# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of XFRM: policies and SAs, in bulk and one by one."""

from __future__ import annotations

import contextlib
from typing import Final

from xfrmd.adapters import netlink
from xfrmd.adapters.entropy import system_entropy
from xfrmd.adapters.xfrm import policies, states, uapi, uses
from xfrmd.adapters.xfrm.policies import ObservedPolicy
from xfrmd.adapters.xfrm.requests import GONE, NoAnswerError, Request, RequestSocket
from xfrmd.adapters.xfrm.states import ObservedSa
from xfrmd.adapters.xfrm.uapi import Msg
from xfrmd.adapters.xfrm.uses import Use, Uses
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.sad import SadEntry
from xfrmd.model.selector import Selector
from xfrmd.model.spd import Direction, SpdEntry

_WORD: Final = bytes(4)


def add_policy(entry: SpdEntry) -> Request:
    """A new policy. The kernel answers EEXIST when its direction and selector are taken, by whomever."""
    return Request(Msg.NEWPOLICY, policies.encode(entry), entry.selector)


def update_policy(entry: SpdEntry) -> Request:
    """Replace the policy of this direction and selector at once, or add it. Sockets then look their routes up anew."""
    return Request(Msg.UPDPOLICY, policies.encode(entry), entry.selector)


def delete_policy(direction: Direction, selector: Selector, index: int = 0) -> Request:
    """Remove a policy, by index where one is known: then nobody else's can be hit."""
    return Request(Msg.DELPOLICY, policies.encode_id(direction, selector, index), selector)


class XfrmSocket(RequestSocket):
    """SPD and SAD of this network namespace. Not for use from two threads."""

    # SPD

    def policies(self) -> tuple[ObservedPolicy, ...]:
        """All policies of the namespace but those of single sockets."""
        return self.dump(Msg.GETPOLICY, Msg.NEWPOLICY, policies.decode)

    def policy(self, direction: Direction, selector: Selector) -> ObservedPolicy | None:
        """The policy of this direction and selector, None when there is none."""
        return self.get(Msg.GETPOLICY, policies.encode_id(direction, selector), Msg.NEWPOLICY, policies.decode)

    def kick(self, entry: SpdEntry) -> None:
        """Write a policy again, unchanged: connected sockets look their routes up anew, packets in its queue go on."""
        self.twice(lambda: self.one(update_policy(entry)))

    def hash_thresholds(self, v4: tuple[int, int], v6: tuple[int, int]) -> None:
        """Prefix lengths (local, remote) from which on policies are found by hash and not by tree."""
        both = ((uapi.SpdAttr.IPV4_HTHRESH, v4), (uapi.SpdAttr.IPV6_HTHRESH, v6))
        body = _WORD + b"".join(netlink.attribute(kind, bytes(lengths)) for kind, lengths in both)
        self.twice(lambda: self.one(Request(Msg.NEWSPDINFO, body, "hash thresholds")))

    # SAD

    def add_sa(self, sa: SadEntry) -> None:
        """Install an SA. KernelError when the kernel refuses it (EEXIST: SPI and destination are taken), NoAnswerError
        when it may be there all the same.
        """
        request = Request(Msg.NEWSA, states.encode(sa), f"SA {sa.spi:08x} {sa.src} -> {sa.dst}")
        try:
            self.one(request)
        except NoAnswerError:
            raise
        except KernelError as error:
            if error.errno not in netlink.PASSING:
                raise
            self.repeats += 1
            self.one(request)

    def update_sa(self, sa: SadEntry) -> None:
        """Give an SA that is there other UDP ports. KernelError when the kernel refuses it (ESRCH: it is gone)."""
        body = states.encode_ports(sa, system_entropy)
        self.twice(lambda: self.one(Request(Msg.UPDSA, body, f"SA {sa.spi:08x} {sa.src} -> {sa.dst}")))

    def remove_sa(self, protocol: ProtocolId, spi: int, dst: Address) -> bool:
        """Remove an SA; False when it was gone already."""
        request = Request(Msg.DELSA, states.encode_id(protocol, spi, dst), f"SA {spi:08x} -> {dst}")
        try:
            self.twice(lambda: self.one(request))
        except KernelError as error:
            if error.errno not in GONE:
                raise
            return False
        return True

    def sas(self) -> tuple[ObservedSa, ...]:
        """All ESP and AH SAs of the namespace, whoever installed them."""
        return self.dump(Msg.GETSA, Msg.NEWSA, states.decode)

    def sas_apart(self) -> tuple[ObservedSa, ...]:
        """The same by a socket of its own: another thread may use this one meanwhile. To read 20,000 takes a while."""
        with contextlib.closing(XfrmSocket()) as apart:
            return apart.sas()

    def uses_apart(self) -> Uses:
        """What all SAs have carried, for another thread as `sas_apart`, at a twentieth of its cost."""
        with contextlib.closing(XfrmSocket()) as apart:
            return Uses(apart.dump(Msg.GETSA, Msg.NEWSA, uses.decode))

    def use(self, protocol: ProtocolId, spi: int, dst: Address) -> Use | None:
        """What one SA has carried, None when there is no such."""
        found = self.get(Msg.GETSA, states.encode_id(protocol, spi, dst), Msg.NEWSA, uses.decode)
        return found[1] if found else None

    def sa(self, protocol: ProtocolId, spi: int, dst: Address) -> ObservedSa | None:
        """One SA with its counters, None when there is no such."""
        return self.get(Msg.GETSA, states.encode_id(protocol, spi, dst), Msg.NEWSA, states.decode)
