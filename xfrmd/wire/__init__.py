# SPDX-License-Identifier: GPL-2.0-or-later
"""Bounded reading and writing of octets, and fields declared once. Knows no protocol."""
