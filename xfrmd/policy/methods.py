# SPDX-License-Identifier: GPL-2.0-or-later
"""Security methods in netsh's grammar: `ESP[AES128-GCM]:100000k/3600s`, `AH[SHA256]`, `AES256-SHA256-DHGroup14`.

The names are those of the transform catalog, which has Windows Server 2003's own as well: 3DES, SHA1 and groups 2 and 5
for policies that say `allow_weak: true`. DES, MD5 and group 1 are understood, so that such a policy can be written
down, but a method that has one of them is never offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from xfrmd.model.proposals import ADDITIONAL, Lifetime, Proposal, ProtocolId, Transform, TransformType
from xfrmd.model.source import Span
from xfrmd.policy.kinds import Kind, scalar
from xfrmd.policy.nodes import Node, ScalarNode, SequenceNode
from xfrmd.policy.problems import BAD, Problems, did_you_mean, quoted
from xfrmd.transforms import catalog

KILOBYTES, SECONDS = 100_000, 3_600
"""Lifetime of a quick mode SA where the method names none, as in Windows; each is defaulted by itself."""
_KILOBYTE_RANGE: Final = (20, 2_147_483_647)
_SECOND_RANGE: Final = (10, 172_799)
_ESP: Final = re.compile(r"ESP\[([^\[\],]*)(?:,([^\[\],]*))?\](?::(.*))?", re.IGNORECASE | re.ASCII)
_AH: Final = re.compile(r"AH\[([^\[\]]*)\](?::(.*))?", re.IGNORECASE | re.ASCII)
_AH_AND_ESP: Final = re.compile(r"(?:AH\[[^\[\]]*\]\+ESP|ESP\[[^\[\]]*\]\+AH)\[.*", re.IGNORECASE | re.ASCII)
_DIGITS: Final = "(0|[1-9][0-9]{0,11})"
_LIFETIME: Final = re.compile(rf"(?:{_DIGITS}k)?(/)?(?:{_DIGITS}s)?", re.IGNORECASE | re.ASCII)
_METHOD: Final = re.compile(r"(?:\[[^\]]*\]?|[^\s\[])+")
"""One of several methods in a text: spaces inside brackets do not end it."""
_ESP_FORM: Final = "write ESP[AES128-GCM] or ESP[AES256,SHA256]:100000k/3600s"
_SPACES: Final = "put a space between two methods, or write a list of methods"
_MM_FORM: Final = "write encryption-hash-group, such as AES256-SHA256-DHGroup14"

_KEM: Final = "mlkem"
_CIPHER: Final = "use AES128-GCM, or AES128"
_HASH: Final = "use SHA256"
_GROUP: Final = "use X25519, ECP256 or DHGroup14 (netsh's group 3)"
_UNFIT: Final = {
    **dict.fromkeys(("des", "descbc"), _CIPHER),
    **dict.fromkeys(("md5", "hmacmd5"), _HASH),
    **dict.fromkeys(("1", "dhgroup1", "group1", "modp768", "low"), _GROUP),
}
"""Read under `allow_weak`, and never negotiated."""
_REMEDIES: Final = {
    TransformType.ENCR: _CIPHER,
    TransformType.PRF: _HASH,
    TransformType.INTEG: _HASH,
    TransformType.KE: _GROUP,
}
_NAMES: Final = ("AES128", "AES192", "AES256", "AES128-GCM", "AES192-GCM", "AES256-GCM", "CHACHA20-POLY1305")


class Weak(NamedTuple):
    """A weak algorithm in a method: where, what, what to use instead. `unfit`: the method is not offered at all."""

    at: Span
    what: str
    remedy: str
    unfit: bool


class Methods(NamedTuple):
    """Methods as read: those that can be offered, in their order, and what is weak among all that stand there."""

    proposals: tuple[Proposal, ...]
    weak: tuple[Weak, ...] = ()

    def check(self, at: Span, what: str, problems: Problems, *, allowed: bool) -> None:
        """Refuse weak algorithms, or where they are allowed tell which methods are left out."""
        for one in self.weak:
            if not allowed:
                instead = "" if one.unfit else "; or write allow_weak: true in the policy file"
                problems.error(one.at, f"{one.what} is too weak to protect anything", one.remedy + instead)
            elif one.unfit:
                problems.warning(one.at, f"{one.what} is never negotiated: this method is left out", one.remedy)
        if allowed and not self.proposals:
            problems.error(at, f"none of these {what} can be negotiated", "add one of today")


_UNOFFERED: Final = Transform(TransformType.ENCR, 0)
"""Stands for an algorithm that is understood and never offered; its number is reserved (IANA)."""


class _Reporter:
    """Reports about one method; remembers whether it was any good."""

    def __init__(self, method: str, node: Node, problems: Problems) -> None:
        self._method, self._node, self._problems = method, node, problems
        self.good = True
        self.weak: list[Weak] = []

    def error(self, message: str, remedy: str) -> None:
        self.good = False
        self._problems.error(self._node, f"{quoted(self._method)}: {message}", remedy)

    def find(self, name: str, find: Callable[[str], Transform], what: str) -> Transform | None:
        """The transform of a name, None (reported) when it is unknown. What is weak is noted."""
        unfit = _UNFIT.get(name.casefold().replace("-", "").replace("_", ""))
        if unfit is not None:
            self._note(name, what, unfit, unfit=True)
            return _UNOFFERED
        try:
            found = find(name)
        except ValueError as error:
            known = str(error).partition("known are ")[2] or ", ".join(_NAMES)
            near = f"write DHGroup{name};" if name.isdigit() else did_you_mean(name, known.split(", "), "")
            remedy = f"{near} known are {known}".strip()
            self.error(f"{quoted(name)} is no {what} known here", remedy)
            return None
        if catalog.is_weak(found):
            self._note(name, what, _REMEDIES[TransformType(found.type)], unfit=False)
        return found

    def _note(self, name: str, what: str, remedy: str, *, unfit: bool) -> None:
        at = self._problems.span(self._node)
        self.weak.append(Weak(at, f"{quoted(self._method)}: {what} {name}", remedy, unfit))

    def proposal(self, protocol: ProtocolId, transforms: Iterable[Transform], lifetime: Lifetime) -> Any:
        """The method as a proposal, None for one that is not offered, BAD when something was wrong."""
        if not self.good:
            return BAD
        return None if any(one.unfit for one in self.weak) else Proposal(protocol, tuple(transforms), lifetime)


def _is_aead(transform: Transform | None) -> bool:
    row = None if transform is None else catalog.encr_row(transform)
    return row is not None and row.aead


def _protects_ike(transform: Transform) -> bool:
    row = catalog.encr_row(transform)
    return row is None or row.ike


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


def _quick_method(method: str, report: _Reporter) -> Any:
    match = _ESP.fullmatch(method)
    if match is None:
        return _ah_method(method, report)
    cipher, hash_name, lifetime = match[1].strip(), (match[2] or "").strip(), match[3]
    limits = _lifetime(lifetime, report)
    clear = cipher.casefold() in ("none", "null", "")
    if clear and hash_name.casefold() in ("", "none"):
        report.error("this protects nothing", "name a cipher: ESP[AES128-GCM], or integrity alone: ESP[None,SHA256]")
        return BAD
    cipher = "NULL" if clear else cipher
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
    transforms = (t for t in (encryption, integrity) if t is not None)
    return report.proposal(ProtocolId.ESP, transforms, limits)


def _ah_method(method: str, report: _Reporter) -> Any:
    match = _AH.fullmatch(method)
    if match is None:
        if _AH_AND_ESP.fullmatch(method):
            report.error(
                "AH around ESP is not built", "use ESP with integrity: ESP[AES128-GCM]; or AH alone: AH[SHA256]"
            )
        else:
            report.error("this is no quick mode method", _SPACES if "]," in method else _ESP_FORM)
        return BAD
    hash_name, limits = match[1].strip(), _lifetime(match[2], report)
    if hash_name.casefold() in ("", "none"):
        report.error("this protects nothing", "name an integrity algorithm: AH[SHA256]")
        return BAD
    integrity = report.find(hash_name, catalog.integrity, "integrity")
    return report.proposal(ProtocolId.AH, () if integrity is None else (integrity,), limits)


def _main_method(method: str, report: _Reporter) -> Any:
    parts = method.rsplit("-", 2)
    if len(parts) != 3 or not all(parts) or "," in method:
        report.error("this is no main mode method", _SPACES if "," in method else _MM_FORM)
        return BAD
    cipher, hash_name, group = parts
    encryption = report.find(cipher, catalog.encryption, "encryption")
    if encryption is not None and not _protects_ike(encryption):
        report.error("IKE needs encryption", "name a cipher, such as AES128-GCM")
        return BAD
    prf = report.find(hash_name, catalog.prf, "hash")
    exchanges = _key_exchanges(group, report)
    if encryption is None or prf is None or exchanges is None:
        return BAD
    integrity = () if _is_aead(encryption) or prf is _UNOFFERED else (catalog.integrity(hash_name),)
    return report.proposal(ProtocolId.IKE, (encryption, *integrity, prf, *exchanges), Lifetime(0))


def _key_exchanges(text: str, report: _Reporter) -> tuple[Transform, ...] | None:
    """`X25519`, or `X25519+MLKEM768` with additional key exchanges in the order in which they are made (RFC 9370)."""
    group, *names = text.split("+")
    if group.casefold().startswith(_KEM) and not names:
        report.error(f"{quoted(group)} goes beside another group", f"write X25519+{group}")
        return None
    if len(names) > len(ADDITIONAL):
        report.error(f"{len(names)} additional key exchanges", f"name {len(ADDITIONAL)} at most (RFC 9370)")
        return None
    first = report.find(group, catalog.key_exchange, "group")
    more = [report.find(name, catalog.additional_key_exchange, "group") for name in names]
    found = [one for one in (first, *more) if one is not None]
    if len(found) <= len(names):
        return None
    if len(set(found)) < len(found):
        report.error("a group stands twice", "name each once: a second key exchange of a kind adds nothing")
        return None
    additional = (one._replace(type=kind) for one, kind in zip(found[1:], ADDITIONAL, strict=False))
    return (found[0], *additional)


def _methods(what: str, one: Callable[[str, _Reporter], Any], example: str) -> Kind:
    """An ordered list of methods; netsh's one string of several methods is understood too."""

    def read(node: Node, problems: Problems) -> Any:
        items = node.items if isinstance(node, SequenceNode) else [node]
        texts = [(item, scalar(item, problems, f"a method such as {example}")) for item in items]
        found = [(word, item) for item, text in texts if text is not None for word in _METHOD.findall(text)]
        if not found:
            if not any(text is None for _, text in texts):
                problems.error(node, f"the list of {what} is empty", f"add one, such as {example}, or remove the key")
            return BAD
        proposals: dict[Any, None] = {}
        weak: list[Weak] = []
        for word, item in found:
            report = _Reporter(word, item, problems)
            proposal = _beside(one(word, report), proposals, report)
            weak += report.weak
            _tell_repeated(word, proposal, proposals, item, problems)
            proposals[proposal] = None
        return BAD if BAD in proposals else Methods(tuple(one for one in proposals if one is not None), tuple(weak))

    item = {"type": "string", "minLength": 4}
    schema = {"anyOf": [{"type": "array", "items": item, "minItems": 1}, item]}
    return Kind(f"list of methods such as {example}", schema, read)


def _beside(proposal: Any, earlier: Iterable[Any], report: _Reporter) -> Any:
    """An entry of the SPD names one protocol: a filter's packets cannot go by ESP to some peers, by AH to others."""
    others = (one for one in earlier if isinstance(one, Proposal) and isinstance(proposal, Proposal))
    if any(one.protocol != proposal.protocol for one in others):
        remedy = "keep one of them; hosts that want the other get a filter action with it, in a rule of their own"
        report.error("ESP and AH in one list of methods, and all packets of a filter go by one", remedy)
        return BAD
    return proposal


def _tell_repeated(word: str, proposal: Any, earlier: Iterable[Any], node: Node, problems: Problems) -> None:
    """Of two methods with the same algorithms the second is never chosen, whatever its lifetimes."""
    if not isinstance(proposal, Proposal):
        return
    if proposal in earlier:
        problems.warning(node, f"{quoted(word)} stands twice", "remove one of the two")
    elif any(isinstance(one, Proposal) and one.transforms == proposal.transforms for one in earlier):
        message = f"{quoted(word)} is never chosen: a method before it has the same algorithms"
        problems.warning(node, message, "remove one of the two")


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


def _defaults(methods: tuple[str, ...], one: Callable[[str, _Reporter], Any]) -> Methods:
    problems, nowhere = Problems(""), ScalarNode(1, 1, "", plain=True)
    return Methods(tuple(one(method, _Reporter(method, nowhere, problems)) for method in methods))


DEFAULT_QUICK_METHODS: Final = _defaults(DEFAULT_QUICK, _quick_method)
DEFAULT_MAIN_METHODS: Final = _defaults(DEFAULT_MAIN, _main_method)
