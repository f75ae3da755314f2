# SPDX-License-Identifier: GPL-2.0-or-later
"""What objects of a policy file say together: names that nobody has, names that two have, contradictions."""

from __future__ import annotations

from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.records import Read
from xfrmd.policy.words import Action, AddressWord, ConnectionType


def objects(document: Read, key: str) -> list[Read]:
    """The objects under a key of the document, none when they could not be read."""
    found: list[Read] = [] if document[key] is BAD else document[key]
    return found


class Checker:
    """Checks one document; objects that are bad by themselves are looked at as far as they could be read."""

    def __init__(self, document: Read, problems: Problems) -> None:
        self._document, self._problems = document, problems
        self._lists = self._index("filterlists", "filter list")
        self._actions = self._index("filteractions", "filter action")
        self._index("policies", "policy")

    def check(self) -> None:
        """Report every dangling name and every contradiction between objects."""
        for policy in objects(self._document, "policies"):
            rules = policy["rules"]
            if rules is not BAD:
                self._unique(rules, "rule")
                for rule in rules:
                    self._check_rule(rule)
            if policy.good("mmpfs", "qmpermm") and policy["mmpfs"] and policy["qmpermm"] > 1:
                remedy = "remove qmpermm, or write mmpfs: no"
                self._problems.error(policy.place("qmpermm"), "mmpfs allows one quick mode per main mode", remedy)
        self._check_assigned()

    def _index(self, key: str, kind: str) -> dict[str, Read]:
        return self._unique(objects(self._document, key), kind)

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
        policies = objects(self._document, "policies")
        assigned = [read for read in policies if read.good("assign") and read["assign"]]
        for read in assigned[1:]:
            first = assigned[0].place("assign").line
            message = f"a second policy is assigned, the first in line {first}"
            self._problems.error(read.place("assign"), message, "write assign: no in all but one")
        if policies and not assigned and all(read.good("assign") for read in policies):
            message = "no policy is assigned, so nothing is filtered"
            self._problems.warning(policies[0].at, message, "write assign: yes in one policy")
