# SPDX-License-Identifier: GPL-2.0-or-later
"""A sealed message in one datagram, with an IV of the test's choice."""

from __future__ import annotations

from collections.abc import Iterable

from xfrmd.ike.v2 import fragments
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import Cipher
from xfrmd.ike.v2.payloads import Payload


def build_sealed(header: Header, payloads: Iterable[Payload], cipher: Cipher, iv: bytes) -> bytes:
    return fragments.build(header, payloads, cipher, lambda: iv, None)
