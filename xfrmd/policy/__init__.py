# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML with places to PolicySet, every error at once."""

from xfrmd.policy.loader import load
from xfrmd.policy.problems import PolicyErrors

__all__ = ["PolicyErrors", "load"]
