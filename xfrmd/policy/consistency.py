# SPDX-License-Identifier: GPL-2.0-or-later
"""What objects of a policy file say together: names that nobody has, names that two have, contradictions."""

from __future__ import annotations

from collections.abc import Iterator

from xfrmd.policy import authentication, tunnels
from xfrmd.policy.methods import Methods
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.policy.records import Read
from xfrmd.policy.words import Action, AddressWord, ConnectionType, Filter


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
                if not self._problems.errors:  # else a half may only seem to be alone
                    tunnels.check_pairs(self._halves(rules), self._problems)
            if policy.good("mmpfs", "qmpermm") and policy["mmpfs"] and policy["qmpermm"] > 1:
                remedy = "remove qmpermm, or write mmpfs: no"
                self._problems.error(policy.place("qmpermm"), "mmpfs allows one quick mode per main mode", remedy)
            if rules == [] and policy["activatedefaultrule"] is False:
                remedy = "add rules, or an active default response rule"
                self._problems.error(policy.place("rules"), "the list of rules is empty", remedy)
            self._check_default_rule(policy)
            self._check_methods(policy, "mmsecmethods", "main mode methods")
        for action in objects(self._document, "filteractions"):
            self._check_methods(action, "qmsecmethods", "quick mode methods")
        self._check_assigned()
        self._check_config()

    def _check_config(self) -> None:
        config = self._document["config"]
        if not isinstance(config, Read) or not config.good("management", "allow_lockout"):
            return
        if not config["management"] and not config["allow_lockout"]:
            message = "no port is named by which the host is managed: a policy that locks everybody out is not refused"
            remedy = "name the ports, or add allow_lockout: yes, which says that this is meant"
            self._problems.warning(config.place("management"), message, remedy)

    def _check_methods(self, read: Read, key: str, what: str) -> None:
        if read.good(key) and self._document.good("allow_weak"):
            methods: Methods = read[key]
            methods.check(read.place(key), what, self._problems, allowed=self._document["allow_weak"])

    def _check_default_rule(self, policy: Read) -> None:
        if not policy.good("activatedefaultrule", "defaultrule"):
            return
        rule: Read | None = policy["defaultrule"]
        if rule is not None:
            authentication.check(rule, "the default response rule", self._problems)
            self._check_methods(rule, "qmsecmethods", "quick mode methods")
        if policy["activatedefaultrule"] and rule is None:
            message = "the default response rule cannot authenticate anybody"
            remedy = "add defaultrule: {psk: {file: /etc/xfrmd/psk}}, or write activatedefaultrule: no"
            self._problems.error(policy.place("activatedefaultrule"), message, remedy)
        if rule is not None and not policy["activatedefaultrule"]:
            remedy = "write activatedefaultrule: yes, or remove it"
            self._problems.warning(policy.place("defaultrule"), "the default response rule is not active", remedy)

    def _index(self, key: str, kind: str) -> dict[str, Read]:
        return self._unique(objects(self._document, key), kind)

    def _unique(self, objects: list[Read], kind: str) -> dict[str, Read]:
        found: dict[str, Read] = {}
        for read in objects:
            name = read["name"]
            if name is BAD:
                continue
            if name in found:
                first, at = found[name].at, read.at
                place = f"in line {first.line}" if first.file == at.file else f"at {first.file}:{first.line}"
                message = f"{kind} {quoted(name)} stands twice, first {place}"
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
        whole = filters["filters"] if filters is not None and filters.good("filters") else []
        self._check_conntype(rule, whole)
        tunnels.check_gateways(rule, self._problems)
        if rule.given("tunnel") and action is not None:
            tunnels.check_rule(rule, action, self._problems)
        if action is None or not action.good("action"):
            return
        if action["action"] is not Action.NEGOTIATE:
            self._check_unused(rule, action["action"])
            return
        authentication.check(rule, "a rule that negotiates", self._problems)
        for one in whole:
            if rule.given("tunnel"):
                tunnels.check_filter(rule, one, self._problems)
            else:
                self._check_mirrored(rule, one)

    def _halves(self, rules: list[Read]) -> Iterator[tunnels.Half]:
        """The filters of the active tunnel rules."""
        for rule in rules:
            if rule.given("tunnel") and rule["activate"]:
                yield from (tunnels.Half(rule, one) for one in self._lists[rule["filterlist"]]["filters"])

    def _check_unused(self, rule: Read, action: Action) -> None:
        for key in ("auth", "psk", "kerberos", "rootca", "local_id", "remote_id", "ppk"):
            if rule.given(key) and rule.good(key) and rule[key]:
                message = f"{key} has no meaning with action: {action.value}"
                self._problems.warning(rule.place(key), message, f"remove {key}")

    def _check_conntype(self, rule: Read, filters: list[Filter]) -> None:
        """A connection type chooses among the addresses of `me`, so without `me` it would say nothing."""
        if not rule.good("conntype") or rule["conntype"] is ConnectionType.ALL:
            return
        for one in filters:
            if AddressWord.ME not in (one.src, one.dst):
                message = (
                    f"rule {quoted(str(rule['name']))} is for {rule['conntype'].value} only, but no side here is me"
                )
                remedy = "write me on the side of this host, or conntype: all in the rule"
                self._problems.error(one.at, message, remedy)

    def _check_mirrored(self, rule: Read, one: Filter) -> None:
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
