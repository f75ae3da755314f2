# SPDX-License-Identifier: GPL-2.0-or-later
"""Name servers of a resolv.conf, however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from xfrmd.adapters.resolv_conf import name_servers
from xfrmd.adapters.sysctl import keep_first_packets


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 10.0.0.1\nnameserver fd00::1\n", ["10.0.0.1", "fd00::1"]),
        ("# nameserver 10.0.0.9\nsearch example.org\n nameserver\t10.0.0.1 # the first\n", ["10.0.0.1"]),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.1\n", ["10.0.0.1"]),
        ("nameserver fe80::1%eth0\n", ["fe80::1"]),
        ("nameserver nowhere\nnameserver\nnameserver 10.0.0.300\n", []),
        ("", []),
        ("nameserver 10.0.0.1\n\xff\xfe\n", ["10.0.0.1"]),
        ("".join(f"nameserver 10.0.1.{n}\n" for n in range(99)), [f"10.0.1.{n}" for n in range(16)]),
    ],
)
def test_name_servers_are_read(tmp_path: Path, text: str, found: list[str]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(text.encode("latin-1"))
    read = name_servers(file, tmp_path / "none")
    assert [str(address) for address in read.servers] == found
    assert read.file == file


def test_behind_the_stub_of_systemd_resolved_stand_its_servers(tmp_path: Path) -> None:
    file, resolved = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    file.write_text("nameserver 127.0.0.53\noptions edns0 trust-ad\n")
    resolved.write_text("nameserver 10.0.0.1\nnameserver fe80::1%eth0\n")
    read = name_servers(file, resolved)
    assert [str(address) for address in read.servers] == ["10.0.0.1", "fe80::1"]
    assert read.file == resolved
    assert read.asked == ("127.0.0.53",)


def test_a_resolver_of_this_host_beside_another_is_no_server_of_the_network(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver ::1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n")
    read = name_servers(file, tmp_path / "none")
    assert [str(address) for address in read.servers] == ["10.0.0.1", "fe80::1"]
    assert read.asked == ("::1", "10.0.0.1", "fe80::1%eth0")


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert name_servers(tmp_path / "resolv.conf", tmp_path / "resolved.conf").servers == ()


@pytest.mark.parametrize("value", ["0\n", "1\n"])
def test_first_packets_are_kept_whatever_was_set(tmp_path: Path, value: str) -> None:
    file = tmp_path / "xfrm_larval_drop"
    file.write_text(value)
    assert keep_first_packets(file) == ""
    assert file.read_text().strip() == "0"


def test_a_kernel_without_the_setting_is_told(tmp_path: Path) -> None:
    assert "no XFRM" in keep_first_packets(tmp_path / "missing")


def test_a_setting_that_cannot_be_changed_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert "sysctl -w" in keep_first_packets(tmp_path / "1")
