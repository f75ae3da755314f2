# SPDX-License-Identifier: GPL-2.0-or-later
"""How identities are shown: they may come from strangers."""

from __future__ import annotations

import pytest

from xfrmd.model.pad import Identity, IdType


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (Identity(IdType.IPV4_ADDR, bytes((10, 0, 0, 1))), "10.0.0.1"),
        (Identity(IdType.IPV6_ADDR, bytes(15) + b"\x01"), "::1"),
        (Identity(IdType.IPV4_ADDR, b"\x0a"), "1:0a"),
        (Identity(IdType.FQDN, b"gw.example"), "gw.example"),
        (Identity(IdType.RFC822_ADDR, b"a@b"), "a@b"),
        (Identity(IdType.FQDN, b"a\n\x1b[2Jroot\x7f\xff"), "a\\x0a\\x1b[2Jroot\\x7f\\xff"),
        (Identity(IdType.FQDN, b""), ""),
        (Identity(IdType.KEY_ID, b"\n"), "keyid:0x0a"),
        (Identity(200, b"x"), "200:78"),
    ],
)
def test_an_identity_is_shown_without_control_characters(identity: Identity, text: str) -> None:
    assert str(identity) == text
    assert text.isprintable()
