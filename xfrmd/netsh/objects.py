# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter lists, filter actions and methods of a store as a policy file says them.

A filter action that could negotiate nothing here blocks, with what it stands for in its description.
"""

from __future__ import annotations

from typing import Final

from xfrmd.netsh.filters import filter_line
from xfrmd.netsh.methods import Method
from xfrmd.netsh.page import Page
from xfrmd.netsh.session import Session
from xfrmd.netsh.store import FilterAction, FilterList, Store
from xfrmd.policy.problems import quoted
from xfrmd.policy.words import Action

_BLOCK_STORY: Final = "Stands in place of actions that cannot be carried out yet: nothing passes unprotected."
_METHODS: Final = "name a method that is built, such as ESP[AES256,SHA256], at both ends"


def usable(methods: tuple[Method, ...]) -> bool:
    """Can one of these methods be negotiated? Where none is named, defaults can."""
    return not methods or any(method.usable for method in methods)


def reasons(methods: tuple[Method, ...]) -> str:
    """Why none of these methods can be negotiated."""
    found = dict.fromkeys(method.refused or f"{method.text} is never negotiated" for method in methods)
    return ", ".join(found)


def negotiates(action: FilterAction) -> bool:
    """Is this action written as one that negotiates?"""
    return action.action is Action.NEGOTIATE and usable(action.methods)


def write_description(page: Page, text: str) -> None:
    """A description, where there is one."""
    if text:
        page.key("description", text)


def write_lists(session: Session, store: Store, page: Page) -> None:
    """Everything under `filterlists`. A list without a filter cannot be said, and says nothing."""
    for one in store.lists:
        if one.empty:
            message = f"filter list {quoted(one.name)} has no filter: it is left out"
            session.warning(one.at, message, "add filters, or remove it")
    written = [one for one in store.lists if not one.empty]
    if not written:
        return
    page.line("filterlists:")
    page.deeper()
    for one in written:
        _list(one, page)
    page.out()


def _list(one: FilterList, page: Page) -> None:
    page.entry(one.at)
    page.key("name", one.name)
    write_description(page, one.description)
    page.line("filters:")
    for each in one.filters():
        page.line(f"  - {filter_line(each)}", each.at)


def write_actions(session: Session, store: Store, page: Page, blocks: str | None) -> None:
    """Everything under `filteractions`, with an action of this name that blocks."""
    if not store.actions and blocks is None:
        return
    page.line("filteractions:")
    page.deeper()
    for one in store.actions:
        _action(one, session, page)
    if blocks is not None:
        page.entry(page.place(1))
        page.key("name", blocks)
        page.line("action: block")
        page.key("description", _BLOCK_STORY)
    page.out()


def _action(one: FilterAction, session: Session, page: Page) -> None:
    page.entry(one.at)
    page.key("name", one.name)
    if one.action is not Action.NEGOTIATE:
        page.line(f"action: {one.action.value}")
        write_description(page, one.description)
        return
    if not usable(one.methods):
        why = reasons(one.methods)
        message = f"filter action {quoted(one.name)} has no method that can be negotiated here ({why}): it blocks"
        session.warning(one.at, message, _METHODS)
        page.line("action: block")
        stands_for = f"[blocks: stands for {' '.join(method.text for method in one.methods)}]"
        write_description(page, f"{stands_for} {one.description}".rstrip())
        return
    page.line("action: negotiate")
    write_description(page, one.description)
    for name, value in (("qmpfs", one.qmpfs), ("inpass", one.inpass), ("soft", one.soft)):
        if value:
            page.line(f"{name}: yes")
    write_quick_methods(one.methods, f"filter action {quoted(one.name)}", session, page)


def write_quick_methods(methods: tuple[Method, ...], where: str, session: Session, page: Page) -> None:
    """Methods that the language has, of which one can be negotiated."""
    for method in methods:
        if method.refused:
            message = f"{where}: {quoted(method.text)} is left out, as {method.refused}"
            session.warning(page.here, message, "remove it; peers agree on one of the others")
    if not methods:
        session.defaults(page.here)
    else:
        page.items("qmsecmethods", (method.text for method in methods if not method.refused))
