# SPDX-License-Identifier: GPL-2.0-or-later
"""PolicySet and HostFacts to Plan: specific filters, weights, nftables, SPD, PAD; explain and difference. Pure."""

from __future__ import annotations

from xfrmd.compiler.check import check, examine
from xfrmd.compiler.compile import Compilation, compile_policy

__all__ = ["Compilation", "check", "compile_policy", "examine"]
