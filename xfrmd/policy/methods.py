# SPDX-License-Identifier: GPL-2.0-or-later
"""Security methods in netsh's grammar: `ESP[AES128-GCM]:100000k/3600s` and `AES256-SHA256-DHGroup14`.

The names are those of the transform catalog. Windows Server 2003's own (DES, 3DES, MD5, SHA1, groups 1 and 2) are
known too, to be refused with what to write in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from xfrmd.model.proposals import Lifetime, Proposal, ProtocolId, Transform, TransformType
from xfrmd.policy.kinds import Kind, scalar
from xfrmd.policy.nodes import Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.transforms import catalog

KILOBYTES, SECONDS = 100_000, 3_600
"""Lifetime of a quick mode SA where the method names none, as in Windows; each is defaulted by itself."""
_KILOBYTE_RANGE: Final = (20, 2_147_483_647)
_SECOND_RANGE: Final = (10, 172_799)
_ESP: Final = re.compile(r"ESP\[([^\[\],]*)(?:,([^\[\],]*))?\](?::(.*))?", re.IGNORECASE | re.ASCII)
_LIFETIME: Final = re.compile(r"(?:([0-9]{1,12})k)?(/)?(?:([0-9]{1,12})s)?", re.IGNORECASE | re.ASCII)
_ESP_FORM: Final = "write ESP[AES128-GCM] or ESP[AES256,SHA256]:100000k/3600s"
_MM_FORM: Final = "write encryption-hash-group, such as AES256-SHA256-DHGroup14"

_CIPHER: Final = "use AES128-GCM, or AES128"
_HASH: Final = "use SHA256"
_GROUP: Final = "use X25519, ECP256 or DHGroup14 (netsh's group 3)"
_WEAK: Final = {
    **dict.fromkeys(("des", "3des", "descbc", "3descbc", "rc4", "blowfish", "cast"), _CIPHER),
    **dict.fromkeys(("md5", "sha", "sha1", "hmacmd5", "hmacsha1"), _HASH),
    **dict.fromkeys(("1", "2", "5", "dhgroup1", "dhgroup2", "dhgroup5", "low", "medium"), _GROUP),
    **dict.fromkeys(("group1", "group2", "group5", "modp768", "modp1024", "modp1536", "dhgroup22"), _GROUP),
}
_NAMES: Final = ("AES128", "AES192", "AES256", "AES128-GCM", "AES192-GCM", "AES256-GCM", "CHACHA20-POLY1305")


class _Reporter:
    """Reports about one method; remembers whether it was any good."""

    def __init__(self, method: str, node: Node, problems: Problems) -> None:
        self._method, self._node, self._problems = method, node, problems
        self.good = True

    def error(self, message: str, remedy: str) -> None:
        self.good = False
        self._problems.error(self._node, f"{quoted(self._method)}: {message}", remedy)

    def find(self, name: str, find: Callable[[str], Transform], what: str) -> Transform | None:
        """The transform of a name, None (reported) when it is weak or unknown."""
        weak = _WEAK.get(name.casefold().replace("-", "").replace("_", ""))
        if weak is not None:
            self.error(f"{what} {name} is too weak to protect anything", weak)
            return None
        try:
            return find(name)
        except ValueError as error:
            known = str(error).partition("known are ")[2] or ", ".join(_NAMES)
            remedy = f"{did_you_mean(name, known.split(', '), '')} known are {known}".strip()
            self.error(f"{quoted(name)} is no {what} known here", remedy)
            return None


def _is_aead(transform: Transform | None) -> bool:
    row = None if transform is None else catalog.encr_row(transform)
    return row is not None and row.aead


def _lifetime(text: str | None, report: _Reporter) -> Lifetime:
    match = _LIFETIME.fullmatch(text) if text is not None else None
    kilobytes, slash, seconds = match.groups() if match else (None, None, None)
    if text is not None and (not (kilobytes or seconds) or bool(slash) != bool(kilobytes and seconds)):
        report.error(f"{quoted(text)} is no lifetime", "write it as 100000k/3600s, 100000k or 3600s")
    found = Lifetime(int(seconds or SECONDS), int(kilobytes or KILOBYTES))
    for value, (low, high), unit in ((found.kilobytes, _KILOBYTE_RANGE, "k"), (found.seconds, _SECOND_RANGE, "s")):
        if not low <= value <= high:
            report.error(f"a lifetime of {value}{unit} is not possible", f"write {low}{unit} to {high}{unit}")
    return found


def _quick_method(method: str, node: Node, problems: Problems) -> Any:
    report = _Reporter(method, node, problems)
    match = _ESP.fullmatch(method)
    if match is None:
        if method[:3].casefold() == "ah[":
            report.error("AH is not built yet", "use ESP, which also authenticates: ESP[AES128-GCM]")
        else:
            report.error("this is no quick mode method", _ESP_FORM)
        return BAD
    cipher, hash_name, lifetime = match[1].strip(), (match[2] or "").strip(), match[3]
    limits = _lifetime(lifetime, report)
    if cipher.casefold() in ("none", "null", ""):
        report.error("ESP without encryption is not built yet", "name a cipher: ESP[AES128-GCM]")
        return BAD
    encryption = report.find(cipher, catalog.encryption, "encryption")
    integrity = None
    if _is_aead(encryption):
        if hash_name.casefold() not in ("", "none"):
            report.error(f"{cipher} authenticates by itself", f"write ESP[{cipher}]")
    elif hash_name.casefold() in ("", "none"):
        if encryption is not None:
            report.error(f"{cipher} needs an integrity algorithm beside it", f"write ESP[{cipher},SHA256]")
    else:
        integrity = report.find(hash_name, catalog.integrity, "integrity")
    if not report.good or encryption is None:
        return BAD
    transforms = [t for t in (encryption, integrity, Transform(TransformType.ESN, 0)) if t is not None]
    return Proposal(ProtocolId.ESP, tuple(transforms), limits)


def _main_method(method: str, node: Node, problems: Problems) -> Any:
    report = _Reporter(method, node, problems)
    parts = method.rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        report.error("this is no main mode method", _MM_FORM)
        return BAD
    cipher, hash_name, group = parts
    encryption = report.find(cipher, catalog.encryption, "encryption")
    prf = report.find(hash_name, catalog.prf, "hash")
    exchange = report.find(group, catalog.key_exchange, "group")
    if encryption is None or prf is None or exchange is None:
        return BAD
    integrity = () if _is_aead(encryption) else (catalog.integrity(hash_name),)
    return Proposal(ProtocolId.IKE, (encryption, *integrity, prf, exchange), Lifetime(0))


def _methods(what: str, one: Callable[[str, Node, Problems], Any], example: str) -> Kind:
    """An ordered list of methods; netsh's one string of several methods is understood too."""

    def read(node: Node, problems: Problems) -> Any:
        items = node.items if isinstance(node, SequenceNode) else [node]
        texts = [(item, scalar(item, problems, f"a method such as {example}")) for item in items]
        found = [(word, item) for item, text in texts if text is not None for word in text.split()]
        if not found:
            if not any(text is None for _, text in texts):
                problems.error(node, f"the list of {what} is empty", f"add one, such as {example}, or remove the key")
            return BAD
        proposals: dict[Proposal, None] = {}
        for word, item in found:
            proposal = one(word, item, problems)
            if proposal in proposals:
                problems.warning(item, f"{quoted(word)} stands twice", "remove one of the two")
            elif proposal is not BAD:
                proposals[proposal] = None
        return tuple(proposals) or BAD

    item = {"type": "string", "minLength": 4}
    schema = {"anyOf": [{"type": "array", "items": item, "minItems": 1}, item]}
    return Kind(f"list of methods such as {example}", schema, read)


QUICK_METHODS: Final = _methods("quick mode methods", _quick_method, "ESP[AES128-GCM]:100000k/3600s")
MAIN_METHODS: Final = _methods("main mode methods", _main_method, "AES256-SHA256-DHGroup14")

DEFAULT_QUICK: Final = ("ESP[AES128-GCM]", "ESP[AES256-GCM]", "ESP[AES256,SHA256]", "ESP[AES128,SHA256]")
"""What Linux and Windows peers of today have in common, the quickest first."""
DEFAULT_MAIN: Final = (
    "AES128-GCM-SHA256-X25519",
    "AES256-GCM-SHA384-ECP384",
    "AES256-SHA256-ECP256",
    "AES256-SHA256-DHGroup14",
)
"""The quickest first, then what peers without X25519 or AES-GCM have."""


def _defaults(methods: tuple[str, ...], one: Callable[[str, Node, Problems], Any]) -> tuple[Proposal, ...]:
    problems, nowhere = Problems(""), ScalarNode(1, 1, "", plain=True)
    return tuple(one(method, nowhere, problems) for method in methods)


DEFAULT_QUICK_PROPOSALS: Final = _defaults(DEFAULT_QUICK, _quick_method)
DEFAULT_MAIN_PROPOSALS: Final = _defaults(DEFAULT_MAIN, _main_method)
