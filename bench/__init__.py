# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements beside the peers, run by `make bench`: `python -m bench [--quick] [--json FILE] [--record] [NAME]`."""
