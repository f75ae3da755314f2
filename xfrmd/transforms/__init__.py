# SPDX-License-Identifier: GPL-2.0-or-later
"""Algorithms: a file per IKE Transform Type, a row per algorithm."""
