# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/policy-reference.md: every example compiles, every key stands in a table, every name in it is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.policy_text import SECRET
from xfrmd.compiler import compile_policy
from xfrmd.compiler.check import check
from xfrmd.model.source import Severity
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.reference import fill
from xfrmd.policy.sources import from_mapping
from xfrmd.policy.tables import RECORDS

TEXT = (Path(__file__).parents[2] / "docs" / "policy-reference.md").read_text()
BLOCKS = [match[1] for match in re.finditer(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
FILES = {block.split()[2]: block for block in BLOCKS if block.startswith("# file: ")}
FACTS = [block for block in BLOCKS if block.startswith("# facts")]
POLICIES = [block for block in BLOCKS if block not in FACTS and block not in FILES.values()]


def test_every_object_of_the_language_has_its_table() -> None:
    assert {match[1] for match in re.finditer(r"<!-- keys of an? ([a-z ]+) -->", TEXT)} == {r.title for r in RECORDS}


def test_the_tables_are_in_step() -> None:
    assert fill(TEXT) == TEXT, "run: python -m xfrmd.cli.generate"


@pytest.mark.parametrize("block", POLICIES, ids=range(len(POLICIES)))
def test_examples_compile(block: str) -> None:
    (facts_block,) = FACTS
    facts = load_facts(facts_block, "reference")
    policies = load(block, "reference", lambda _: SECRET, sources=from_mapping(FILES, {}))
    assert policies.warnings == ()
    assert [one for one in check(policies, facts) if one.severity is Severity.ERROR] == []
    assert compile_policy(policies, facts).filters


def test_each_section_has_an_example_of_its_keys() -> None:
    """Every key that a policy can hold is used in some example."""
    used = set(re.findall(r"[{,\s-]([a-z_]+):", "\n".join(POLICIES)))
    refused = {"kerberos", "rootca"}  # words that are read, but not built
    keys = {field.name for record in RECORDS for field in record.fields}
    assert keys - used - refused == {"srcmask"}  # dstmask stands for both
