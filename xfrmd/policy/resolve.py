# SPDX-License-Identifier: GPL-2.0-or-later
"""From a document without an error to a PolicySet: names become what they name, secrets are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from xfrmd.errors import CredentialError
from xfrmd.model.pad import CRL_IF_KNOWN, AuthMethod, Ppk, PskAuth, RootcaAuth
from xfrmd.model.proposals import Lifetime, Proposal
from xfrmd.model.secret import Secret, SecretRef, StandIn
from xfrmd.model.source import Severity, Span
from xfrmd.policy import certificates
from xfrmd.policy.authentication import methods
from xfrmd.policy.certificates import RootcaRef
from xfrmd.policy.consistency import objects
from xfrmd.policy.identities import SHORT_PPK, PpkRef, check_secret
from xfrmd.policy.problems import Problems
from xfrmd.policy.records import Read
from xfrmd.policy.tables import filter_action
from xfrmd.policy.words import Action, Config, DefaultResponse, FilterAction, FilterList, Policy, PolicySet, Rule

SecretReader = Callable[[SecretRef], bytes]
"""Gives the octets of a secret, the line break at its end left out; raises CredentialError when it cannot."""
_BLANK: Final = StandIn(32)


def blank(ref: SecretRef) -> bytes:
    """Stands for a secret where none is needed: what is told of a policy shows none."""
    del ref
    return _BLANK


def _config(read: Read) -> Config:
    return Config(
        ipsecexempt=read["ipsecexempt"],
        management=tuple(dict.fromkeys(read["management"])),
        allow_lockout=read["allow_lockout"],
        mirror_blocks=read["mirror_blocks"],
        strongcrlcheck=read["strongcrlcheck"],
        on_stop=read["on_stop"],
        bootmode=read["bootmode"],
        bootexemptions=read["bootexemptions"],
        given=frozenset(read.names()),
    )


class Resolver:
    """Makes the values of one document in which `consistency` found no error. Problems with secrets are collected."""

    def __init__(self, document: Read, problems: Problems, read_secret: SecretReader, unread: Severity) -> None:
        self._document, self._problems = document, problems
        self._read_secret, self._unread = read_secret, unread
        self._lists, self._actions = self._by_name("filterlists"), self._by_name("filteractions")
        self._made_lists: dict[str, FilterList] = {}
        self._made_actions: dict[str, FilterAction] = {}
        config: Read | None = document["config"]
        self._crl_check = CRL_IF_KNOWN if config is None else config["strongcrlcheck"]
        self._authorities: dict[RootcaRef, RootcaAuth | CredentialError] = {}

    def build(self) -> PolicySet:
        """The policies."""
        made = [(self._policy(read), read["assign"]) for read in objects(self._document, "policies")]
        assigned = next((policy for policy, assign in made if assign), None)
        read: Read | None = self._document["config"]
        config = Config() if read is None else _config(read)
        return PolicySet(tuple(policy for policy, _ in made), assigned, self._problems.sorted(), config)

    def _by_name(self, key: str) -> dict[str, Read]:
        return {read["name"]: read for read in objects(self._document, key)}

    def _secret(self, value: Secret | SecretRef, at: Span, needed: bool) -> Secret:
        if isinstance(value, SecretRef):
            ref = value
            try:
                value = Secret(self._read_secret(ref))
            except CredentialError as error:
                return self._unreadable(ref, at, error, needed)
        if len(value) == 0:
            self._problems.error(at, "the shared secret is empty", "write one: openssl rand -base64 32")
        else:
            check_secret(value.reveal(), at, self._problems)
        return value

    def _unreadable(self, ref: SecretRef, at: Span, error: CredentialError, needed: bool) -> Secret:
        """A secret that cannot be read is an error only where it would be used."""
        remedy = (
            "create it, readable by the user of xfrmd alone" if ref.source.value == "file" else "set LoadCredential="
        )
        self._told(needed)(at, str(error), remedy)
        return Secret(b"")

    def _told(self, needed: bool) -> Callable[[Span, str, str], object]:
        fatal = needed and self._unread is Severity.ERROR
        return self._problems.error if fatal else self._problems.warning

    def _auth(self, read: Read, needed: bool) -> tuple[AuthMethod, ...]:
        """The methods that are built, the best first."""
        found: list[AuthMethod] = []
        for one in methods(read):
            if isinstance(one.value, RootcaRef):
                found.append(self._rootca(one.value, one.at, needed))
            elif isinstance(one.value, Secret | SecretRef):
                found.append(PskAuth(self._secret(one.value, one.at, needed)))
        return tuple(found)

    def _rootca(self, ref: RootcaRef, at: Span, needed: bool) -> RootcaAuth:
        """Many rules name the same files: they are read once, and what is wrong with them is told at each place."""
        if ref not in self._authorities:
            try:
                self._authorities[ref] = certificates.load(ref, self._read_secret, self._crl_check)
            except CredentialError as error:
                self._authorities[ref] = error
        found = self._authorities[ref]
        if isinstance(found, RootcaAuth):
            return found
        self._told(needed)(at, str(found), "put that right; docs/policy-reference.md says what the files hold")
        return certificates.unread(ref)

    def _rule(self, read: Read, assigned: bool) -> Rule:
        action = self._action(read["filteraction"])
        auth = self._auth(read, assigned and read["activate"]) if action.action is Action.NEGOTIATE else ()
        certificates.check_identity(read["local_id"], auth, read.place("local_id"), self._problems)
        return Rule(
            name=read["name"],
            filter_list=self._list(read["filterlist"]),
            filter_action=action,
            auth=auth,
            at=read.at,
            conntype=read["conntype"],
            active=read["activate"],
            local_id=read["local_id"],
            remote_id=read["remote_id"],
            description=read["description"],
            ppk=self._ppk(read["ppk"], read, assigned) if action.action is Action.NEGOTIATE else None,
            tunnel=read["tunnel"],
            redirects=tuple(read["redirects"]),
            redirect_to=read["redirect_to"],
        )

    # rfc 8784: length
    def _ppk(self, ref: PpkRef | None, rule: Read, assigned: bool) -> Ppk | None:
        if ref is None:
            return None
        at = rule.place("ppk")
        secret = self._secret(ref.secret, at, assigned and rule["activate"])
        if 0 < len(secret) < SHORT_PPK:
            remedy = "make a longer one: openssl rand -base64 32"
            self._problems.warning(at, f"a PPK of {len(secret)} octets has less than 256 bits of entropy", remedy)
        return Ppk(ref.id.encode(), secret, ref.required)

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
            rules=tuple(self._rule(rule, read["assign"]) for rule in read["rules"]),
            mmsecmethods=_with_lifetime(read["mmsecmethods"].proposals, 60 * read["mmlifetime"]),
            at=read.at,
            qmpermm=1 if read["mmpfs"] else read["qmpermm"],
            mmpfs=read["mmpfs"],
            forceencapsulation=read["forceencapsulation"],
            resumption=read["resumption"],
            auth_seconds=60 * read["mmauthlifetime"],
            description=read["description"],
            soft_seconds=read["softsaexpirationtime"],
            default_response=self._default_response(read),
            unresolved=read["unresolved"],
        )

    def _default_response(self, policy: Read) -> DefaultResponse | None:
        read: Read | None = policy["defaultrule"]
        if read is None or not policy["activatedefaultrule"]:
            return None
        return DefaultResponse(
            auth=self._auth(read, policy["assign"]),
            qmsecmethods=read["qmsecmethods"].proposals,
            at=read.at,
            qmpfs=read["qmpfs"],
        )


def _with_lifetime(proposals: Any, seconds: int) -> tuple[Proposal, ...]:
    return tuple(replace(proposal, lifetime=Lifetime(seconds)) for proposal in proposals)
