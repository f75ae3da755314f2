# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from xfrmd.adapters.link_local import interface_of, is_link_local
from xfrmd.model.addresses import Address

LISTED = """\
00000000000000000000000000000001 01 80 10 80       lo
fd010000000000000000000000000001 02 40 00 80     eth0
fe80000000000000001122fffe334455 0f 40 20 80     eth1

fe80
"""


def test_the_interface_of_an_address_is_found(tmp_path: Path) -> None:
    file = tmp_path / "if_inet6"
    file.write_text(LISTED)
    assert interface_of(Address.parse("fe80::11:22ff:fe33:4455"), file) == 15
    assert interface_of(Address.parse("fe80::1"), file) == 0
    assert interface_of(Address.parse("fe80::1"), tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("fe80::1", True), ("febf::1", True), ("fec0::1", False), ("fd00::1", False), ("1.2.3.4", False)],
)
def test_link_local_addresses_are_told_apart(text: str, wanted: bool) -> None:
    assert is_link_local(Address.parse(text)) is wanted
