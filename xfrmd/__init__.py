# SPDX-License-Identifier: GPL-2.0-or-later
"""xfrmd: the Windows IPsec policy model on Linux."""

__version__ = "0.1.0"
