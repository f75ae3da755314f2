# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies for tests: a good one, with one piece put in place of another."""

from __future__ import annotations

from xfrmd.model.secret import SecretRef
from xfrmd.model.source import Problem
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.words import Filter, PolicySet

SECRET = b"a shared secret of some length"
GOOD = """\
version: 1
filterlists:
  - name: smb
    filters:
      - {srcaddr: me, dstaddr: any, protocol: tcp, dstport: 445}
filteractions:
  - name: require
    action: negotiate
policies:
  - name: Servers
    assign: yes
    rules:
      - name: protect smb
        filterlist: smb
        filteraction: require
        psk: a shared secret of some length
"""

TUNNEL = """\
version: 1
filterlists:
  - {name: there, filters: [{srcaddr: 10.1.0.0/16, dstaddr: 10.2.0.0/16, mirrored: no}]}
  - {name: back, filters: [{srcaddr: 10.2.0.0/16, dstaddr: 10.1.0.0/16, mirrored: no}]}
filteractions: [{name: require}]
policies:
  - name: Site
    assign: yes
    rules:
      - {name: out, filterlist: there, filteraction: require, tunnel: 198.51.100.2, psk: a shared secret of ours}
      - {name: in, filterlist: back, filteraction: require, tunnel: 10.1.0.5, psk: a shared secret of ours}
"""
SECOND_TUNNEL = """\
      - {name: again, filterlist: there, filteraction: require, tunnel: 198.51.100.3, psk: a shared secret of ours}
"""


def changed(old: str, new: str) -> str:
    """The good policy with `new` in place of `old`, which it holds once."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def with_filter(text: str) -> str:
    """The good policy with this flow mapping as its only filter."""
    return changed("{srcaddr: me, dstaddr: any, protocol: tcp, dstport: 445}", text)


def read(text: str | bytes) -> PolicySet:
    """Load a policy whose secrets are all SECRET."""

    def secret(ref: SecretRef) -> bytes:
        return SECRET

    return load(text, "p.yaml", secret)


def filter_of(text: str) -> Filter:
    """The one filter of a policy made by `with_filter`."""
    (rule,) = read(with_filter(text)).policies[0].rules
    (found,) = rule.filter_list.filters
    return found


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    """What is wrong with a policy; () when nothing is."""
    try:
        return read(text).warnings
    except PolicyErrors as errors:
        return errors.problems
