# SPDX-License-Identifier: GPL-2.0-or-later
"""netsh's commands, a row each: what `ipsec static` and `ipsec dynamic` know, and what becomes of each here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from xfrmd.model.source import Span
from xfrmd.netsh import deleting, editing, values
from xfrmd.netsh.arguments import Arguments, Command, Tag
from xfrmd.netsh.methods import main_methods, quick_methods
from xfrmd.netsh.script import Statement, without_value
from xfrmd.netsh.session import LOCAL, PERSISTENT, Session
from xfrmd.policy.boot import BOOT_EXEMPTIONS, BOOT_MODE
from xfrmd.policy.certificates import STRONG_CRL_CHECK
from xfrmd.policy.kinds import Kind
from xfrmd.policy.nodes import ScalarNode
from xfrmd.policy.problems import did_you_mean

_NO_IDS: Final = "name the object: identifiers are made by the computer that holds the store"
_DOMAIN: Final = "a store in a directory is not built yet: import into the local store, and take out this tag"

_NAME: Final = Tag("name", values.name, required=True)
_NEW_NAME: Final = Tag("newname", values.name)
_DESCRIPTION: Final = Tag("description", values.string)
_GUID: Final = Tag("guid", values.string, refused=_NO_IDS)
_ID: Final = Tag("id", values.string, refused=_NO_IDS)
_POLICY: Final = Tag("policy", values.name, required=True)
_AUTH: Final = (Tag("kerberos", values.kerberos), Tag("psk", values.psk), Tag("rootca", values.rootca))
_QUICK: Final = Tag("qmsecmethods", quick_methods)
_ENDS: Final = (Tag("srcaddr", values.address, required=True), Tag("dstaddr", values.address, required=True))
_MASKS: Final = (Tag("srcmask", values.mask), Tag("dstmask", values.mask))
_PORTS: Final = (Tag("srcport", values.port), Tag("dstport", values.port))
_FILTER_LIST: Final = Tag("filterlist", values.name, required=True)
_FILTER: Final = (Tag("protocol", values.protocol), Tag("mirrored", values.flag), *_MASKS, *_PORTS)
_ACTION: Final = (
    _DESCRIPTION,
    Tag("qmpfs", values.flag),
    Tag("inpass", values.flag),
    Tag("soft", values.flag),
    Tag("action", values.action),
    _QUICK,
)
_POLICY_SETTINGS: Final = (
    _DESCRIPTION,
    Tag("mmpfs", values.flag),
    Tag("qmpermm", values.number(0, 65_535)),
    Tag("mmlifetime", values.number(1, 2_879)),
    Tag("activatedefaultrule", values.flag),
    Tag("pollinginterval", values.number(0, 2_147_483_647)),
    Tag("assign", values.flag),
)
_MAIN: Final = Tag("mmsecmethods", main_methods)
_RULE: Final = (Tag("tunnel", values.tunnel), Tag("conntype", values.conntype), Tag("activate", values.flag))


def _set_store(session: Session, arguments: Arguments) -> None:
    session.location = arguments["location"]


def _location(text: str) -> str:
    if text.casefold() == "domain":
        raise values.BadValue("the domain store is a directory, which is not built yet", "write location=local")
    location: str = values.choice({LOCAL: LOCAL, PERSISTENT: PERSISTENT})(text)
    return location


def _set_batch(session: Session, arguments: Arguments) -> None:
    """How Windows writes to its store: nothing here depends on it."""


def _set_config(session: Session, arguments: Arguments) -> None:
    name, value = arguments["property"], arguments["value"]
    at = arguments.place("value")
    if name == "ipsecexempt" and value not in ("0", "1", "2", "3"):
        session.error(at, "ipsecexempt has levels from 0 to 3", "write 3 to exempt only IKE")
    elif name in _CONFIG:
        message = f"config property {name} is not built yet: it is left out"
        session.warning(arguments.place("property"), message, _CONFIG[name])
    elif name == "ipsecexempt" or _readable(_SETTINGS[name], value, at, session):
        session.config[name] = value


def _readable(kind: Kind, value: str, at: Span, session: Session) -> bool:
    """Does the policy language take this value? Else it has told what is wrong."""
    errors = session.problems.errors
    kind.read(ScalarNode(at.line, at.column, value, plain=False), session.problems)
    return session.problems.errors == errors


_SETTINGS: Final = {"bootmode": BOOT_MODE, "bootexemptions": BOOT_EXEMPTIONS, "strongcrlcheck": STRONG_CRL_CHECK}
_CONFIG: Final = {
    "ipsecdiagnostics": "read the daemon's journal: what is dropped and refused is told there",
    "ipsecloginterval": "read the daemon's journal: what is dropped and refused is told there",
    "ikelogging": "run xfrmd with --debug",
}
_COMMANDS: Final = (
    Command(("add", "filterlist"), (_NAME, _DESCRIPTION), editing.add_filterlist),
    Command(("add", "filter"), (_FILTER_LIST, *_ENDS, _DESCRIPTION, *_FILTER), editing.add_filter),
    Command(("add", "filteraction"), (_NAME, *_ACTION), editing.add_filteraction),
    Command(("add", "policy"), (_NAME, *_POLICY_SETTINGS, _MAIN), editing.add_policy),
    Command(
        ("add", "rule"),
        (_NAME, _POLICY, _FILTER_LIST, Tag("filteraction", values.name, required=True), *_RULE, _DESCRIPTION, *_AUTH),
        editing.add_rule,
    ),
    Command(("delete", "filterlist"), (_NAME,), deleting.delete_filterlist, takes_all=True),
    Command(("delete", "filter"), (_FILTER_LIST, *_ENDS, *_FILTER), deleting.delete_filter),
    Command(("delete", "filteraction"), (_NAME,), deleting.delete_filteraction, takes_all=True),
    Command(("delete", "policy"), (_NAME,), deleting.delete_policy, takes_all=True),
    Command(("delete", "rule"), (_NAME, _POLICY, _ID), deleting.delete_rule, takes_all=True),
    Command(("delete", "all"), (), deleting.delete_all),
    Command(("set", "filterlist"), (_NAME, _NEW_NAME, _DESCRIPTION, _GUID), editing.set_filterlist),
    Command(("set", "filteraction"), (_NAME, _NEW_NAME, *_ACTION, _GUID), editing.set_filteraction),
    Command(
        ("set", "policy"),
        (_NAME, _NEW_NAME, *_POLICY_SETTINGS, Tag("gponame", values.string, refused=_DOMAIN), _MAIN, _GUID),
        editing.set_policy,
    ),
    Command(
        ("set", "rule"),
        (
            *(_NAME, _POLICY, _NEW_NAME, _DESCRIPTION, Tag("filterlist", values.name)),
            *(Tag("filteraction", values.name), *_RULE, *_AUTH, _ID),
        ),
        editing.set_rule,
    ),
    Command(
        ("set", "defaultrule"),
        (_POLICY, Tag("qmpfs", values.flag), Tag("activate", values.flag), _QUICK, *_AUTH),
        editing.set_defaultrule,
    ),
    Command(
        ("set", "store"),
        (Tag("location", _location, required=True), Tag("domain", values.string, refused=_DOMAIN)),
        _set_store,
    ),
    Command(
        ("set", "batch"),
        (Tag("mode", values.choice({"enable": True, "disable": False}), required=True),),
        _set_batch,
    ),
)
_CONFIG_COMMAND: Final = Command(
    ("set", "config"),
    (
        Tag("property", values.choice({name: name for name in ("ipsecexempt", *_SETTINGS, *_CONFIG)}), required=True),
        Tag("value", values.string, required=True),
    ),
    _set_config,
)
_FILES: Final = {
    "exportpolicy": "remove the line: it writes Windows' own kind of file, and changes no policy",
    "importpolicy": "a .ipsec file is known to Windows alone: there, write its policy as a script of these commands",
}
STATIC: Final[Mapping[tuple[str, ...], Command]] = {command.words: command for command in _COMMANDS}
_NOUNS: Final = {verb: tuple(words[1] for words in STATIC if words[0] == verb) for verb in ("add", "set", "delete")}
Restore = Callable[[Session, Statement], None]


def execute(session: Session, statement: Statement, verb: str, restore: Restore) -> None:
    """Carry out one statement. `restore` makes the example policies, which are a script of their own."""
    at = session.at(statement)
    if verb == "show":
        session.first_show = session.first_show or at
    elif verb in _FILES:
        session.error(at, f"{verb} is not known here", _FILES[verb])
    elif verb == "restorepolicyexamples":
        restore(session, statement)
    elif (command := _find(session, statement, verb)) is not None:
        arguments = command.match(statement.words[len(command.words) :], at, session.problems)
        if arguments is not None:
            command.run(session, arguments)


def _find(session: Session, statement: Statement, verb: str) -> Command | None:
    """The row of a statement, None (reported) when there is none."""
    at, words = session.at(statement), statement.words
    noun = words[1].text.casefold() if len(words) > 1 else ""
    if statement.mode == "dynamic":
        if verb == "set" and noun == "config":
            return _CONFIG_COMMAND
        remedy = "write it with netsh ipsec static: what dynamic changes is gone at the next start of Windows"
        session.error(at, f"ipsec dynamic {verb} is not imported", remedy)
        return None
    command = STATIC.get((verb, noun))
    if command is not None:
        return command
    near = [known for known in _NOUNS[verb] if noun and known.startswith(noun)]
    if len(near) == 1:
        return STATIC[verb, near[0]]
    remedy = did_you_mean(noun, _NOUNS[verb], f"known are {', '.join(_NOUNS[verb])}")
    session.error(at, f"{verb} {without_value(noun)} is no command of ipsec static", remedy)
    return None
