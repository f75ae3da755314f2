# SPDX-License-Identifier: GPL-2.0-or-later
"""The way in: the text of a policy file to a PolicySet, or all that is wrong with it."""

from __future__ import annotations

from xfrmd.model.source import Severity, Span
from xfrmd.policy.composer import compose
from xfrmd.policy.consistency import Checker
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.problems import BAD, Problems
from xfrmd.policy.resolve import Resolver, SecretReader
from xfrmd.policy.tables import DOCUMENT
from xfrmd.policy.words import PolicySet

_DOCUMENT = DOCUMENT.kind()


def load(
    source: str | bytes, file: str, read_secret: SecretReader, unread_secret: Severity = Severity.ERROR
) -> PolicySet:
    """Read a policy file.

    `source` is its content (octets are decoded as UTF-8 here, so that bad ones are reported with their place), `file`
    the name that places carry. `read_secret` gives the octets of a secret that the policy names, or raises
    CredentialError: a problem of the severity `unread_secret`, but only a warning for a rule that is not in force. As
    a warning, the secret is left empty, which suits a check on a host that must not know it. Raises PolicyErrors with
    every problem of the file.
    """
    with collector_paused():
        return _load(source, Problems(file), read_secret, unread_secret)


def _load(source: str | bytes, problems: Problems, read_secret: SecretReader, unread_secret: Severity) -> PolicySet:
    root = compose(source, problems)
    problems.check()
    if root is None:
        problems.error(Span(problems.file, 1, 1), "the file is empty", "see config/ for examples to begin with")
        problems.check()
        raise AssertionError  # for the type checker: check() has raised
    document = _DOCUMENT.read(root, problems)
    if document is not BAD:
        Checker(document, problems).check()
        if not problems.errors:
            policies = Resolver(document, problems, read_secret, unread_secret).build()
            problems.check()
            return policies
    problems.check()
    raise AssertionError  # likewise: what is BAD was reported
