# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML with places to PolicySet, every error at once."""

from xfrmd.model.source import PolicyErrors
from xfrmd.policy.loader import load

__all__ = ["PolicyErrors", "load"]
