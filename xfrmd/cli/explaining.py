# SPDX-License-Identifier: GPL-2.0-or-later
"""`explain`: which filter decides a packet, by a policy file or by the running daemon."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final

from xfrmd.cli import local
from xfrmd.cli.output import VERDICT_STYLES, Output
from xfrmd.cli.table import Argument, Command
from xfrmd.compiler import compile_policy
from xfrmd.compiler.explain import explain
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
    return policy, words


def text_of(answer: Mapping[str, Any], output: Output) -> str:
    """An explanation for people."""
    verdict = str(answer["verdict"])
    lines = [f"{output.paint(verdict, VERDICT_STYLES.get(verdict, 'strong'))}: {STORIES.get(verdict, '')}"]
    rows = (
        ("packet", f"{answer.get('direction') or ''} {answer.get('packet') or ''}".strip()),
        ("rule", answer.get("rule")),
        ("filter list", answer.get("filter_list")),
        ("filter action", answer.get("filter_action")),
        ("weight", ".".join(map(str, answer.get("weight") or ()))),
        ("at", answer.get("at")),
        ("note", answer.get("note")),
    )
    return "\n".join(lines + [f"  {name + ':':<15}{value}" for name, value in rows if value])


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Answer from files when a policy is named, else ask the daemon."""
    policy, words = _split(arguments)
    packet = parse_packet(words)
    if policy is None:
        answer: Mapping[str, Any] = ask("explain", {"packet": " ".join(words)}, arguments.control)
    else:
        policies = local.policy(policy)
        output.warn(policies.warnings)
        answer = explain(compile_policy(policies, local.facts(arguments.facts)), packet).to_json()
    output.answer(answer, text_of(answer, output))
    return ExitCode.OK


_PACKET: Final = "direction=out src=10.1.0.5 dst=10.1.2.3 dport=445 protocol=tcp"
EXPLAIN: Final = Command(
    "explain",
    "which filter decides a packet, and why",
    run,
    (
        Argument(
            ("packet",),
            "words of the packet, in any order; a first word without '=' is a policy file",
            {"nargs": "*", "metavar": "PACKET"},
        ),
        Argument(("--policy",), "ask this policy file, not the daemon", {"metavar": "FILE"}),
        Argument(("--facts",), "facts about the host from this YAML file", {"metavar": "FILE"}),
    ),
    (
        (f"xfrmctl explain {_PACKET}", "ask the running daemon"),
        (f"xfrmctl explain policy.yaml --facts host.yaml {_PACKET}", "ask a file, for a host given by its facts"),
    ),
    "Which filter decides a packet, and why. A packet is made of the words\n"
    + "\n".join(f"  {key + '=':<12}{story}" for key, story in KEYS.items()),
    words="packet",
)
