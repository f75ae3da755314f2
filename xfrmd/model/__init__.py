# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared words: frozen values that every layer may use. Standard library only, no I/O, no clock."""
