# SPDX-License-Identifier: GPL-2.0-or-later
"""`compile` and `diff`: what a policy means on a host, and what changes from one to the next."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from xfrmd.cli import local
from xfrmd.cli.checking import FACTS, POLICY
from xfrmd.cli.output import Output
from xfrmd.cli.table import Argument, Command
from xfrmd.compiler import compile_policy
from xfrmd.compiler.difference import compare
from xfrmd.compiler.render import SECTIONS, plan_json, plan_text, section_text
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.policy.facts import load_facts

_PLACES: Final = frozenset({"at", "rule", "filter_list", "filter_action"})
"""Keys of a plan's JSON that say where an entry comes from, not what it does."""


def _plan(name: str, facts: HostFacts, output: Output) -> Plan:
    policies = local.policy(name)
    output.warn(policies.warnings)
    return compile_policy(policies, facts)


def _compile(arguments: argparse.Namespace, output: Output) -> int:
    plan = _plan(arguments.policy, local.facts(arguments.facts), output)
    section: str | None = arguments.section
    if section is None:
        output.answer(plan_json(plan), plan_text(plan).rstrip("\n"))
    else:
        whole = plan_json(plan)
        answer = {"policy": whole["policy"], section: whole[section]}
        output.answer(answer, section_text(plan, section).rstrip("\n"))
    return ExitCode.OK


def _diff(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.new is None:
        answer = _against_daemon(arguments.old, arguments.control, output)
    else:
        facts = local.facts(arguments.facts)
        old = _plan(arguments.old, facts, output)
        answer = compare(old, _plan(arguments.new, facts, output)).to_json()
    output.answer(answer, _text(answer, output))
    return ExitCode.OK if answer["equal"] else ExitCode.DEGRADED


def _against_daemon(name: str, control: str, output: Output) -> dict[str, Any]:
    """The difference between the plan in force and a file, by what the daemon tells: its facts and its plan."""
    facts = load_facts(json.dumps(ask("facts", {}, control)["facts"]), "facts of the daemon")
    old: Mapping[str, Any] = ask("plan", {}, control)["plan"]
    new = json.loads(json.dumps(plan_json(_plan(name, facts, output))))
    added, removed = _only(new["filters"], old["filters"]), _only(old["filters"], new["filters"])
    changed = {
        key: len(_only(old[key], new[key])) + len(_only(new[key], old[key])) for key in ("spd", "protect", "pad")
    }
    changed["nft"] = len(set(old["nft"].splitlines()) ^ set(new["nft"].splitlines()))
    equal = not (added or removed or any(changed.values()))
    return {"equal": equal, "added": [*map(_line, added)], "removed": [*map(_line, removed)], "changed": changed}


def _only(these: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries that mean something which none of the others means."""
    known = {_meaning(one) for one in others}
    return [one for one in these if _meaning(one) not in known]


def _meaning(entry: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in entry.items() if key not in _PLACES}, sort_keys=True)


def _line(one: Mapping[str, Any]) -> str:
    inpass = " inpass" if one["inpass"] else ""
    place = f"[{one['rule']!r} at {one['at']}]"
    return f"{one['direction']} {one['verdict']}{inpass} {one['selector']} {place}"


def _text(answer: Mapping[str, Any], output: Output) -> str:
    if answer["equal"]:
        return "no difference"
    lines = [output.paint(f"- {line}", "error") for line in answer["removed"]]
    lines += [output.paint(f"+ {line}", "good") for line in answer["added"]]
    names = {"spd": "security policies", "protect": "negotiated filters", "pad": "peers", "nft": "nftables entries"}
    counts = ", ".join(f"{answer['changed'][key]} {name}" for key, name in names.items() if answer["changed"][key])
    head = f"{len(answer['removed'])} filters removed, {len(answer['added'])} added"
    return "\n".join([*lines, f"{head}; differing: {counts}" if counts else head])


COMPILE: Final = Command(
    "compile",
    "show what a policy means on a host",
    _compile,
    (
        POLICY,
        FACTS,
        Argument(("--section",), "only this part of the plan", {"choices": tuple(SECTIONS)}),
    ),
    (
        ("xfrmctl compile policy.yaml --facts host.yaml", "the whole plan"),
        ("xfrmctl compile policy.yaml --section nft | nft -c -f -", "let nft check the tables"),
    ),
    "Show what a policy means on a host: specific filters by weight, security policies of the kernel, what is\n"
    "negotiated, peers, nftables. Changes nothing.",
)
DIFF: Final = Command(
    "diff",
    "say what changes between two policies",
    _diff,
    (
        Argument(("old",), "policy file; alone, it is compared with what the daemon has in force", {"metavar": "OLD"}),
        Argument(("new",), "policy file", {"metavar": "NEW", "nargs": "?"}),
        FACTS,
    ),
    (
        ("xfrmctl diff policy.yaml", "what would change by applying it"),
        ("xfrmctl diff old.yaml new.yaml --facts host.yaml", "two files, for another host"),
    ),
    "Say which specific filters come and go. Ends with 0 when nothing changes, with 5 otherwise. Secrets in files are\n"
    "not compared, nor are those of the daemon.",
)
