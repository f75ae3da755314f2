# SPDX-License-Identifier: GPL-2.0-or-later
"""What commands read from this host when no daemon is asked: files, secrets, and the facts of the network."""

from __future__ import annotations

from pathlib import Path

from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.model.facts import HostFacts
from xfrmd.model.source import Severity
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.resolve import SecretReader, blank
from xfrmd.policy.words import PolicySet


def read_file(name: str) -> bytes:
    """A policy or facts file, "-" for standard input, one octet more than is allowed at most. Raises PolicyError."""
    try:
        with Path("/dev/stdin" if name == "-" else name).open("rb") as stream:
            return stream.read(limits.POLICY_FILE_SIZE + 1)
    except OSError as error:
        raise PolicyError(f"{name}: {error.strerror or error}") from error


def policy(name: str, read_secret: SecretReader = blank) -> PolicySet:
    """A policy file, loaded. A secret that cannot be read is a warning: only the daemon needs it."""
    return load(read_file(name), name, read_secret, Severity.WARNING)


def facts(name: str | None) -> HostFacts:
    """The facts of a file, else those of this host. Raises PolicyError or KernelError."""
    if name is not None:
        return load_facts(read_file(name), name)
    # Costs a tenth of a second to import, and needs a Linux kernel: only who asks pays.
    from xfrmd.adapters.facts import gather  # noqa: PLC0415

    return gather()
