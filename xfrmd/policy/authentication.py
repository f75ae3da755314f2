# SPDX-License-Identifier: GPL-2.0-or-later
"""How peers prove who they are: methods in order of preference, as a rule or the default response rule lists them."""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.model.secret import Secret, SecretRef
from xfrmd.model.source import Span
from xfrmd.policy.certificates import ROOTCA_KIND, RootcaRef
from xfrmd.policy.identities import PSK
from xfrmd.policy.kinds import FLAG, Kind, list_of
from xfrmd.policy.nodes import Node, SequenceNode
from xfrmd.policy.problems import BAD, Problems
from xfrmd.policy.records import Field, Later, Read, Record


class MethodKind(enum.Enum):
    """Windows' three ways to authenticate, by their keys."""

    PSK = "psk"
    KERBEROS = "kerberos"
    ROOTCA = "rootca"


_Value = Secret | SecretRef | RootcaRef | str | bool
_BY_FILES: Final = "rootca: {ca: {file: CA.pem}, certificate: {file: HOST.pem}, key: {file: HOST.key}}"


class Method(NamedTuple):
    """One method as read. `value` is the secret or where it is kept, or a certification authority: by reference, or by
    its name alone.
    """

    kind: MethodKind
    at: Span
    value: _Value

    @property
    def words(self) -> tuple[MethodKind, _Value]:
        """What it says, wherever it stands."""
        return (self.kind, self.value)

    @property
    def not_built(self) -> str:
        """Why no peer can be asked for it, "" when one can. Such methods are read, so that policies of Windows can be
        written down.
        """
        if self.kind is MethodKind.KERBEROS:
            return "Kerberos authentication is not built yet"
        by_name = self.kind is MethodKind.ROOTCA and isinstance(self.value, str)
        return "authentication by certificate under an authority's name alone is not built yet" if by_name else ""

    @property
    def instead(self) -> str:
        """What to write that is built."""
        return "name its file and ours: " + _BY_FILES if self.kind is MethodKind.ROOTCA else ""


def _given(read: Read) -> list[Method]:
    """The methods that stand in a mapping as keys of their own, in the order of the file, as netsh has it."""
    kinds = [MethodKind(name) for name in read.names() if name in _BY_KEY and read[name] not in (BAD, False)]
    return [Method(kind, read.place(kind.value), read[kind.value]) for kind in kinds]


def _build_method(read: Read, problems: Problems) -> Any:
    found = _given(read)
    if read.whole and len(found) != 1:
        return problems.error(read.at, "expected is one method", "write psk: {file: /etc/xfrmd/psk}")
    return found[0] if read.whole else BAD


_KEYS: Final = (
    Field("psk", PSK, "shared secret", shown="none", netsh="psk"),
    Field("kerberos", FLAG, "Kerberos; read, but not built yet", default=False, shown="no", netsh="kerberos"),
    Field(
        "rootca",
        ROOTCA_KIND,
        "certificates of this authority; by its name alone read, but not built yet",
        netsh="rootca",
    ),
)
_BY_KEY: Final = frozenset(field.name for field in _KEYS)
METHOD: Final = Record(
    "authentication method",
    "One way to prove who one is.",
    _KEYS,
    (Later("certificate", "choosing a certificate", "write rootca: with the name of the authority"),),
    build=_build_method,
    exactly_one=True,
)
_METHODS: Final = list_of(METHOD.kind(), "authentication methods")


def _read_methods(node: Node, problems: Problems) -> Any:
    found = _METHODS.read(node, problems)
    if found is BAD or not isinstance(node, SequenceNode) or len(found) < len(node.items):
        return BAD
    if len(found) > limits.AUTH_METHODS:
        remedy = f"write {limits.AUTH_METHODS} at most"
        return problems.error(node, f"{len(found)} authentication methods stand here", remedy)
    kept: dict[object, Method] = {}
    for one in found:
        if one.words in kept:
            problems.warning(one.at, "this method stands twice", "remove one of the two")
        kept.setdefault(one.words, one)
    return list(kept.values())


AUTH: Final = Kind(_METHODS.words, _METHODS.schema | {"maxItems": limits.AUTH_METHODS}, _read_methods)
FIELDS: Final = (
    Field("auth", AUTH, "how peers prove who they are, the best first; instead of the three keys below"),
    *_KEYS,
)
"""The keys of an object that authenticates."""


def methods(read: Read) -> list[Method]:
    """The methods of an object, the best first; none where one could not be read."""
    if not read.good("auth", *_BY_KEY):
        return []
    return read["auth"] if read.given("auth") else _given(read)


def check(read: Read, what: str, problems: Problems) -> None:
    """Report an object whose peers could not be authenticated, and what of its methods is left out."""
    keys = [name for name in read.names() if name in _BY_KEY]
    if read.given("auth") and keys:
        remedy = f"write {keys[0]} as an entry of auth"
        problems.error(read.place(keys[0]), f"{keys[0]} stands beside auth, which is the whole list", remedy)
        return
    if not read.good("auth", *_BY_KEY):
        return
    found = methods(read)
    if not found:
        remedy = "add psk: {file: /etc/xfrmd/psk} with the shared secret"
        problems.error(read.at, f"{what} needs a psk or a rootca", remedy)
    elif all(one.not_built for one in found):
        remedy = "add a psk behind it, or let the rule's action be block until then: nothing may pass unprotected"
        problems.error(found[0].at, f"{found[0].not_built}, and there is no other method", found[0].instead or remedy)
    else:
        for one in found:
            if one.not_built:
                remedy = one.instead or "remove it; peers authenticate by the other methods"
                problems.warning(one.at, f"{one.not_built}: this method is left out", remedy)
