# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets and certificates from where a policy says they are kept: a file, or a systemd credential."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from xfrmd import limits
from xfrmd.errors import CredentialError
from xfrmd.model.secret import SecretRef, SecretSource

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
WRITERS: Final = stat.S_IWGRP | stat.S_IWOTH


def secret_reader(credentials: str | None) -> Callable[[SecretRef], bytes]:
    """A function that reads secrets. `credentials` is the value of $CREDENTIALS_DIRECTORY, None where there is none.

    It raises CredentialError, with the remedy, for a secret that is missing, unreadable, empty, larger than
    limits.SECRET_SIZE (a file of certificates: limits.CERTIFICATE_FILE; of revocation lists: limits.CRL_FILE), or open
    to other users (certificates: to be written). One line end at the end is no part of a secret.
    """
    directory = Path(credentials) if credentials else None

    def read(reference: SecretRef) -> bytes:
        if reference.source is SecretSource.CREDENTIAL:
            return _content(_credential_path(reference.name, directory), reference, forbidden=0)
        path = Path(reference.name)
        if not path.is_absolute():
            raise CredentialError(f"secret file {reference.name!r}: give its absolute path")
        return _content(path, reference, forbidden=WRITERS if reference.public else OTHERS)

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


def _content(path: Path, reference: SecretRef, *, forbidden: int) -> bytes:
    """What a file holds. systemd guards its credentials by ACLs, which make their modes look open to the group."""
    kind, most = ("certificate", limits.CERTIFICATE_FILE) if reference.public else ("secret", limits.SECRET_SIZE)
    if reference.lists:
        kind, most = "revocation list", limits.CRL_FILE
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CredentialError(f"{kind} file {path}: not a regular file")
        if status.st_mode & forbidden:
            mode, what = stat.S_IMODE(status.st_mode), "write" if reference.public else "use"
            cure = f"run chmod {'go-w' if reference.public else '600'} {path}"
            raise CredentialError(f"{kind} file {path}: other users may {what} it (mode {mode:04o}); {cure}")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero octet
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CredentialError(f"{kind} file {path}: {reason}") from error
    if len(content) > most:
        raise CredentialError(f"{kind} file {path}: more than {most} octets is no {kind}")
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise CredentialError(f"{kind} file {path}: it is empty")
    return secret
