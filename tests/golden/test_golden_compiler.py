# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies and what they compile to, whole, reviewed by difference (see README.md)."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xfrmd.cli.differing import text_lines
from xfrmd.cli.explaining import text_of
from xfrmd.cli.output import Output
from xfrmd.compiler import check, compile_policy
from xfrmd.compiler.boot import boot_file, boot_mode
from xfrmd.compiler.explain import explain_whole
from xfrmd.compiler.render import plan_json, plan_text
from xfrmd.compiler.traffic import traffic
from xfrmd.compiler.traffic_json import traffic_json
from xfrmd.model.facts import HostFacts
from xfrmd.model.plan import Plan
from xfrmd.model.secret import SecretRef
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.packets import parse_packet
from xfrmd.policy.words import PolicySet

HERE = Path(__file__).parent / "compiler"
CASES = sorted(path.name for path in HERE.iterdir() if path.is_dir())
RENEW = os.environ.get("XFRMD_GOLDEN") == "renew"
SECRET = "a secret that must not show"


def read(name: str, file: str = "policy.yaml") -> tuple[PolicySet, HostFacts]:
    def secret(reference: SecretRef) -> bytes:
        return SECRET.encode()

    policies = load((HERE / name / file).read_text(), file, secret)
    return policies, load_facts((HERE / name / "facts.yaml").read_text(), "facts.yaml")


def explained(plan: Plan, policies: PolicySet, facts: HostFacts, name: str) -> Iterator[str]:
    output = Output(io.StringIO(), io.StringIO())
    for line in (HERE / name / "packets.txt").read_text().splitlines():
        found = explain_whole(policies, facts, parse_packet(line.split()), plan).to_json()
        yield f"# {line}\n{text_of(found, output, verbose=True)}\n{json.dumps(found)}\n"


def differing(plan: Plan, name: str) -> str:
    """The way from the policy to the other one, for people and for programs."""
    answer = traffic_json(traffic(plan, compile_policy(*read(name, "other.yaml"))))
    return "\n".join((*text_lines(answer, Output(io.StringIO(), io.StringIO())), json.dumps(answer, indent=1), ""))


def outputs(name: str) -> dict[str, str]:
    policies, facts = read(name)
    plan = compile_policy(policies, facts)
    return {
        "plan.txt": plan_text(plan),
        "plan.json": json.dumps(plan_json(plan), indent=1) + "\n",
        "check.txt": "".join(f"{problem}\n" for problem in check(policies, facts)),
        "diff.txt": differing(plan, name),
        "explain.txt": "\n".join(explained(plan, policies, facts, name)),
        "boot.nft": boot_file(policies, facts, boot_mode(policies.config, ever_assigned=True)),
    }


@pytest.mark.parametrize("name", CASES)
def test_a_golden_case(name: str) -> None:
    for file, text in outputs(name).items():
        golden = HERE / name / file
        if RENEW:
            golden.write_text(text)
        assert text == golden.read_text(), f"{golden}: review, then XFRMD_GOLDEN=renew"
        assert SECRET not in text


def test_there_are_cases() -> None:
    assert CASES
    assert not RENEW, "the files are renewed: review them, then run again without XFRMD_GOLDEN"
