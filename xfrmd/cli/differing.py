# SPDX-License-Identifier: GPL-2.0-or-later
"""`diff`: which traffic fares differently under two policies."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from xfrmd import limits
from xfrmd.cli import local
from xfrmd.cli.arguments import FACTS, PERSISTENT, VARIABLES
from xfrmd.cli.output import VERDICT_STYLES, Output
from xfrmd.cli.table import Argument, Command
from xfrmd.compiler import compile_policy
from xfrmd.compiler.traffic import Kind, traffic
from xfrmd.compiler.traffic_json import traffic_json
from xfrmd.compiler.unanswered import unanswered
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.model.source import Severity
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import PolicySet

Json = Mapping[str, Any]
RUNNING: Final = "running"
ANY: Final = "any"
STORIES: Final = {
    Kind.NEW_CLEAR: "may pass in the clear now, and could not before",
    Kind.UNPROTECTED: "was negotiated, and passes without now",
    Kind.LOST: "passed, and is dropped now",
    Kind.GAINED: "was dropped, and passes now",
    Kind.NEW_PROTECTED: "passed unprotected, and is negotiated now",
    Kind.CHANGED: "is negotiated as before, but otherwise",
}
_STYLES: Final = {Kind.NEW_CLEAR: "error", Kind.UNPROTECTED: "error", Kind.LOST: "warning", Kind.NEW_PROTECTED: "good"}
_GRAVITY: Final = tuple(Kind)


def _refuse(message: str, remedy: str) -> ControlError:
    return ControlError("usage", message, remedy, ExitCode.USAGE)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compare two files, or a file and what the daemon has in force."""
    old, new = (RUNNING, arguments.old) if arguments.new is None else (arguments.old, arguments.new)
    if RUNNING in (old, new):
        if old == new:
            raise _refuse("the running policy is compared with itself", "name a policy file")
        if arguments.facts is not None:
            raise _refuse("the running policy has the facts of its host", "leave --facts out")
        if arguments.persistent is not None:
            raise _refuse("beside the running policy stands the persistent one of its host", "leave --persistent out")
        named, running = (new, "old") if old == RUNNING else (old, "new")
        request = {**local.policy_files(arguments, named).request(), "running": running}
        if arguments.store is not None:
            request["store"] = arguments.store
        answer: Json = ask("diff", request, arguments.control, limits.APPLY_TIMEOUT)
    elif arguments.store is not None:
        raise _refuse("--store says in whose place the file is compared with what is running", "write running for one")
    else:
        both = [_policies(arguments, name, output) for name in (old, new)]
        facts = local.facts(arguments.facts, *both)
        with collector_paused():
            before, after = (compile_policy(policies, facts) for policies in both)
            answer = traffic_json(traffic(before, after, unanswered=unanswered(both[0], both[1], facts)))
    output.answer(answer, "\n".join(text_lines(answer, output)))
    return _exit(answer, arguments.fail_on or (), output)


def _policies(arguments: argparse.Namespace, name: str, output: Output) -> PolicySet:
    # A value may be meant for the other policy alone.
    policies = local.policies(arguments, name, unused_variable=Severity.WARNING)
    output.warn(policies.warnings)
    return policies


def _exit(answer: Json, unwanted: Sequence[str], output: Output) -> int:
    """A comparison that came to no end cannot rule anything out, nor can one of names without an address."""
    found = {*answer["kinds"], *((ANY,) if not answer["equal"] else ())}
    if unwanted and not answer["complete"]:
        output.say("the comparison is not complete: what --fail-on names cannot be ruled out")
        return ExitCode.DIFFERS
    if unwanted and answer["unanswered"]:
        output.say("DNS names have no address: what --fail-on names cannot be ruled out; a facts file can say `names`")
        return ExitCode.DIFFERS
    return ExitCode.DIFFERS if found & {*unwanted} else ExitCode.OK


def text_lines(answer: Json, output: Output) -> Iterator[str]:
    """A difference for people."""
    if answer["equal"]:
        yield "no difference: all traffic fares alike"
        return
    for (kinds, old, new), group in groupby(answer["changes"], lambda one: (one["kinds"], one["old"], one["new"])):
        yield from _change([*map(Kind, kinds)], old, new, [*group], output)
    yield from _others(answer)
    counts = ", ".join(f"{count} {name}" for name, count in answer["kinds"].items())
    listed = len(answer["changes"])
    yield f"{listed} change{'s' * (listed != 1)} in traffic{': ' if counts else ''}{counts}"
    if answer["more_changes"]:
        yield f"and {answer['more_changes']} more that are not listed"
    if not answer["complete"]:
        yield output.paint("the policies differ in too much to compare all: there may be further changes", "error")


def _change(kinds: Sequence[Kind], old: Json, new: Json, group: Sequence[Json], output: Output) -> Iterator[str]:
    first = min(kinds, key=_GRAVITY.index)
    names = ", ".join(kind.value for kind in kinds)
    yield f"{output.paint(names, _STYLES.get(first, 'strong'))}: {STORIES[first]}"
    for one in group:
        yield f"  {one['direction']:<3} {one['traffic']}"
    yield f"      was {_decided(old, output)}"
    yield f"      now {_decided(new, output)}"
    if Kind.CHANGED in kinds:
        yield from _protections(old, new)


def _decided(one: Json, output: Output) -> str:
    verdict = output.paint(one["verdict"], VERDICT_STYLES.get(one["verdict"], "strong"))
    soft = bool(one["protection"] and one["protection"]["soft"])
    flags = "".join(f" {name}" for name, holds in (("inpass", one["inpass"]), ("soft", soft)) if holds)
    if one["at"]:
        return f"{verdict}{flags} by {one['rule']!r} at {one['at']}"
    return f"{verdict}{flags} by {one['rule']}" if one["rule"] else f"{verdict}: no filter matches"


def _protections(old: Json, new: Json) -> Iterator[str]:
    """What is negotiated otherwise, field by field."""
    if not old["protection"] or not new["protection"]:
        return
    for key, before in old["protection"].items():
        after = new["protection"][key]
        if before != after:
            yield f"      {key.replace('_', ' ')}: {_value(before)} -> {_value(after)}"


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case [str(), *_]:
            return " to ".join(value)
        case list():
            return "; ".join(_method(one) for one in value)
    return str(value)


def _method(one: Json) -> str:
    volume = f"{one['kilobytes']}k/" if one["kilobytes"] else ""
    names = ",".join(name for name in one["algorithms"] if name != "NO-ESN")
    return f"{one['protocol']}[{names}]:{volume}{one['seconds']}s"


def _others(answer: Json) -> Iterator[str]:
    """What differs in negotiation alone."""
    if answer["peers"]:
        yield "authentication or main mode settings differ between"
        yield from (f"  {one['local']} and {one['remote']}" for one in answer["peers"])
    if answer["more_peers"]:
        yield f"  and {answer['more_peers']} more pairs"
    if answer["default_response"]:
        yield "the default response rules differ"
    if answer["unanswered"]:
        yield "the policies say different things of these DNS names, which have no address: more may change"
        yield from (f"  {name}" for name in answer["unanswered"])


_OLD: Final = "policy file, or running: what the daemon has in force; alone, it is the new one, and running the old"
DIFF: Final = Command(
    "diff",
    "say which traffic fares differently under two policies",
    run,
    (
        Argument(("old",), _OLD, {"metavar": "OLD"}),
        Argument(("new",), "policy file, or running", {"metavar": "NEW", "nargs": "?"}),
        FACTS,
        PERSISTENT,
        Argument(
            ("--store",),
            "the store in whose place the file is compared with what is running (default: local)",
            {"choices": ("persistent", "directory", "local")},
        ),
        *VARIABLES,
        Argument(
            ("--fail-on",),
            "end with 9 if there is a change of this kind; may be given several times",
            {"action": "append", "choices": (*(kind.value for kind in Kind), ANY), "metavar": "KIND"},
        ),
    ),
    (
        ("xfrmctl diff running policy.yaml", "what would change by applying it"),
        ("xfrmctl diff running base.yaml --store persistent", "what would change by assigning it"),
        ("xfrmctl diff old.yaml new.yaml --facts host.yaml", "two files, for another host"),
        ("xfrmctl diff old.yaml new.yaml --facts host.yaml --fail-on new-clear", "in a pipeline"),
    ),
    "Say which traffic fares differently under two policies: packets by direction, addresses, protocol and ports,\n"
    "what decided them and what does now. No packet is in two changes. What is decided alike, whatever filters and\n"
    "names it is written with, is no change. Kinds of changes, of which one change may have several:\n"
    + "\n".join(f"  {kind.value:<15}{story}" for kind, story in STORIES.items())
    + f"\n  {ANY:<15}any difference, of authentication and main mode settings too\n"
    "Secrets are not compared. Ends with 0, unless --fail-on names what is found.",
)
COMMANDS: Final = (DIFF,)
