# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands: tables of what they take and print."""
