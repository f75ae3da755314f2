# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets from where a policy says they are kept: a file, or a systemd credential."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from xfrmd import limits
from xfrmd.errors import CredentialError
from xfrmd.model.secret import SecretRef, SecretSource

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secret_reader(credentials: str | None) -> Callable[[SecretRef], bytes]:
    """A function that reads secrets. `credentials` is the value of $CREDENTIALS_DIRECTORY, None where there is none.

    It raises CredentialError, with the remedy, for a secret that is missing, unreadable, empty, larger than
    limits.SECRET_SIZE, or open to other users. One line end at the end is no part of a secret.
    """
    directory = Path(credentials) if credentials else None

    def read(reference: SecretRef) -> bytes:
        if reference.source is SecretSource.CREDENTIAL:
            return _content(_credential_path(reference.name, directory), private=False)
        path = Path(reference.name)
        if not path.is_absolute():
            raise CredentialError(f"secret file {reference.name!r}: give its absolute path")
        return _content(path, private=True)

    return read


def _credential_path(name: str, directory: Path | None) -> Path:
    if directory is None:
        raise CredentialError(
            f"credential {name!r}: no credentials were handed over; add LoadCredential={name}:FILE to the unit, "
            "or name a file in the policy instead"
        )
    if name != Path(name).name or name in ("", ".", ".."):
        raise CredentialError(f"credential {name!r}: a credential's name is a plain file name")
    return directory / name


def _content(path: Path, *, private: bool) -> bytes:
    """What a file holds. systemd guards its credentials by ACLs, which make their modes look open to the group."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CredentialError(f"secret file {path}: not a regular file")
        if private and status.st_mode & OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise CredentialError(f"secret file {path}: other users may use it (mode {mode:04o}); run chmod 600 {path}")
        with path.open("rb") as file:
            content = file.read(limits.SECRET_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero octet
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CredentialError(f"secret file {path}: {reason}") from error
    if len(content) > limits.SECRET_SIZE:
        raise CredentialError(f"secret file {path}: more than {limits.SECRET_SIZE} octets is no secret")
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise CredentialError(f"secret file {path}: it is empty")
    return secret
