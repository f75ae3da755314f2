# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE identities and shared secrets as a rule names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from xfrmd.credentials.names import distinguished
from xfrmd.model.pad import Identity, IdType
from xfrmd.model.secret import Secret, SecretRef, SecretSource
from xfrmd.model.source import Span
from xfrmd.policy.addresses import ip
from xfrmd.policy.kinds import FLAG, Kind, one_of, scalar, text
from xfrmd.policy.nodes import MappingNode, Node
from xfrmd.policy.problems import BAD, Problems, quoted
from xfrmd.policy.records import Field, Read, Record

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_FQDN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAIL: Final = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_ID_FORM: Final = (
    "an IP address, a host name (@host.example or host.example), user@host.example, a distinguished name (O=Example, "
    "CN=host) or a key ID (keyid:office-7, keyid:0x0a0b)"
)
_KEY_ID: Final = "keyid:"
_HEX: Final = "0x"
_NO_NAMES: Final = ("any", "me")
"""Whoever writes these means an address, or everybody; as a host name they would let in nobody."""
SHORT_SECRET: Final = 16
"""A shared secret with fewer octets than this can be guessed offline by whoever hears the negotiation."""


SHORT_PPK: Final = 32
"""Octets of a postquantum preshared key, below which a quantum computer has a chance (RFC 8784 5.1)."""


# rfc 7296: id-types
def _read_key_id(value: str, node: Node, problems: Problems) -> Any:
    """A key ID as text, or octets in hexadecimal."""
    name = value.removeprefix(_KEY_ID)
    octets = _octets(name.removeprefix(_HEX)) if name.startswith(_HEX) else name.encode()
    if not octets:
        return problems.error(node, f"{quoted(value)} is no key ID", "write keyid: and a name, or 0x and octets")
    return Identity(IdType.KEY_ID, octets)


def _octets(digits: str) -> bytes:
    """Octets in hexadecimal, b"" where they are none. Never told why: it may be a secret."""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _read_identity(node: Node, problems: Problems) -> Any:
    value = scalar(node, problems, _ID_FORM)
    if value is None:
        return BAD
    address = ip(value)
    if address is not None:
        return Identity(IdType.IPV4_ADDR if address.family == 4 else IdType.IPV6_ADDR, address.packed)
    if value.startswith(_KEY_ID):
        return _read_key_id(value, node, problems)
    if value.startswith("%") or "*" in value:
        return problems.error(
            node, f"{quoted(value)}: identities with wildcards are not built yet", "name one identity"
        )
    if "=" in value and not _MAIL.fullmatch(value):
        try:
            return distinguished(value)
        except ValueError:
            return problems.error(node, f"{quoted(value)} is no distinguished name", "write it as O=Example, CN=host")
    if value.casefold() in _NO_NAMES:
        return problems.error(node, f"{quoted(value)} is a word for addresses, no identity", f"write {_ID_FORM}")
    name = value.removeprefix("@")
    # A name of digits and dots alone is a mistyped address, never a host.
    if _FQDN.fullmatch(name) and not name.replace(".", "").isdigit():
        return Identity(IdType.FQDN, name.encode("ascii"))
    if _MAIL.fullmatch(value):
        return Identity(IdType.RFC822_ADDR, value.encode("ascii"))
    return problems.error(node, f"{quoted(value)} is no identity", f"write {_ID_FORM}")


IDENTITY: Final = Kind(_ID_FORM, {"type": "string", "minLength": 1, "maxLength": 1024}, _read_identity)


def _build_reference(what: str, *, public: bool, lists: bool) -> Callable[[Read, Problems], Any]:
    example = f"{what}: {{file: /etc/xfrmd/{'host.pem' if public else what}}}"

    def build(read: Read, problems: Problems) -> Any:
        given = [source for source in SecretSource if read.given(source.value)]
        if len(given) != 1 and read.whole:
            return problems.error(read.at, f"{what} needs either a file or a credential", f"write {example}")
        if not read.whole:
            return BAD
        name = read[given[0].value]
        place = read.place(given[0].value)
        if given[0] is SecretSource.FILE and not name.startswith("/"):
            return problems.error(
                place,
                f"the file of a {what} needs an absolute path",  # not shown: a secret put here would be told
                f"write {example}, or where the file lies",
            )
        if given[0] is SecretSource.CREDENTIAL and ("/" in name or name in (".", "..")):
            return problems.error(place, f"{quoted(name)} is no name of a credential", "write the name alone")
        return SecretRef(given[0], name, public, lists)

    return build


def reference(what: str, about: str, held: str, *, public: bool = False, lists: bool = False) -> Record:
    """Where something is kept that is not written into a policy. `held`: what the file holds, and who may use it."""
    return Record(
        f"{what} reference",
        about,
        (
            Field("file", text("an absolute path", 1), f"file that holds {held}"),
            Field("credential", text("a name", 1, 255), "name of a systemd credential (LoadCredential=)"),
        ),
        build=_build_reference(what, public=public, lists=lists),
        exactly_one=True,
    )


# rfc 7296: psk-input
def _build_secret(read: Read, problems: Problems) -> Any:
    if not read.given("hex"):
        return _build_place(read, problems)
    if any(read.given(source.value) for source in SecretSource):
        return problems.error(read.at, "a psk is in one place", "write one of file, credential and hex")
    octets = _octets(read["hex"]) if read.whole else b""
    if read.whole and not octets:
        return problems.error(read.place("hex"), "these are no octets in hexadecimal", "write pairs of digits: 00ff1e")
    return Secret(octets) if read.whole else BAD


_build_place: Final = _build_reference("psk", public=False, lists=False)
_BY_PLACE: Final = reference("psk", "", "the secret, readable by xfrmd alone")
SECRET: Final = Record(
    "psk reference",
    "Where a shared secret is kept, or its octets. One line break at the end of a file is not part of the secret.",
    (*_BY_PLACE.fields, Field("hex", text("octets in hexadecimal", 2), "the secret itself, as octets")),
    build=_build_secret,
    exactly_one=True,
)


class PpkRef(NamedTuple):
    """A postquantum preshared key by reference."""

    id: str
    secret: SecretRef
    required: bool


def _build_ppk(read: Read, problems: Problems) -> Any:
    del problems
    return PpkRef(read["id"], read["secret"], read["required"]) if read.whole else BAD


PPK_SECRET: Final = reference("ppk secret", "Where a PPK is kept.", "the key, readable by xfrmd alone")
PPK: Final = Record(
    "postquantum preshared key",
    "A secret that goes into the keys beside whatever authenticates (RFC 8784).",
    (
        Field("id", text("a name", 1, 255), "by which both ends name it", required=True),
        Field("secret", PPK_SECRET.kind(), "the key itself: 32 random octets or more", required=True),
        Field(
            "required",
            FLAG,
            "no: peers that do not have it are talked to without it",
            default=True,
            shown="yes",
        ),
    ),
    build=_build_ppk,
)


def _read_inline(node: Node, problems: Problems) -> Any:
    value = _INLINE_TEXT.read(node, problems)
    return value if value is BAD else Secret(value.encode())


_INLINE_TEXT: Final = text("the secret as text", 1)
_INLINE: Final = Kind("the secret as text", _INLINE_TEXT.schema, _read_inline)
_REFERENCE: Final = SECRET.kind()
PSK: Final = one_of((_INLINE, _REFERENCE), lambda node: _REFERENCE if isinstance(node, MappingNode) else _INLINE)


def check_secret(secret: bytes, place: Span, problems: Problems) -> None:
    """Warn about a secret that is weak, or that was perhaps meant otherwise."""
    if len(secret) < SHORT_SECRET:
        remedy = "make a long one: openssl rand -base64 32"
        problems.warning(place, f"a shared secret of {len(secret)} octets can be guessed offline", remedy)
    if secret[:2].lower() in (b"0x", b"0s"):
        remedy = "give the peer the same text, or write the octets as psk: {hex: 00ff1e}"
        problems.warning(place, "the secret is taken as text, 0x or 0s included", remedy)
