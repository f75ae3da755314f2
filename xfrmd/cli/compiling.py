# SPDX-License-Identifier: GPL-2.0-or-later
"""`compile`: what a policy means on a host."""

from __future__ import annotations

import argparse
from typing import Final

from xfrmd.cli import local
from xfrmd.cli.arguments import FACTS, PERSISTENT, POLICY, VARIABLES
from xfrmd.cli.output import Output
from xfrmd.cli.table import Argument, Command
from xfrmd.compiler import compile_policy
from xfrmd.compiler.render import SECTIONS, plan_json, plan_text, section_text
from xfrmd.control.exits import ExitCode


def _compile(arguments: argparse.Namespace, output: Output) -> int:
    policies = local.policies(arguments, arguments.policy)
    facts = local.facts(arguments.facts, policies)
    output.warn(policies.warnings)
    plan = compile_policy(policies, facts)
    section: str | None = arguments.section
    if section is None:
        output.answer(plan_json(plan), plan_text(plan).rstrip("\n"))
    else:
        whole = plan_json(plan)
        answer = {"policy": whole["policy"], section: whole[section]}
        output.answer(answer, section_text(plan, section).rstrip("\n"))
    return ExitCode.OK


COMPILE: Final = Command(
    "compile",
    "show what a policy means on a host",
    _compile,
    (
        POLICY,
        FACTS,
        PERSISTENT,
        *VARIABLES,
        Argument(("--section",), "only this part of the plan", {"choices": tuple(SECTIONS)}),
    ),
    (
        ("xfrmctl compile policy.yaml --facts host.yaml", "the whole plan"),
        ("xfrmctl compile policy.yaml --section nft | nft -c -f -", "let nft check the tables"),
    ),
    "Show what a policy means on a host: specific filters by weight, security policies of the kernel, what is\n"
    "negotiated, peers, nftables. Changes nothing.",
)
COMMANDS: Final = (COMPILE,)
