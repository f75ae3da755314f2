# SPDX-License-Identifier: GPL-2.0-or-later
"""From objects that are right by themselves to a PolicySet: names are looked up, and what objects say together is
checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xfrmd.errors import CredentialError
from xfrmd.model.pad import PskAuth
from xfrmd.model.proposals import Lifetime, Proposal
from xfrmd.model.secret import Secret, SecretRef
from xfrmd.model.source import Severity
from xfrmd.policy.identities import check_secret
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.records import Read
from xfrmd.policy.tables import filter_action
from xfrmd.policy.words import Action, AddressWord, ConnectionType, FilterAction, FilterList, Policy, PolicySet, Rule

SecretReader = Callable[[SecretRef], bytes]
"""Gives the octets of a secret, the line break at its end left out; raises CredentialError when it cannot."""


class Resolver:
    """Looks names up in one document. Problems go to the collector; values are made when there is no error."""

    def __init__(self, document: Read, problems: Problems, read_secret: SecretReader, unread: Severity) -> None:
        self._document, self._problems = document, problems
        self._read_secret, self._unread = read_secret, unread
        self._lists = self._index("filterlists", "filter list")
        self._actions = self._index("filteractions", "filter action")
        self._policies = self._index("policies", "policy")
        self._made_lists: dict[str, FilterList] = {}
        self._made_actions: dict[str, FilterAction] = {}

    def check(self) -> None:
        """Report every dangling name and every contradiction between objects."""
        for policy in self._objects("policies"):
            rules = policy["rules"]
            if rules is not BAD:
                self._unique(rules, "rule")
                for rule in rules:
                    self._check_rule(rule)
            if policy.good("mmpfs", "qmpermm") and policy["mmpfs"] and policy["qmpermm"] > 1:
                remedy = "remove qmpermm, or write mmpfs: no"
                self._problems.error(policy.place("qmpermm"), "mmpfs allows one quick mode per main mode", remedy)
        self._check_assigned()

    def build(self) -> PolicySet:
        """The policies; only when `check` and all before it found no error."""
        made = {name: self._policy(read) for name, read in self._policies.items()}
        assigned = next((made[name] for name, read in self._policies.items() if read["assign"]), None)
        return PolicySet(tuple(made.values()), assigned, self._problems.sorted())

    def _objects(self, key: str) -> list[Read]:
        found: list[Read] = [] if self._document[key] is BAD else self._document[key]
        return found

    def _index(self, key: str, kind: str) -> dict[str, Read]:
        return self._unique(self._objects(key), kind)

    def _unique(self, objects: list[Read], kind: str) -> dict[str, Read]:
        found: dict[str, Read] = {}
        for read in objects:
            name = read["name"]
            if name is BAD:
                continue
            if name in found:
                message = f"{kind} {quoted(name)} stands twice, first in line {found[name].at.line}"
                self._problems.error(read.place("name"), message, "give each its own name, or remove one")
                continue
            found[name] = read
        return found

    def _look_up(self, rule: Read, key: str, known: dict[str, Read], kind: str) -> Read | None:
        name = rule[key]
        if name is BAD or self._document[key + "s"] is BAD:
            return None
        if name not in known:
            listed = ", ".join(list(known)[:10]) or "none"
            remedy = did_you_mean(name, known, f"add it under {key}s (known are: {listed})")
            self._problems.error(rule.place(key), f"there is no {kind} {quoted(name)}", remedy)
            return None
        return known[name]

    def _check_rule(self, rule: Read) -> None:
        filters = self._look_up(rule, "filterlist", self._lists, "filter list")
        action = self._look_up(rule, "filteraction", self._actions, "filter action")
        if filters is not None and filters.good("filters"):
            self._check_conntype(rule, filters)
        if action is None or not action.good("action"):
            return
        if action["action"] is not Action.NEGOTIATE:
            self._check_unused(rule, action["action"])
            return
        if not rule.given("psk"):
            self._problems.error(
                rule.at, "a rule that negotiates needs a psk", "add psk: {file: /etc/xfrmd/psk} with the shared secret"
            )
        if filters is not None and filters.good("filters"):
            self._check_mirrored(rule, filters)

    def _check_unused(self, rule: Read, action: Action) -> None:
        for key in ("psk", "local_id", "remote_id"):
            if rule.given(key) and rule.good(key):
                message = f"{key} has no meaning with action: {action.value}"
                self._problems.warning(rule.place(key), message, f"remove {key}")

    def _check_conntype(self, rule: Read, filters: Read) -> None:
        """A connection type chooses among the addresses of `me`, so without `me` it would say nothing."""
        if not rule.good("conntype") or rule["conntype"] is ConnectionType.ALL:
            return
        for one in filters["filters"]:
            if AddressWord.ME not in (one.src, one.dst):
                message = (
                    f"rule {quoted(str(rule['name']))} is for {rule['conntype'].value} only, but no side here is me"
                )
                remedy = "write me on the side of this host, or conntype: all in the rule"
                self._problems.error(one.at, message, remedy)

    def _check_mirrored(self, rule: Read, filters: Read) -> None:
        for one in filters["filters"]:
            if not one.mirrored:
                message = f"rule {quoted(str(rule['name']))} negotiates, but this filter knows one direction only"
                self._problems.error(one.at, message, "write mirrored: yes; protection always has two directions")

    def _check_assigned(self) -> None:
        policies = self._objects("policies")
        assigned = [read for read in policies if read.good("assign") and read["assign"]]
        for read in assigned[1:]:
            first = assigned[0].place("assign").line
            message = f"a second policy is assigned, the first in line {first}"
            self._problems.error(read.place("assign"), message, "write assign: no in all but one")
        if policies and not assigned and all(read.good("assign") for read in policies):
            message = "no policy is assigned, so nothing is filtered"
            self._problems.warning(policies[0].at, message, "write assign: yes in one policy")

    def _secret(self, rule: Read) -> Secret:
        value: Secret | SecretRef = rule["psk"]
        if isinstance(value, SecretRef):
            ref = value
            try:
                value = Secret(self._read_secret(ref))
            except CredentialError as error:
                return self._unreadable(rule, ref, error)
        if len(value) == 0:
            self._problems.error(rule.place("psk"), "the shared secret is empty", "write one: openssl rand -base64 32")
        else:
            check_secret(value.reveal(), rule, self._problems)
        return value

    def _unreadable(self, rule: Read, ref: SecretRef, error: CredentialError) -> Secret:
        remedy = (
            "create it, readable by the user of xfrmd alone" if ref.source.value == "file" else "set LoadCredential="
        )
        told = self._problems.error if self._unread is Severity.ERROR else self._problems.warning
        told(rule.place("psk"), str(error), remedy)
        return Secret(b"")

    def _auth(self, rule: Read, action: FilterAction) -> tuple[PskAuth, ...]:
        if action.action is not Action.NEGOTIATE or not rule.given("psk"):
            return ()
        return (PskAuth(self._secret(rule)),)

    def _rule(self, read: Read) -> Rule:
        action = self._action(read["filteraction"])
        return Rule(
            name=read["name"],
            filter_list=self._list(read["filterlist"]),
            filter_action=action,
            auth=self._auth(read, action),
            at=read.at,
            conntype=read["conntype"],
            active=read["activate"],
            local_id=read["local_id"],
            remote_id=read["remote_id"],
            description=read["description"],
        )

    def _list(self, name: str) -> FilterList:
        if name not in self._made_lists:
            read = self._lists[name]
            self._made_lists[name] = FilterList(name, tuple(read["filters"]), read.at, read["description"])
        return self._made_lists[name]

    def _action(self, name: str) -> FilterAction:
        if name not in self._made_actions:
            self._made_actions[name] = filter_action(self._actions[name])
        return self._made_actions[name]

    def _policy(self, read: Read) -> Policy:
        return Policy(
            name=read["name"],
            rules=tuple(self._rule(rule) for rule in read["rules"]),
            mmsecmethods=_with_lifetime(read["mmsecmethods"], 60 * read["mmlifetime"]),
            at=read.at,
            qmpermm=1 if read["mmpfs"] else read["qmpermm"],
            mmpfs=read["mmpfs"],
            description=read["description"],
        )


def _with_lifetime(proposals: Any, seconds: int) -> tuple[Proposal, ...]:
    return tuple(replace(proposal, lifetime=Lifetime(seconds)) for proposal in proposals)
