# SPDX-License-Identifier: GPL-2.0-or-later
"""The house budget for sizes, and the marks that must not be left behind. What exceeds it is named, with a reason."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_CAP, FUNCTION_CAP, CLASS_CAP, ATTRIBUTE_CAP = 400, 50, 200, 12
EXCUSED: dict[str, str] = {"xfrmd/limits/__init__.py": "a table: a line for each bound, and one for its reason"}


def modules() -> list[tuple[str, str, ast.Module]]:
    found = []
    for path in sorted([*(ROOT / "xfrmd").rglob("*.py"), *(ROOT / "lab").rglob("*.py")]):
        text = path.read_text()
        found.append((str(path.relative_to(ROOT)), text, ast.parse(text)))
    return found


def span(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def own_attributes(node: ast.ClassDef) -> set[str]:
    """Attributes assigned on self anywhere in the class."""
    names = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            value = child.value
            if isinstance(value, ast.Name) and value.id == "self":
                names.add(child.attr)
    return names


def test_files_functions_and_classes_stay_small() -> None:
    over: list[str] = []
    functions: list[int] = []
    for name, text, tree in modules():
        if text.count("\n") > FILE_CAP:
            over.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append(span(node))
                if span(node) > FUNCTION_CAP:
                    over.append(f"{name}:{node.name}: {span(node)} lines")
            elif isinstance(node, ast.ClassDef):
                if span(node) > CLASS_CAP:
                    over.append(f"{name}:{node.name}: {span(node)} lines")
                if len(own_attributes(node)) > ATTRIBUTE_CAP:
                    over.append(f"{name}:{node.name}: {len(own_attributes(node))} attributes")
    assert [line for line in over if line.rsplit(":", 1)[0] not in EXCUSED] == []
    assert statistics.median(functions) <= 10


def test_every_file_names_its_licence_and_leaves_no_marks() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError")
    wrong = [name for name, text, _ in modules() if "SPDX-License-Identifier" not in text[:200] or marks.search(text)]
    assert wrong == []
