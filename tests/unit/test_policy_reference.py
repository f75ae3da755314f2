# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/policy-reference.md: every example compiles, every key stands in a table, every name in it is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit import pki
from tests.unit.policy_text import GOOD, SECRET, changed, read, with_filter
from xfrmd.compiler import compile_policy
from xfrmd.compiler.check import check
from xfrmd.model.secret import SecretRef
from xfrmd.model.source import Severity
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.includes import included
from xfrmd.policy.reference import fill
from xfrmd.policy.schema import json_schema
from xfrmd.policy.sources import from_mapping
from xfrmd.policy.tables import RECORDS

ROOT = Path(__file__).parents[2]
TEXT = (Path(__file__).parents[2] / "docs" / "policy-reference.md").read_text()
BLOCKS = [match[1] for match in re.finditer(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
FILES = {block.split()[2]: block for block in BLOCKS if block.startswith("# file: ")}
FACTS = [block for block in BLOCKS if block.startswith("# facts")]
POLICIES = [block for block in BLOCKS if block not in FACTS and block not in FILES.values()]


def stored(ref: SecretRef) -> bytes:
    """What the files and credentials of the examples hold."""
    authority = pki.root("Partner" if "partner" in ref.name else "Root")
    host = pki.issue("gateway", by=authority, san=["gateway.example"], more=pki.places("http://crl.example/x"))
    for end, content in {
        "ca.pem": authority.pem,
        "host.pem": host.pem,
        "key": host.key_pem,
        "crl": pki.crl(authority),
        "ppk": 2 * SECRET,
    }.items():
        if ref.name.endswith(end):
            return content
    return SECRET


def test_every_object_of_the_language_has_its_table() -> None:
    assert {match[1] for match in re.finditer(r"<!-- keys of an? ([a-z ]+) -->", TEXT)} == {r.title for r in RECORDS}


def test_the_tables_are_in_step() -> None:
    assert fill(TEXT) == TEXT, "run: python -m xfrmd.cli.generate"


@pytest.mark.parametrize("block", POLICIES, ids=range(len(POLICIES)))
def test_examples_compile(block: str) -> None:
    (facts_block,) = FACTS
    facts = load_facts(facts_block, "reference")
    policies = load(block, "reference", stored, sources=from_mapping(FILES, {}))
    assert policies.warnings == ()
    assert [one for one in check(policies, facts) if one.severity is Severity.ERROR] == []
    assert compile_policy(policies, facts).filters


def test_each_section_has_an_example_of_its_keys() -> None:
    """Every key that a policy can hold is used in some example."""
    used = set(re.findall(r"[{,\s-]([a-z_]+):", "\n".join(POLICIES)))
    refused = {"kerberos"}  # a word that is read, but not built
    keys = {field.name for record in RECORDS for field in record.fields}
    assert keys - used - refused == {"srcmask"}  # dstmask stands for both


def test_every_piece_of_code_on_the_page_is_one_of_these_examples() -> None:
    fences = re.findall(r"^```(.*)$", TEXT, re.MULTILINE)
    assert fences == ["yaml", ""] * len(BLOCKS)
    assert len(POLICIES) + len(FILES) + len(FACTS) == len(BLOCKS)
    assert len(FACTS) == 1


def test_each_file_of_the_page_is_included_by_an_example() -> None:
    used = {name for block in POLICIES for name in included(block, "reference", from_mapping(FILES, {}).read)}
    assert used == set(FILES)


@pytest.mark.parametrize("block", [*POLICIES, *FILES.values()], ids=range(len(BLOCKS) - len(FACTS)))
def test_examples_are_good_by_the_schema_too(block: str) -> None:
    validator: Any = jsonschema.Draft202012Validator(json_schema())
    assert [error.message for error in validator.iter_errors(yaml.safe_load(block))] == []


def test_examples_on_other_pages_are_good() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    others = [page for page in pages if page.name != "policy-reference.md"]
    found = [match[1] for page in others for match in re.finditer(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    assert found
    for block in found:
        assert load(block, "page", lambda _: SECRET).warnings == ()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that has this first line."""
    lines = TEXT[TEXT.index(heading) :].splitlines()[2:]
    cut = next(n for n, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:cut]]


def words(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def test_each_form_of_an_address_that_the_page_shows_is_read() -> None:
    for form, _ in rows("| form | means |"):
        for word in words(form):
            if word in ("srcmask: 255.255.0.0", "16"):
                text = with_filter(f"{{srcaddr: 10.1.0.0, srcmask: {word.split(': ')[-1]}, dstaddr: me}}")
            else:
                address = word if word.startswith("[") or word.isalnum() else f'"{word}"'
                other = "any" if word == "me" else "me"
                text = with_filter(f"{{srcaddr: {address}, dstaddr: {other}}}")
            assert read(text).assigned is not None, word


def test_each_name_of_an_algorithm_that_the_page_shows_is_read() -> None:
    alone, paired, clear = rows("| cipher | integrity |")
    methods = [f"ESP[{cipher}]" for cipher in words(alone[0])]
    methods += [f"ESP[{cipher},{hash_}]" for cipher in words(paired[0]) for hash_ in words(paired[1])]
    methods += [f"ESP[{words(clear[0])[0]},{hash_}]" for hash_ in words(paired[1])]
    assert len(methods) == 7 + 18 + 3
    parts = {cells[0]: words(cells[1]) for cells in rows("| part | names |")}
    mains = [f"AES128GCM-{hash_}-{group}" for hash_ in parts["hash"] for group in parts["group"]]
    assert len(mains) >= 3 * 8
    text = changed("action: negotiate", f"action: negotiate\n    qmsecmethods: {methods}")
    assert len(read(text).policies[0].rules[0].filter_action.qmsecmethods) == len(methods)
    for main in mains:
        assert read(changed("assign: yes", f"assign: yes\n    mmsecmethods: {main}")).assigned is not None, main


def test_defaults_that_the_tables_tell_are_those_that_a_policy_without_the_key_gets() -> None:
    policy = read(GOOD).policies[0]
    action = policy.rules[0].filter_action
    shown = {field.name: field.shown for record in RECORDS for field in record.fields}
    assert shown["mmlifetime"] == str(policy.mmsecmethods[0].lifetime.seconds // 60)
    assert shown["qmpermm"] == str(policy.qmpermm)
    assert shown["softsaexpirationtime"] == str(policy.soft_seconds)
    assert shown["unresolved"] == policy.unresolved.value
    for key, value in (
        ("mmpfs", policy.mmpfs),
        ("qmpfs", action.qmpfs),
        ("soft", action.soft),
        ("inpass", action.inpass),
    ):
        assert shown[key] == ("yes" if value else "no")
    listed = read(changed("action: negotiate", f"qmsecmethods: '{shown['qmsecmethods']}'"))
    assert listed.policies[0].rules[0].filter_action.qmsecmethods == action.qmsecmethods
    listed = read(changed("assign: yes", f"assign: yes\n    mmsecmethods: '{shown['mmsecmethods']}'"))
    assert listed.policies[0].mmsecmethods == policy.mmsecmethods
