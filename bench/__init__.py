# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements, run by `make bench`: `python -m bench [--json] [--record] [SUITE]`."""
