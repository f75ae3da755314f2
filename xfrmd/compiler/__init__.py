# SPDX-License-Identifier: GPL-2.0-or-later
"""PolicySet and HostFacts to Plan: specific filters, weights, nftables, SPD, PAD; explain and difference. Pure."""

from __future__ import annotations

from xfrmd.compiler.check import check
from xfrmd.compiler.compile import compile_policy

__all__ = ["check", "compile_policy"]
