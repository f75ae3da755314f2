# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit codes of both programs."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a program's end says to a script."""

    OK = 0
    ERROR = 1
    """A bad policy, or a request that was refused."""
    USAGE = 2
    NOT_RUNNING = 3
    NOT_AUTHORISED = 4
    DEGRADED = 5
    """It works, but not as wanted."""
    PORT_IN_USE = 6
    NO_PRIVILEGE = 7
    KERNEL_LACKS = 8
    """The kernel has no ESP, nftables or nfqueue."""
    DIFFERS = 9
    """A difference of a kind was found that must not be."""
    NO_POLICY = 10
    """No policy can be put in force, though one is assigned."""
    NOT_KEPT = 11
    """The state directory cannot be written."""
    DAMAGED = 12
    """What a policy store keeps is not whole: damaged, or written in half."""
    NEWER = 13
    """A newer version of xfrmd wrote what a policy store keeps."""
    KERNEL_REFUSES = 14
    """The policy is good, and the kernel refuses it."""
