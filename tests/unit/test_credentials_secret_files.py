# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets from files and systemd credentials."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xfrmd import limits
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.errors import CredentialError
from xfrmd.model.secret import SecretRef, SecretSource


def private(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def read_file(path: Path | str) -> bytes:
    return secret_reader(None)(SecretRef(SecretSource.FILE, str(path)))


# rfc 7296: psk-input
@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2", b"hunter2"),
        (b"hunter2\n", b"hunter2"),
        (b"hunter2\r\n", b"hunter2"),
        (b"two\nlines\n\n", b"two\nlines\n"),
        (b" spaces \n", b" spaces "),
        (b"\xff\x00\xfe", b"\xff\x00\xfe"),
        (b"x" * limits.SECRET_SIZE, b"x" * limits.SECRET_SIZE),
    ],
)
def test_one_line_end_is_no_part_of_a_secret(tmp_path: Path, content: bytes, secret: bytes) -> None:
    assert read_file(private(tmp_path / "psk", content)) == secret


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o666, 0o601])
def test_a_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "psk", b"hunter2", mode)
    with pytest.raises(CredentialError, match=f"chmod 600 {path}"):
        read_file(path)


# rfc 7296: psk-input
def test_what_is_no_secret_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    cases: list[tuple[Path | str, str]] = [
        (private(tmp_path / "empty", b""), "empty"),
        (private(tmp_path / "blank", b"\r\n"), "empty"),
        (private(tmp_path / "large", bytes(limits.SECRET_SIZE + 1)), "more than"),
        (tmp_path / "fifo", "regular"),
        (tmp_path, "regular"),
        (tmp_path / "missing", "No such file"),
        ("relative", "absolute"),
        ("/a\0b", "null"),
    ]
    for path, words in cases:
        with pytest.raises(CredentialError, match=words):
            read_file(path)


def test_errors_never_show_the_content(tmp_path: Path) -> None:
    path = private(tmp_path / "psk", b"hunter2" * limits.SECRET_SIZE)
    with pytest.raises(CredentialError) as caught:
        read_file(path)
    assert "hunter2" not in str(caught.value)


def test_credentials_come_from_the_directory_that_systemd_names(tmp_path: Path) -> None:
    private(tmp_path / "site-psk", b"hunter2\n", 0o440)  # systemd's ACLs show as group bits
    read = secret_reader(str(tmp_path))
    assert read(SecretRef(SecretSource.CREDENTIAL, "site-psk")) == b"hunter2"
    with pytest.raises(CredentialError, match="No such file"):
        read(SecretRef(SecretSource.CREDENTIAL, "other"))
    for name in ("", ".", "..", "../etc/shadow", "/etc/shadow", "a/b", "a\0b"):
        with pytest.raises(CredentialError):
            read(SecretRef(SecretSource.CREDENTIAL, name))


@pytest.mark.parametrize("directory", [None, ""])
def test_credentials_without_systemd_say_what_to_do(directory: str | None) -> None:
    with pytest.raises(CredentialError, match="LoadCredential=site-psk:FILE"):
        secret_reader(directory)(SecretRef(SecretSource.CREDENTIAL, "site-psk"))
