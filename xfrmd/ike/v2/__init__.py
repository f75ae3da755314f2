# SPDX-License-Identifier: GPL-2.0-or-later
"""IKEv2 (RFC 7296)."""
