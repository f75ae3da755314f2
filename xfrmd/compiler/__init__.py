# SPDX-License-Identifier: GPL-2.0-or-later
"""PolicySet and HostFacts to Plan: specific filters, weights, nftables, SPD, PAD; explain and difference. Pure."""
