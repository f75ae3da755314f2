# SPDX-License-Identifier: GPL-2.0-or-later
"""The control API in one table: commands, their arguments and the fields of their answers.

Both ends speak JSON, one object per line, over a Unix stream socket:

    {"schema": 1, "command": "delete", "arguments": {"spi": "all"}}
    {"schema": 1, "ok": true, "answer": {"deleted": 4}}
    {"schema": 1, "ok": false, "error": {"code": "unknown-spi", "message": "...", "remedy": "...", "exit": 1}}

Fields may be added within a schema number, never renamed or removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from xfrmd import limits
from xfrmd.control.exits import ExitCode
from xfrmd.errors import XfrmdError

SCHEMA: Final = 1
SOCKET: Final = "/run/xfrmd/control.sock"

Json = dict[str, Any]


class ControlError(XfrmdError):
    """A request was refused or could not be made. `details` are further fields of the error object."""

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str = "",
        exit_code: int = ExitCode.ERROR,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy
        self.exit_code = exit_code
        self.details = dict(details or {})

    def to_json(self) -> Json:
        """The error object of an answer."""
        fixed = {"code": self.code, "message": str(self), "remedy": self.remedy, "exit": int(self.exit_code)}
        return {**self.details, **fixed}


class Argument(NamedTuple):
    """One argument. Numbers may be whole where `kind` is float; `limit` is the longest text, the greatest number or the
    most entries of an object, whose values are texts, or lists of texts as well where `lists` says so.
    """

    name: str
    kind: type
    story: str
    required: bool = True
    limit: float = 1024
    lists: bool = False


class Command(NamedTuple):
    """One command: what it is for, what it takes, what its answer holds (field name to JSON type)."""

    name: str
    story: str
    arguments: tuple[Argument, ...]
    answer: Mapping[str, type]


_NAME: Final = 4096
"""The longest name of a file that Linux takes (PATH_MAX)."""
_TEXT: Final = float("inf")  # bounded by limits.CONTROL_REQUEST
_WAIT: Final = Argument("wait", float, "seconds to wait for the outcome", required=False, limit=limits.CONTROL_WAIT)
_SPI: Final = Argument("spi", str, "8 hex digits of a child SA, 16 of an IKE SA, or all", limit=18)
_REKEYED: Final = Argument(
    "spi", str, "8 hex digits of a child SA, 16 of an IKE SA, all child SAs: all, all IKE SAs: ike", limit=18
)
_POLICY: Final = (
    Argument("text", str, "the policy, YAML", limit=_TEXT),
    Argument("file", str, "its absolute file name, for messages", limit=_NAME),
    Argument("files", dict, "texts of the files that it includes, by name", required=False, limit=limits.INCLUDE_FILES),
    Argument(
        "variables",
        dict,
        "values of variables, texts or lists of texts, by name",
        required=False,
        limit=limits.VARIABLES_GIVEN,
        lists=True,
    ),
)

_STORE: Final = Argument("store", str, "persistent, directory or local", required=False, limit=10)
_IN_FORCE: Final = {"policy": str, "warnings": list, "filters": int, "stores": list}

COMMANDS: Final = (
    Command("version", "which daemon this is", (), {"version": str, "pid": int, "since": float}),
    Command(
        "status",
        "policy, kernel, peers, counters in short",
        (),
        {
            "state": str,
            "policy": dict,
            "stores": list,
            "kernel": dict,
            "boot": dict,
            "revocation": list,
            "ike_sas": int,
            "child_sas": int,
            "peers": list,
            "held": dict,
            "drops": dict,
        },
    ),
    Command(
        "sas",
        "IKE SAs and their child SAs: all, those with a peer, or the one with an SPI",
        (
            Argument("remote", str, "address of the peer", required=False, limit=64),
            Argument(
                "spi", str, "8 hex digits of a child SA, 16 of an IKE SA, of either end", required=False, limit=18
            ),
        ),
        {"ike_sas": list, "child_sas": list},
    ),
    Command("plan", "the compiled plan in force, secrets blank", (), {"plan": dict}),
    Command("facts", "what is known of this host, and from where", (), {"facts": dict, "sources": dict}),
    Command("counters", "every counter", (), {"counters": dict}),
    Command(
        "filters",
        "packets and octets by filter of the policies in force",
        (
            Argument("top", float, "how many filters to list", required=False, limit=limits.FILTERS_LISTED),
            Argument("unused", bool, "those that have decided no packet, in their order", required=False),
        ),
        {"filters": list, "count": int, "unused": int, "packets": int, "octets": int},
    ),
    Command(
        "explain",
        "which filter decides a packet, by the plan in force",
        (Argument("packet", str, "as in direction=out src=10.1.0.5 dst=10.1.2.3 protocol=tcp dport=445"),),
        {
            "verdict": str,
            "rule": str,
            "filter_list": str,
            "filter_action": str,
            "filter": str,
            "selector": str,
            "weight": list,
            "at": str,
            "notes": list,
            "runners_up": list,
            "kernel": dict,
        },
    ),
    Command(
        "diff",
        "which traffic fares differently under a policy and the one in force",
        (
            *_POLICY,
            Argument("running", str, "which of both is the one in force: old or new", required=False, limit=3),
            _STORE,
        ),
        {
            "equal": bool,
            "complete": bool,
            "kinds": dict,
            "changes": list,
            "more_changes": int,
            "peers": list,
            "more_peers": int,
            "default_response": bool,
            "exempt": list,
        },
    ),
    Command(
        "apply",
        "put a policy in force",
        (*_POLICY, Argument("allow_lockout", bool, "also one that closes the management ports", required=False)),
        {"policy": str, "warnings": list, "filters": int, "changes": dict, "stores": list},
    ),
    Command("reload", "read the policy file and the directory again", (), _IN_FORCE),
    Command(
        "assign",
        "let a policy be the persistent one",
        (
            *_POLICY,
            _STORE,
            Argument("allow_lockout", bool, "also one that closes the management ports", required=False),
        ),
        {"store": str, "changed": bool, **_IN_FORCE},
    ),
    Command("unassign", "have no persistent policy any more", (_STORE,), {"store": str, "changed": bool, **_IN_FORCE}),
    Command("stores", "what each policy store holds", (), {"stores": list}),
    Command("delete", "delete SAs, and tell the peer", (_SPI, _WAIT), {"deleted": int}),
    Command("rekey", "replace an SA now", (_REKEYED, _WAIT), {"rekeyed": str}),
    Command(
        "initiate",
        "negotiate without waiting for traffic",
        (
            Argument("remote", str, "address of the peer", limit=64),
            Argument("local", str, "address of ours, when there are several", required=False, limit=64),
            Argument("rule", str, "name of the rule, when several fit", required=False),
            _WAIT,
        ),
        {"rule": str, "local": str, "remote": str, "established": bool},
    ),
)
BY_NAME: Final = {command.name: command for command in COMMANDS}


def request(command: str, arguments: Mapping[str, Any]) -> Json:
    """A request as it goes over the socket."""
    return {"schema": SCHEMA, "command": command, "arguments": dict(arguments)}


def checked(message: object) -> tuple[Command, Json]:
    """The command and arguments of a request that fits the table. Raises ControlError (usage)."""
    if not isinstance(message, dict) or message.get("schema") != SCHEMA:
        raise _usage(f'a request is an object with "schema": {SCHEMA}')
    name, arguments = message.get("command"), message.get("arguments", {})
    command = BY_NAME.get(name) if isinstance(name, str) else None
    if command is None:
        raise _usage(f"no such command; there are: {', '.join(BY_NAME)}")
    if not isinstance(arguments, dict):
        raise _usage("arguments are an object")
    known = {argument.name for argument in command.arguments}
    for argument in command.arguments:
        _check(argument, arguments)
    if unknown := [key for key in arguments if key not in known]:
        raise _usage(f"{command.name} does not take {unknown[0][:64]!r}")
    return command, arguments


def _check(argument: Argument, arguments: Json) -> None:
    value: Any = arguments.get(argument.name)
    if value is None:
        if argument.required:
            raise _usage(f"{argument.name} is missing: {argument.story}")
        return
    kinds: tuple[type, ...] = (int, float) if argument.kind is float else (argument.kind,)
    if type(value) not in kinds:
        raise _usage(f"{argument.name} is not a {argument.kind.__name__}: {argument.story}")
    if not _fits(argument, value):
        raise _usage(f"{argument.name} holds something else: {argument.story}")
    if not 0 <= (float(value) if argument.kind in (float, bool) else len(value)) <= argument.limit:
        raise _usage(f"{argument.name} is out of bounds: {argument.story}")


def _fits(argument: Argument, value: object) -> bool:
    """Are the names and values of an object such as the argument may have?"""
    if not isinstance(value, dict):
        return True
    lists = [one if argument.lists and isinstance(one, list) else [one] for one in value.values()]
    named = all(0 < len(name) <= _NAME for name in value)
    return named and all(lists) and all(isinstance(one, str) for found in lists for one in found)


def _usage(message: str) -> ControlError:
    return ControlError("usage", message, "see xfrmctl --help", ExitCode.USAGE)
