# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom a rootca asks by HTTP whether certificates were revoked, as a policy says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from xfrmd.credentials.locations import location_of, place_of
from xfrmd.limits import fetching
from xfrmd.model.pad import Fetching
from xfrmd.policy.kinds import FLAG, Kind, list_of, one_of, scalar
from xfrmd.policy.nodes import MappingNode, Node
from xfrmd.policy.problems import BAD, Problems
from xfrmd.policy.records import Field, Read, Record

_URL_FORM: Final = "an address: http://host/path"
_HOST_FORM: Final = "a host: crl.example.com, or with a port behind a colon"


def _checked(wanted: str, read: Callable[[str], Any]) -> Kind:
    """A text that `read` takes; it raises ValueError with the reason."""

    def recognise(node: Node, problems: Problems) -> Any:
        value = scalar(node, problems, wanted)
        if value is None:
            return BAD
        try:
            return read(value)
        except ValueError as error:
            return problems.error(node, str(error), f"write {wanted}")

    return Kind(wanted, {"type": "string", "minLength": 1, "maxLength": fetching.URL}, recognise)


def _url(value: str) -> str:
    location_of(value)
    return value


def _build(read: Read, problems: Problems) -> Any:
    for name in ("lists", "ocsp", "hosts"):
        count = len(read[name]) if read.good(name) else 0
        if count > fetching.PLACES:
            message = f"{name} has {count} entries; {fetching.PLACES} at most are taken"
            problems.error(read.place(name), message, "leave those out that certificates name themselves")
            return BAD
    if not read.whole:
        return BAD
    hosts = tuple((place.host, place.port) for place in read["hosts"])
    return Fetching(tuple(read["lists"]), tuple(read["ocsp"]), hosts)


FETCHING: Final = Record(
    "fetching",
    "Whom to ask whether certificates were revoked, beside those that our own certificates name.",
    (
        Field(
            "lists",
            list_of(_checked(_URL_FORM, _url), "addresses"),
            "addresses of revocation lists of the authority and of those between it and our certificate, which are "
            "fetched ahead",
            default=(),
            shown="none",
        ),
        Field(
            "ocsp",
            list_of(_checked(_URL_FORM, _url), "addresses"),
            "addresses of OCSP responders that are asked about every peer's certificate",
            default=(),
            shown="none",
        ),
        Field(
            "hosts",
            list_of(_checked(_HOST_FORM, place_of), "hosts"),
            "hosts that a peer's certificate may name for lists and responders; the port is 80 unless given",
            default=(),
            shown="none",
        ),
    ),
    build=_build,
)
_MORE: Final = FETCHING.kind()


def _read_flag(node: Node, problems: Problems) -> Any:
    value = FLAG.read(node, problems)
    return value if value is BAD else (Fetching() if value else None)


_PLAIN: Final = Kind(FLAG.words, FLAG.schema, _read_flag)
FETCH: Final = one_of((_PLAIN, _MORE), lambda node: _MORE if isinstance(node, MappingNode) else _PLAIN)
