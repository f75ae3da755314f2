# SPDX-License-Identifier: GPL-2.0-or-later
"""`explain`: which filter decides a packet, by a policy file or by the running daemon."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from xfrmd.cli import local
from xfrmd.cli.arguments import PERSISTENT, VARIABLES
from xfrmd.cli.output import VERDICT_STYLES, Output
from xfrmd.cli.table import Argument, Command
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain_whole
from xfrmd.control.client import ask
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError
from xfrmd.policy.packets import KEYS, parse_packet

STORIES: Final = {
    "permit": "it passes unmodified",
    "block": "it is dropped",
    "negotiate": "it passes on an SA only, which IKE negotiates when needed",
    "pass": "no filter matches, so it passes unmodified",
}


def _split(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The policy file, named by --policy or as the first word, and the words of the packet."""
    words: list[str] = arguments.packet
    policy: str | None = arguments.policy
    if words and "=" not in words[0]:
        if policy is not None:
            raise ControlError(
                "usage", f"two policies are named: {policy} and {words[0]}", "remove one", ExitCode.USAGE
            )
        policy, words = words[0], words[1:]
    if policy is None and arguments.facts is not None:
        raise ControlError("usage", "--facts needs a policy file", "add --policy FILE", ExitCode.USAGE)
    if policy is None and arguments.persistent is not None:
        raise ControlError("usage", "--persistent needs a policy file", "add --policy FILE", ExitCode.USAGE)
    if policy is None and (arguments.var or arguments.vars):
        raise ControlError("usage", "--var and --vars need a policy file", "add --policy FILE", ExitCode.USAGE)
    return policy, words


def text_of(answer: Mapping[str, Any], output: Output, *, verbose: bool = False) -> str:
    """An explanation for people."""
    verdict = str(answer["verdict"])
    others: Sequence[Mapping[str, Any]] = answer.get("runners_up") or ()
    rows = (
        ("packet", f"{answer.get('direction') or ''} {answer.get('packet') or ''}".strip()),
        ("store", _store(answer)),
        ("rule", answer.get("rule")),
        ("filter list", answer.get("filter_list")),
        ("filter action", answer.get("filter_action")),
        ("filter", answer.get("filter")),
        ("on this host", answer.get("selector")),
        ("weight", _weight(answer)),
        ("at", answer.get("at")),
        ("wins", _wins(others)),
        *(("note", note) for note in answer.get("notes") or ()),
        *(_kernel(answer.get("kernel") or {}) if verbose else ()),
    )
    lines = [f"{output.paint(verdict, VERDICT_STYLES.get(verdict, 'strong'))}: {STORIES.get(verdict, '')}"]
    lines += [f"  {name + ':':<15}{value}" for name, value in rows if value]
    if others:
        lines += ["  without it, heaviest first:", *_table(others, output)]
    return "\n".join(lines)


def _store(answer: Mapping[str, Any]) -> str:
    """Of the local store, where most policies are, nothing is said."""
    store = answer.get("store")
    return "" if store in (None, "local") else f"{store}, policy {answer['policy']!r}"


def _weight(one: Mapping[str, Any]) -> str:
    return ".".join(map(str, one.get("weight") or ()))


def _wins(others: Sequence[Mapping[str, Any]]) -> str:
    """Why the winner won over the first of those that lost; an exemption wins in any case."""
    if not others or others[0]["lost"] == "exempt":
        return ""
    return f"over {others[0]['rule']!r}, as it {others[0]['why']}"


def _table(others: Sequence[Mapping[str, Any]], output: Output) -> Iterator[str]:
    """Filters that lost, a line each, in columns."""
    weights = [_weight(one) for one in others]
    rules = [repr(one["rule"]) for one in others]
    wide, wider = max(map(len, weights)), max(map(len, rules))
    for one, weight, rule in zip(others, weights, rules, strict=True):
        verdict = output.paint(f"{one['verdict']:<9}", VERDICT_STYLES.get(one["verdict"], "strong"))
        yield f"    {verdict} {weight:<{wide}}  {rule:<{wider}}  {one['filter']}  {one['at']} ({one['lost']})"


def _kernel(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found:
        told = f"map {found['map']} says {found['element']}" if found["map"] else "no map"
        yield "nftables", f"chain {found['chain']}, {told}"
        yield "SPD entry", _entry(found["spd"]) if found["spd"] else "none: XFRM leaves it alone"


def _entry(one: Mapping[str, Any]) -> str:
    tie = f", reqid {one['reqid']:#x}" if one["reqid"] else ""
    return f"{one['direction']} {one['action']} {one['selector']}, priority {one['priority']:#x}{tie}"


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Answer from files when a policy is named, else ask the daemon."""
    policy, words = _split(arguments)
    words = " ".join(words).split()  # quoted as one word, a packet is understood as well
    packet = parse_packet(words)
    if policy is None:
        answer: Mapping[str, Any] = ask("explain", {"packet": " ".join(words)}, arguments.control)
    else:
        policies = local.policies(arguments, policy)
        facts = local.facts(arguments.facts, policies)
        output.warn(policies.warnings)
        # What stands in the kernel is told of a compiled policy alone: much work, which is spared where nobody asks.
        plan = compile_policy(policies, facts) if arguments.verbose or output.json else None
        answer = explain_whole(policies, facts, packet, plan).to_json()
    output.answer(answer, text_of(answer, output, verbose=arguments.verbose))
    return ExitCode.OK


_PACKET: Final = "direction=out src=10.1.0.5 dst=10.1.2.3 dport=445 protocol=tcp"
EXPLAIN: Final = Command(
    "explain",
    "say which filter decides a packet, and why",
    run,
    (
        Argument(
            ("packet",),
            "words of the packet, in any order; a first word without '=' is a policy file",
            {"nargs": "*", "metavar": "PACKET"},
        ),
        Argument(("--policy",), "ask this policy file, not the daemon", {"metavar": "FILE"}),
        Argument(("--facts",), "facts about the host from this YAML file", {"metavar": "FILE"}),
        PERSISTENT,
        *VARIABLES,
        Argument(("--verbose",), "tell what stands for it in nftables and XFRM as well", {"action": "store_true"}),
    ),
    (
        (f"xfrmctl explain {_PACKET}", "ask the running daemon"),
        (f"xfrmctl explain policy.yaml --facts host.yaml {_PACKET}", "ask a file, for a host given by its facts"),
    ),
    "Say which filter decides a packet, why it wins, which filters would decide without it, and where all\n"
    "of them stand. The running daemon tells of soft SAs and filters of the default response rule that hold\n"
    "now. A packet is made of the words\n" + "\n".join(f"  {key + '=':<12}{story}" for key, story in KEYS.items()),
    words="packet",
)
COMMANDS: Final = (EXPLAIN,)
