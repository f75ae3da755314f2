# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports, event loop, reconciler, API server: where the cores meet the edges."""
