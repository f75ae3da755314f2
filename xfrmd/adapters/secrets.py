# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets from where a policy says they are kept: a file of its own, or a credential of systemd."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from xfrmd import limits
from xfrmd.errors import CredentialError
from xfrmd.model.secret import SecretRef, SecretSource


class SecretFiles:
    """Reads secrets. `environ` holds CREDENTIALS_DIRECTORY (systemd.exec(5)) where there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._directory = environ.get("CREDENTIALS_DIRECTORY", "")

    def __call__(self, ref: SecretRef) -> bytes:
        """The octets of a secret. Raises CredentialError with what is wrong and how to mend it."""
        path = self._path(ref)
        try:
            with path.open("rb") as stream:
                _check_access(path, os.fstat(stream.fileno()))
                octets = stream.read(limits.SECRET_SIZE + 1)
        except OSError as error:
            raise CredentialError(f"{path} cannot be read: {error.strerror}") from error
        if len(octets) > limits.SECRET_SIZE:
            raise CredentialError(f"{path} is longer than {limits.SECRET_SIZE} octets: no secret")
        return octets

    def _path(self, ref: SecretRef) -> Path:
        if ref.source is SecretSource.FILE:
            return Path(ref.name)
        if not self._directory:
            raise CredentialError(f"there is no credential {ref.name}: add LoadCredential={ref.name}:PATH to the unit")
        if "/" in ref.name or ref.name in ("", ".", ".."):
            raise CredentialError(f"{ref.name!r} is no name of a credential")
        return Path(self._directory) / ref.name


def _check_access(path: Path, found: os.stat_result) -> None:
    """A secret that everyone may read is none."""
    if not stat.S_ISREG(found.st_mode):
        raise CredentialError(f"{path} is no regular file")
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise CredentialError(f"{path} is open to every user: chmod 600 {path}")
