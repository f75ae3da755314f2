# SPDX-License-Identifier: GPL-2.0-or-later
"""The sans-IO IKE engine: `handle(event, now) -> effects`."""
