# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools for this repository; nothing here is installed."""
