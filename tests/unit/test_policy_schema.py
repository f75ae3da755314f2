# SPDX-License-Identifier: GPL-2.0-or-later
"""config/: the JSON Schema is the one of the field tables, and the examples are good by schema and by loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.policy_text import GOOD, SECRET, changed
from xfrmd.compiler import compile_policy
from xfrmd.policy import load
from xfrmd.policy.facts import load_facts
from xfrmd.policy.schema import json_schema, schema_text

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted(path for path in CONFIG.glob("*.yaml") if path.name != "facts.yaml")


def errors(value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(value)]


def test_the_file_in_config_is_in_step() -> None:
    kept = (CONFIG / "xfrmd-policy.schema.json").read_text()
    assert kept == schema_text(), "run: python -m xfrmd.cli.generate"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_there_are_examples() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {"server", "require-subnet", "request", "block-telnet"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    text = path.read_text()
    assert errors(yaml.safe_load(text)) == []
    assert text.startswith("# yaml-language-server: $schema=xfrmd-policy.schema.json\n")
    policies = load(text, path.name, lambda _: SECRET)
    assert policies.warnings == ()
    facts = load_facts((CONFIG / "facts.yaml").read_text(), "facts.yaml")
    plan = compile_policy(policies, facts)
    assert plan.filters
    assert bool(plan.protect) == ("negotiate" in text)


@pytest.mark.parametrize("name", ["policy", "common"])
def test_the_files_of_the_fleet_are_good_by_schema_each_by_itself(name: str) -> None:
    text = (CONFIG / "fleet" / f"{name}.yaml").read_text()
    assert errors(yaml.safe_load(text)) == []
    assert text.startswith("# yaml-language-server: $schema=../xfrmd-policy.schema.json\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("srcaddr: me, ", ""),
        ("dstport: 445", "dstport: 65536"),
        ("dstport: 445", "dstprot: 445"),
        ("dstport: 445", "mirrored: maybe"),
        ("action: negotiate", "action: deny"),
        ("action: negotiate", "qmsecmethods: []"),
        ("action: negotiate", "soft: maybe"),
        ("filterlist: smb", "filterlist: [smb]"),
        ("psk: a shared secret of some length", "psk: {}"),
    ],
)
def test_the_schema_sees_mistakes(old: str, new: str) -> None:
    assert errors(yaml.safe_load(GOOD)) == []
    assert errors(yaml.safe_load(changed(old, new))) != []
