# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML with places to PolicySet, every error at once."""
