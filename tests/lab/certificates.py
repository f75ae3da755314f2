# SPDX-License-Identifier: GPL-2.0-or-later
"""A PKI for tests with real peers: files for xfrmd and for charon, and how each of them names those."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.strongswan import PLUGINS
from tests.lab import e2e
from tests.unit import pki
from tests.unit.pki import DAY, Holder

CHARON_PLUGINS = f"{PLUGINS} pkcs8 mgf1"


def now() -> dt.datetime:
    """Certificates are judged by the clock of the lab."""
    return dt.datetime.now(dt.UTC)


def root(kind: str, name: str = "Root", **changes: Any) -> Holder:
    """An authority, valid now unless `changes` say otherwise."""
    usual: dict[str, Any] = {"start": now() - 2 * DAY, "end": now() + 2 * DAY}
    return pki.root(name, kind, **(usual | changes))


def host(name: str, by: Holder, kind: str, **changes: Any) -> Holder:
    """A host's certificate with the name NAME.example, valid now unless `changes` say otherwise."""
    usual: dict[str, Any] = {"san": [f"{name}.example"], "start": now() - DAY, "end": now() + DAY}
    return pki.issue(name, by=by, kind=kind, **(usual | changes))


@dataclass(frozen=True)
class Files:
    """The files of one xfrmd. Each method of authentication has three of its own."""

    directory: Path

    def rootca(self, authority: Holder, chain: Iterable[Holder], more: str = "") -> str:
        """The method as a policy has it."""
        chain = list(chain)
        number = len(list(self.directory.glob("ca*")))
        contents = {"ca": authority.pem, "host": b"".join(one.pem for one in chain), "key": chain[0].key_pem}
        for name, content in contents.items():
            path = self.directory / f"{name}{number}.pem"
            path.touch(mode=0o600)
            path.write_bytes(content)
        words = {"ca": "ca", "certificate": "host", "key": "key"}
        files = (f'{word}: {{file: "{self.directory}/{name}{number}.pem"}}' for word, name in words.items())
        return f"rootca: {{{', '.join(files)}{more}}}"


def policy(authentication: str) -> str:
    """The lab's usual policy with another authentication."""
    return e2e.policy().replace('psk: {file: "{psk}"}', authentication)


def charon(here: str, there: str, *, local: str, remote: str, more: str = "", auth: str = "pubkey") -> str:
    """A swanctl.conf for transport mode by the certificate host.pem. `local` and `remote` are identities."""
    conf = e2e.charon(here, there)
    head, _, tail = conf.partition("secrets {")
    del tail
    return (
        head.replace("auth = psk", f"auth = {auth}")
        .replace(f"id = {here}", f'id = "{local}"\n      certs = host.pem', 1)
        .replace(f"id = {there}", f'id = "{remote}"', 1)
        .replace("version = 2", f"version = 2\n    {more}")
    )


def charon_files(authorities: Iterable[Holder], own: Holder, between: Iterable[Holder] = ()) -> dict[str, bytes]:
    """What charon has: authorities that it trusts, its own certificate and key."""
    trusted = {f"x509ca/ca{number}.pem": one.pem for number, one in enumerate(authorities)}
    middle = {f"x509ca/middle{number}.pem": one.pem for number, one in enumerate(between)}
    return {**trusted, **middle, "x509/host.pem": own.pem, "private/host.key": own.key_pem}
