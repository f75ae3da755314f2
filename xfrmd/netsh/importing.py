# SPDX-License-Identifier: GPL-2.0-or-later
"""A script becomes a policy file. What comes out has been read again by the policy language itself, so that all of its
checks hold for a script too, each told at its place in the script.
"""

from __future__ import annotations

from typing import NamedTuple

from xfrmd.model.source import Problem, Severity, Span
from xfrmd.netsh.page import Page
from xfrmd.netsh.policies import Writer
from xfrmd.netsh.run import run
from xfrmd.netsh.scalars import scalar
from xfrmd.netsh.session import LOCAL, PERSISTENT, Session
from xfrmd.netsh.store import Store
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.problems import Problems
from xfrmd.policy.resolve import blank

_HEADER = "# From a script of netsh ipsec static."
_NO_POLICY = "policies: [{name: none, rules: [], activatedefaultrule: yes, defaultrule: {psk: none but for the check}}]"
"""Stands behind a file without a policy, so that the language reads it."""


class Imported(NamedTuple):
    """A policy file made of a script, and what is to be told: all that could not be said as it stood."""

    text: str
    problems: tuple[Problem, ...]


def import_script(source: str | bytes, file: str) -> Imported:
    """The policy file that says what a script says. `source` is its content, `file` the name that places carry.

    Raises PolicyErrors with every problem when the script or what it makes is bad.
    """
    problems = Problems(file)
    session = run(source, problems)
    problems.check()
    page = Page(Span(file, 1, 1))
    store = _store(session)
    more = _document(session, store, page)
    problems.check()
    _check(page, more, problems)
    problems.check()
    return Imported(page.text, tuple(dict.fromkeys(problems.sorted())))


def _store(session: Session) -> Store:
    """The one store that holds anything: a policy file has no second one."""
    local, persistent = session.stores[LOCAL], session.stores[PERSISTENT]
    if persistent.empty:
        return local
    at = persistent.first
    if local.empty:
        remedy = "keep it: a policy here stays in force in any case, from the start of the daemon on"
        session.warning(at, "the persistent store is imported as the local one", remedy)
        return persistent
    message = "both the local and the persistent store are filled, and a policy file is one store"
    session.error(at, message, "put the persistent policy's rules into the policy that is assigned, in one store")
    return local


def _document(session: Session, store: Store, page: Page) -> str:
    """Write the policy file. What comes back is to stand behind it when it is checked."""
    writer = Writer(session, store, page)
    page.line(_HEADER)
    page.line("version: 1")
    if writer.weak():
        page.line("allow_weak: yes")
        message = "the script names algorithms of Windows Server 2003, which protect little: the policy allows them"
        session.warning(page.place(1), message, "name AES128 or AES256 and SHA256 at both ends, and remove allow_weak")
    if session.config:
        page.line("config:")
        for name, value in session.config.items():
            page.line(f"  {name}: {value if value.isdigit() else scalar(value)}")
    if writer.write():
        return ""
    message = "no policy comes of this script: what comes out can only be included by a policy file"
    session.warning(page.place(1), message, "add a policy with a rule")
    return _NO_POLICY


def _check(page: Page, more: str, problems: Problems) -> None:
    """Let the policy language read what was written, and tell what it says where the script has it."""
    try:
        told = load(page.text + more, "", blank, Severity.WARNING).warnings
    except PolicyErrors as errors:
        told = errors.problems
    for one in told:
        if one.at.line <= page.length:
            here = page.in_script(one)
            problems.tell(here.severity, here.at, here.message, here.remedy)
