# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose IKE a peer has, by the Vendor IDs that are known in public."""

from __future__ import annotations

import pytest

from xfrmd.ike.v2.vendors import TABLE, guess

WINDOWS = "1e2b516905991c7d7c96fcbfb587e461"


@pytest.mark.parametrize(
    ("vendors", "guessed"),
    [
        (["882fe56d6fd20dbc2251613b2ebe5beb"], "strongSwan"),
        ([b"OE-Libreswan-4.10".hex()], "libreswan 4.10"),
        ([b"OE-Libreswan-5.4_rc1".hex()], "libreswan 5.4_rc1"),
        ([WINDOWS + "00000004"], "Windows Server 2003"),
        ([WINDOWS + "00000007"], "Windows 7"),
        ([WINDOWS + "00000009"], "Windows 8, Server 2012 or later"),
        ([WINDOWS + "0000000a"], "Windows (number 10)"),
        ([WINDOWS], "Windows"),
        (["26244d38eddb61b3172a36e3d0cfb819", WINDOWS + "00000009"], "Windows 8, Server 2012 or later"),
        (["e3a5966a76379fe707228231e5ce8652"], "Windows"),
        (["7003cbc1097dbe9c2600ba6983bc8b35"], "racoon"),
        ([b"CISCO-DELETE-REASON".hex()], "Cisco"),
        ([b"FLEXVPN-SUPPORTED".hex()], "Cisco"),
        ([b"OpenIKED-7.4".hex()], "OpenIKED 7.4"),
        (["f4ed19e0c114eb516faaac0ee37daf2807b4381f000000010000138a"], "Check Point"),
        ([b"xfrmd".hex()], "xfrmd"),
        (["afcad71368a1f1c96b8696fc77570100"], ""),
        ([""], ""),
        ([], ""),
    ],
)
def test_known_vendor_ids(vendors: list[str], guessed: str) -> None:
    assert guess(bytes.fromhex(vendor) for vendor in vendors) == guessed


@pytest.mark.parametrize("version", [b"4\x1b[2J", b"4.10 by rule 'x'", b"\xff\xfe", b"4;rm", b"x" * 25 + b"\n"])
def test_a_version_cannot_disturb_a_terminal_or_a_journal(version: bytes) -> None:
    shown = guess([b"OE-Libreswan-" + version])
    assert shown == "libreswan " + "x" * 24 if version.startswith(b"x") else shown == "libreswan"


def test_no_row_hides_another() -> None:
    for number, row in enumerate(TABLE):
        assert guess([row.begins]).split()[0] == row.maker.split()[0], number
