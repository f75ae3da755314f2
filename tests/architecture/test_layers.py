# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers of docs/ARCHITECTURE.md, held over every import statement of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "xfrmd"
SHARED = {"errors", "limits", "model", "wire"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),
    "model": {"errors", "limits"},
    "wire": {"errors", "limits"},
    "transforms": SHARED,
    "credentials": SHARED | {"transforms"},
    "policy": SHARED | {"transforms", "credentials"},
    "ike": SHARED | {"transforms", "credentials"},
    "control": SHARED,
    "compiler": SHARED | {"transforms", "credentials", "policy"},
    "netsh": SHARED | {"transforms", "policy", "compiler"},  # of the compiler, only how filters weigh
    "adapters": SHARED | {"transforms", "credentials", "policy", "compiler", "ike", "control"},
    "daemon": SHARED | {"transforms", "credentials", "policy", "compiler", "ike", "control", "adapters"},
    # The commands that need no daemon (check, compile, explain) work on the cores; all else goes through control.
    "cli": SHARED | {"policy", "netsh", "compiler", "control", "credentials"},
}
EXCEPTIONS = {
    ("cli/run.py", "daemon"),  # `xfrmd run` is the daemon
    ("cli/run.py", "adapters"),
    ("cli/local.py", "adapters"),  # the facts of this host, for commands that work without a daemon
}
CORES = ("errors.py", "limits", "model", "wire", "transforms", "credentials", "policy", "netsh", "compiler", "ike")
IMPURE = {"asyncio", "socket", "time", "random", "os", "logging", "subprocess", "threading", "secrets"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" if module == "xfrmd" else module for alias in node.names}
    return names


def room(relative: Path) -> str:
    return relative.parts[0].removesuffix(".py")


def violations(relative: Path, names: set[str]) -> list[str]:
    here = room(relative)
    if here == "__init__":
        return [name for name in names if name.startswith("xfrmd")]
    wrong = []
    for name in names:
        parts = name.split(".")
        if parts[0] != "xfrmd" or len(parts) < 2 or parts[1] in (here, "__version__"):
            continue
        if parts[1] not in ALLOWED[here] and (str(relative), parts[1]) not in EXCEPTIONS:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_respect_the_layers(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    assert not violations(relative, imported(path))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_cores_import_nothing_impure(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    if relative.parts[0] in CORES:
        assert not {name.split(".")[0] for name in imported(path)} & IMPURE


def test_the_rule_sees_a_violation() -> None:
    assert violations(Path("ike/engine.py"), {"xfrmd.policy.words"}) == ["xfrmd.policy.words"]
    assert violations(Path("compiler/pad.py"), {"xfrmd.ike.events"}) == ["xfrmd.ike.events"]
    assert violations(Path("cli/table.py"), {"xfrmd.daemon.loop"}) == ["xfrmd.daemon.loop"]
    assert violations(Path("cli/run.py"), {"xfrmd.daemon.loop"}) == []


def test_ike_versions_do_not_know_each_other() -> None:
    for path in (PACKAGE / "ike").rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        other = {"v1": "xfrmd.ike.v2", "v2": "xfrmd.ike.v1"}.get(parts[1], "")
        assert not other or not [name for name in imported(path) if name.startswith(other)], path
