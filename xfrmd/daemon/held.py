# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon holds of each policy store, what is wrong with one, and what is done about it at a start."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from xfrmd.control.exits import ExitCode
from xfrmd.model.source import Problem, Severity
from xfrmd.model.store import Store
from xfrmd.policy.words import PolicySet


class Origin(enum.Enum):
    """How a store came to the policy that it holds."""

    FILE = "file"
    """Read from the file of the command line."""
    APPLIED = "applied"
    """Given by `apply`, until the file is read again."""
    ASSIGNED = "assigned"
    """Given by `assign`, until it is unassigned."""
    LAST_GOOD = "last-good"
    """Kept from when it was in force last."""


@dataclass(frozen=True, slots=True)
class Held:
    """The policies of a store. `checksum` is that of all that they were made of, `since` wall-clock time."""

    policies: PolicySet
    file: str
    checksum: str
    since: float
    origin: Origin
    allow_lockout: bool = False


class Condition(enum.Enum):
    """What is wrong with a store."""

    UNREADABLE = "unreadable"
    """Its policy is missing, cannot be read, or the store cannot be reached."""
    BAD = "bad"
    """Its policy has errors."""
    DAMAGED = "damaged"
    """What is kept of it is not whole: a damaged file, or one that was written in half."""
    NEWER = "newer"
    """A newer version of xfrmd wrote it."""
    REFUSED = "refused"
    """The policy is good, and the kernel refuses it."""
    SECRETS = "secrets"
    """The policy is in force with secrets that cannot be read: nobody is authenticated by them."""
    UNSAVED = "unsaved"
    """The policy is in force, and cannot be kept for the next start."""


REMEDIES: Final = {
    Condition.UNREADABLE: "put it there, readable for the daemon's user, then xfrmctl reload",
    Condition.BAD: "mend it (xfrmctl check tells every problem), then xfrmctl reload",
    Condition.DAMAGED: "mend the policy that was read first, then xfrmctl reload: what is kept is written anew",
    Condition.NEWER: "install the version that wrote it, or move the file away and assign the policy again",
    Condition.REFUSED: "see journalctl -u xfrmd for what the kernel says, change the policy, then xfrmctl reload",
    Condition.SECRETS: "put the secrets back where the policy names them, then xfrmctl reload",
    Condition.UNSAVED: "make the state directory writable and make room on its disk, then xfrmctl reload",
}
ENDS: Final = {
    Condition.DAMAGED: ExitCode.DAMAGED,
    Condition.NEWER: ExitCode.NEWER,
    Condition.REFUSED: ExitCode.KERNEL_REFUSES,
}
"""Exit codes of a start that ends as a store has this trouble; NO_POLICY for any other."""
ASSIGN: Final = "assign the policy again: xfrmctl assign --store persistent FILE"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a store, for people: what and where, and what to do."""

    condition: Condition
    message: str
    remedy: str


class Resort(enum.Enum):
    """What a start does where the policy of a store cannot be used."""

    LAST_GOOD = "what was in force last of this store"
    LOCAL = "the policy of the local store"
    PERSISTENT = "the persistent policy alone"
    BLOCK = "the start ends; the kernel is left as it was, and the unit's failure loads the block filter"


class Row(NamedTuple):
    """A row of the failure matrix. `kept`: the store's last good policy can be used, or its copy; `persistent`: is a
    persistent policy in force? None: either way.
    """

    store: Store
    kept: bool
    persistent: bool | None
    resort: Resort


MATRIX: Final = (
    Row(Store.PERSISTENT, True, None, Resort.LAST_GOOD),
    Row(Store.PERSISTENT, False, None, Resort.BLOCK),
    Row(Store.DIRECTORY, True, None, Resort.LAST_GOOD),
    Row(Store.DIRECTORY, False, None, Resort.LOCAL),
    Row(Store.LOCAL, True, None, Resort.LAST_GOOD),
    Row(Store.LOCAL, False, True, Resort.PERSISTENT),
    Row(Store.LOCAL, False, False, Resort.BLOCK),
)
"""What a start does, whatever is wrong with a store: Windows' failure matrix, where a policy that cannot be used is not
applied and the persistent one stays, with our rule ahead of it: a bad policy never replaces a good one.
"""


def resort(store: Store, *, kept: bool, persistent: bool) -> Resort:
    """What a start does where a store's own policy cannot be used."""
    return next(
        row.resort for row in MATRIX if (row.store, row.kept) == (store, kept) and row.persistent in (None, persistent)
    )


def first_error(problems: Iterable[Problem]) -> str:
    """The first error of many, and how many there are."""
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if not errors:
        return "it cannot be used"
    more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
    return f"{errors[0].at}: {errors[0].message}{more}"
