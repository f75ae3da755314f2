# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes from a web server or from the disk, as targets of guided fuzzing: octets are taken or refused by the
errors that their module promises.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import random
from collections.abc import Coroutine
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from tests.unit.pki import NOW
from xfrmd.adapters import http
from xfrmd.adapters.durable import Disk
from xfrmd.adapters.lasting_secrets import LastingSecrets
from xfrmd.adapters.revoked_file import RevokedFile
from xfrmd.adapters.state_file import StateError, StateFile
from xfrmd.adapters.state_key import StateKey, fresh_page
from xfrmd.errors import CredentialError, PolicyError
from xfrmd.ike.saved import Record
from xfrmd.limits import fetching
from xfrmd.model.secret import Secret
from xfrmd.policy import load
from xfrmd.policy.package import Package, decode

_MOST = 10_000


def answer(data: bytes) -> None:
    """What a web server answers, all at once, and then the end of its connection."""
    loop = asyncio.new_event_loop()
    try:
        stream = asyncio.StreamReader(fetching.HEAD, loop)
        stream.feed_data(data)
        stream.feed_eof()
        assert len(_at_once(_body(stream))) <= _MOST
    except (http.FetchError, OSError, ValueError, asyncio.IncompleteReadError):
        return  # what `fetch` makes a FetchError of
    finally:
        loop.close()


async def _body(stream: asyncio.StreamReader) -> bytes:
    return await http._body(stream, await http._answer_head(stream), _MOST)


def _at_once(steps: Coroutine[Any, Any, bytes]) -> bytes:
    """Where all octets are here, nothing is waited for."""
    try:
        steps.send(None)
    except StopIteration as stop:
        found: bytes = stop.value
        return found
    raise AssertionError("it waits for more")


def package(data: bytes) -> None:
    """A policy that a store keeps: as it is, and with a head that fits. What is in it is loaded as a policy."""
    head = f"xfrmd-policy 1 {hashlib.sha256(data).hexdigest()} {len(data)}\n".encode()
    for octets in (data, head + data):
        try:
            _load(decode(octets).package)
        except PolicyError:
            continue


def policy(data: bytes) -> None:
    """The text of a policy."""
    try:
        load(data, "policy.yaml", _secret)
    except PolicyError:
        return


def _load(one: Package) -> None:
    load(one.text, one.file, _secret, sources=one.sources)


def _secret(_name: object) -> bytes:
    raise CredentialError("there is none")


class _Given(Disk):
    """A disk whose files all have the same content."""

    content = b""

    def read(self, path: Path, most: int) -> bytes | None:
        """As FileLayer says."""
        del path
        return self.content[:most]


class Files:
    """Files of the state directory, of which only whoever may write there makes what we have not."""

    def __init__(self) -> None:
        self.directory = Path(mkdtemp(prefix="xfrmd-fuzz-"))
        atexit.register(rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "file"
        self.path.touch(0o600)
        self.disk = _Given()
        rng = random.Random(1)
        self.page = fresh_page(rng.randbytes)
        first = StateFile(self.directory / "state", StateKey(self.page), rng.randbytes, 1)
        first.append([Record("a", Secret(b"one"))])
        first.close()
        self.state = (self.directory / "state").read_bytes()

    def revoked(self, data: bytes) -> None:
        """Who was called revoked: no row that is believed is another than it says."""
        self.disk.content = data
        try:
            for one in RevokedFile(self.path, self.disk).load(NOW):
                assert one.status.revoked
                assert one.status.until >= NOW
        except (OSError, ValueError):
            return

    def secrets(self, data: bytes) -> None:
        """Secrets that outlive a run: a damaged file counts as none."""
        self.disk.content = data
        _, found = LastingSecrets(self.path, self.disk, 1.0)._read()
        assert all(len(one.reveal()) == 32 for one in found)

    def saved(self, data: bytes) -> None:
        """A state file: the first octet says how much of a good one stands before the others."""
        whole = self.state[: data[0] if data else 0] + data[1:]
        (self.directory / "state").write_bytes(whole)
        os.chmod(self.directory / "state", 0o600)  # noqa: PTH101 (the file was there)
        file = StateFile(self.directory / "state", StateKey(self.page), random.Random(2).randbytes, 1)
        try:
            found = file.read()
        except StateError:
            return
        assert found == {"a": b"one"}, "only what was written is read"
