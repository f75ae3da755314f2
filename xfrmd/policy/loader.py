# SPDX-License-Identifier: GPL-2.0-or-later
"""The way in: the text of a policy file to a PolicySet, or all that is wrong with it."""

from __future__ import annotations

from xfrmd.model.source import Severity, Span
from xfrmd.policy.consistency import Checker
from xfrmd.policy.includes import Document, gather
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.problems import BAD, Bad, Problems
from xfrmd.policy.records import Read
from xfrmd.policy.resolve import Resolver, SecretReader
from xfrmd.policy.sources import ALONE, Sources
from xfrmd.policy.tables import DOCUMENT
from xfrmd.policy.variables import Variables
from xfrmd.policy.words import PolicySet

_DOCUMENT = DOCUMENT.kind()


def load(
    source: str | bytes,
    file: str,
    read_secret: SecretReader,
    unread_secret: Severity = Severity.ERROR,
    sources: Sources = ALONE,
) -> PolicySet:
    """Read a policy file.

    `source` is its content (octets are decoded as UTF-8 here, so that bad ones are reported with their place), `file`
    the name that places carry. `read_secret` gives the octets of a secret that the policy names, or raises
    CredentialError: a problem of the severity `unread_secret`, but only a warning for a rule that is not in force. As
    a warning, the secret is left empty, which suits a check on a host that must not know it. `sources` are files that
    it may include, and values for its variables. Raises PolicyErrors with every problem of all files.
    """
    with collector_paused():
        return _load(source, Problems(file), read_secret, unread_secret, sources)


def _load(
    source: str | bytes, problems: Problems, read_secret: SecretReader, unread_secret: Severity, sources: Sources
) -> PolicySet:
    documents = gather(source, problems, sources.read)
    problems.check()
    _put_in_variables(documents, problems, sources)
    document = _together([_DOCUMENT.read(one.root, one.problems) for one in documents], problems)
    documents.clear()  # the nodes have said what they had to say: half of all memory
    if document is not None:
        Checker(document, problems).check()
        if not problems.errors:
            policies = Resolver(document, problems, read_secret, unread_secret).build()
            problems.check()
            return policies
    problems.check()
    raise AssertionError  # for the type checker: what is missing was reported


def _put_in_variables(documents: list[Document], problems: Problems, sources: Sources) -> None:
    variables = Variables(sources.variables)
    for one in documents:
        variables.declare(one.variables, one.problems)
    for one in documents:
        if one.may_refer:
            variables.put_in(one.root, one.problems)
    variables.check_given(Span(problems.file, 1, 1), problems, sources.unused)


def _together(reads: list[Read | Bad], problems: Problems) -> Read | None:
    """All documents as one: the main one with the objects of the others. None when one is no document at all."""
    found = [read for read in reads if read is not BAD]
    if len(found) < len(reads):
        return None
    main, *others = found
    for read in others:
        for key in ("allow_weak", "config"):
            if read.given(key):
                problems.error(read.place(key), f"{key} stands in an included file", "write it in the first file")
    for key in ("policies", "filterlists", "filteractions"):
        lists = [read[key] for read in found if read.given(key)]
        needed = key == "policies" or _has_rules(main)
        if not lists and needed:
            problems.error(main.at, f"the policy file has no {key}", f"add {key}, or include a file that has them")
        bad = BAD in lists or (not lists and needed)
        main.values[key] = BAD if bad else [one for objects in lists for one in objects]
    return main


def _has_rules(document: Read) -> bool:
    """Does any policy have a rule? The default response rule needs neither lists nor actions."""
    policies = document["policies"]
    return policies is BAD or any(policy["rules"] != [] for policy in policies)
