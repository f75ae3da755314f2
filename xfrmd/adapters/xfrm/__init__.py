# SPDX-License-Identifier: GPL-2.0-or-later
"""XFRM netlink (<linux/xfrm.h>): the kernel's SPD and SAD, and its events."""
