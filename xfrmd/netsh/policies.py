# SPDX-License-Identifier: GPL-2.0-or-later
"""The objects of a store as a policy file says them.

What is not built yet fails closed: a rule that could negotiate nothing here, or authenticate nobody, becomes a rule
that blocks, with what it stands for in its description. It is never left out, and never let pass.
"""

from __future__ import annotations

from typing import Final

from xfrmd.model.addresses import Address
from xfrmd.netsh.objects import (
    negotiates,
    reasons,
    usable,
    write_actions,
    write_description,
    write_lists,
    write_quick_methods,
)
from xfrmd.netsh.page import Page
from xfrmd.netsh.scalars import scalar
from xfrmd.netsh.session import Session
from xfrmd.netsh.store import DefaultRule, Policy, Rule, Store
from xfrmd.netsh.values import Authentication, DnsName, Kerberos, Psk, RawAddress, RootCa
from xfrmd.policy.problems import quoted
from xfrmd.policy.words import Action, ConnectionType

_BLOCK: Final = "Block (not built yet)"
_KERBEROS: Final = "add a psk behind kerberos, the same at both ends, until Kerberos is built"
_BY_NAME: Final = (
    "authentication by certificate under an authority's name alone is not built yet",
    "write rootca with the files of the authority and of this host into the policy, or add a psk behind rootca",
)


class Writer:
    """Writes one store. What cannot be said as it stands is told to the session."""

    def __init__(self, session: Session, store: Store, page: Page) -> None:
        self._session, self._store, self._page = session, store, page
        self._blocks: str | None = None
        """Name of the action of rules that cannot do what they say, once there is one."""

    def weak(self) -> bool:
        """Does anything that is written name a weak algorithm?"""
        store = self._store
        lists = [one.methods for one in store.actions if one.action is Action.NEGOTIATE and usable(one.methods)]
        lists += [one.methods for one in store.policies if usable(one.methods)]
        lists += [one.default_rule.methods for one in store.policies if self._has_default_rule(one.default_rule)]
        return any(method.weak and not method.refused for methods in lists for method in methods)

    def write(self) -> bool:
        """Everything under `filterlists`, `filteractions` and `policies`. Is there a policy?"""
        write_lists(self._session, self._store, self._page)
        policies = [one for one in self._store.policies if self._sayable(one)]
        blocking = [rule for policy in policies for rule in policy.rules if self._hindrance(rule, policy)]
        if blocking:
            self._blocks = _free_name(_BLOCK, {name.casefold() for name in self._store.actions.names()})
        write_actions(self._session, self._store, self._page, self._blocks)
        if policies:
            self._page.line("policies:")
            self._page.deeper()
            for policy in policies:
                self._policy(policy)
            self._page.out()
        return bool(policies)

    def _sayable(self, policy: Policy) -> bool:
        """Is there anything in this policy that the language can say? A policy needs a rule."""
        if self._has_default_rule(policy.default_rule):
            return True
        if any(not rule.filter_list.empty for rule in policy.rules):
            return True
        message = f"policy {quoted(policy.name)} has no rule that can be written: it is left out"
        self._session.warning(policy.at, message, "add a rule, or a psk for its default response rule")
        return False

    def _policy(self, policy: Policy) -> None:
        page = self._page
        page.entry(policy.at)
        page.key("name", policy.name)
        write_description(page, policy.description)
        if policy.assigned:
            page.line("assign: yes")
        self._main_mode(policy)
        self._default_rule(policy)
        rules = [rule for rule in policy.rules if self._has_filters(rule, policy)]
        if not rules:
            page.line("rules: []", policy.at)
            return
        page.line("rules:", policy.at)
        page.deeper()
        for rule in rules:
            self._rule(rule, policy)
        page.out()

    def _main_mode(self, policy: Policy) -> None:
        page, session = self._page, self._session
        if policy.pollinginterval is not None:
            remedy = "remove pollinginterval, and let whatever delivers the policy run xfrmctl apply"
            session.warning(policy.at, "no directory is polled for a newer policy", remedy)
        if usable(policy.methods) and policy.methods:
            page.items("mmsecmethods", (method.text for method in policy.methods))
        elif policy.methods:
            message = f"policy {quoted(policy.name)} has no main mode method that can be negotiated here"
            remedy = "write 3DES-SHA1-3, or better AES256-SHA256-3"
            session.warning(policy.at, f"{message}: its rules that negotiate block", remedy)
        elif any(negotiates(rule.filter_action) for rule in policy.rules):
            session.defaults(policy.at)
        if policy.mmlifetime != _MM_MINUTES:
            page.line(f"mmlifetime: {policy.mmlifetime}")
        if policy.mmpfs:
            page.line("mmpfs: yes")
            if policy.qmpermm > 1:
                message = f"mmpfs allows one quick mode per main mode, so qmpermm={policy.qmpermm} is left out"
                session.warning(policy.at, message, "remove qmpermm, or write mmpfs=no")
        elif policy.qmpermm:
            page.line(f"qmpermm: {policy.qmpermm}")

    def _has_default_rule(self, rule: DefaultRule) -> bool:
        return rule.activate and _has_psk(rule.auth) and usable(rule.methods)

    def _default_rule(self, policy: Policy) -> None:
        rule, page = policy.default_rule, self._page
        if self._has_default_rule(rule):
            page.line("activatedefaultrule: yes", rule.at or policy.at)
            page.line("defaultrule:")
            page.deeper()
            self._auth(rule.auth)
            write_quick_methods(rule.methods, "the default response rule", self._session, page)
            if rule.qmpfs:
                page.line("qmpfs: yes")
            page.out()
        elif rule.activate:
            why = "Kerberos is not built yet" if usable(rule.methods) else reasons(rule.methods)
            message = f"the default response rule of policy {quoted(policy.name)} is left out, as {why}"
            remedy = "write activatedefaultrule=no, or give it a psk: netsh ipsec static set defaultrule"
            self._session.warning(rule.at or policy.at, message, remedy)

    def _has_filters(self, rule: Rule, policy: Policy) -> bool:
        if not rule.filter_list.empty:
            return True
        message = f"rule {quoted(rule.name)} of policy {quoted(policy.name)} has no filter: it is left out"
        self._session.warning(rule.at, message, f"add filters to {quoted(rule.filter_list.name)}, or remove the rule")
        return False

    def _hindrance(self, rule: Rule, policy: Policy) -> tuple[str, str] | None:
        """Why a rule cannot do what it says, and the remedy."""
        if not negotiates(rule.filter_action) or rule.filter_list.empty:
            return None
        if not _has_psk(rule.auth):
            certificate = any(isinstance(one, RootCa) for one in rule.auth)
            if certificate:
                return _BY_NAME
            return "Kerberos is not built yet", _KERBEROS
        if not usable(policy.methods):
            return "its policy has no main mode method that can be negotiated", "give the policy another mmsecmethods"
        return None

    def _rule(self, rule: Rule, policy: Policy) -> None:
        page = self._page
        page.entry(rule.at)
        page.key("name", rule.name)
        page.key("filterlist", rule.filter_list.name)
        hindrance = self._hindrance(rule, policy)
        if hindrance is not None and self._blocks is not None:
            page.key("filteraction", self._blocks)
            write_description(page, f"{_stands_for(rule)} {rule.description}".rstrip())
            message = f"rule {quoted(rule.name)} of policy {quoted(policy.name)} blocks: {hindrance[0]}"
            self._session.warning(rule.at, message, hindrance[1])
        else:
            page.key("filteraction", rule.filter_action.name)
            write_description(page, rule.description)
            self._protection(rule)
        if rule.conntype is not ConnectionType.ALL:
            page.line(f"conntype: {rule.conntype.value}")
        if not rule.activate:
            page.line("activate: no")

    def _protection(self, rule: Rule) -> None:
        """How a rule negotiates, if it does. What blocks in place of negotiating needs neither."""
        if negotiates(rule.filter_action):
            self._auth(rule.auth)
        elif rule.filter_action.action is Action.NEGOTIATE:
            return
        elif not all(isinstance(one, Kerberos) for one in rule.auth):
            message = f"authentication has no meaning in rule {quoted(rule.name)}, which negotiates nothing"
            self._session.warning(rule.at, f"{message}: it is left out", "remove psk and rootca")
        if rule.tunnel is not None:
            end = _tunnel(rule.tunnel)
            self._page.line(f'tunnel: "{end}"' if ":" in end else f"tunnel: {end}")

    def _auth(self, auth: tuple[Authentication, ...]) -> None:
        lines = [_auth_line(one) for one in auth]
        if len(lines) == 1:
            self._page.line(lines[0])
            return
        self._page.line("auth:")
        for line in lines:
            self._page.line(f"  - {line}")


_MM_MINUTES: Final = 480


def _has_psk(auth: tuple[Authentication, ...]) -> bool:
    return any(isinstance(one, Psk) for one in auth)


def _auth_line(one: Authentication) -> str:
    match one:
        case Psk(secret):
            return f"psk: {scalar(secret.reveal().decode())}"
        case RootCa(text):
            return f"rootca: {scalar(text)}"
        case Kerberos():
            return "kerberos: yes"


def _stands_for(rule: Rule) -> str:
    """What a rule that blocks would do. It shows no secret."""
    names = [type(one).__name__.casefold() for one in rule.auth] or ["kerberos"]
    tunnel = "" if rule.tunnel is None else f", tunnel {_tunnel(rule.tunnel)}"
    return f"[blocks: stands for {rule.filter_action.name} with {' '.join(names)}{tunnel}]"


def _tunnel(end: RawAddress | DnsName) -> str:
    return end.name if isinstance(end, DnsName) else str(Address(end.family, end.value))


def _free_name(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found.casefold() in taken:
        found, number = f"{name} {number}", number + 1
    return found
