# SPDX-License-Identifier: GPL-2.0-or-later
"""PolicySet and HostFacts to Plan: specific filters, weights, nftables, SPD, PAD; explain and difference. Pure."""

from __future__ import annotations

from xfrmd.compiler.check import Checked, check, compile_and_check, examine
from xfrmd.compiler.compile import Compilation, compile_policy

__all__ = ["Checked", "Compilation", "check", "compile_and_check", "compile_policy", "examine"]
