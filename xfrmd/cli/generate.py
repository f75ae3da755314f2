# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m xfrmd.cli.generate`: write what is made of tables into the tree, so that it can be read and packaged."""

from __future__ import annotations

from pathlib import Path

from xfrmd.cli import manpage, xfrmctl, xfrmd
from xfrmd.cli.completion import FILES, script
from xfrmd.policy.reference import fill
from xfrmd.policy.schema import schema_text

PROGRAMS = (xfrmctl.PROGRAM, xfrmd.PROGRAM)


def files(root: Path) -> dict[str, str]:
    """What each generated file holds, by its path below `root`. Of the reference only the tables are made."""
    reference = "docs/policy-reference.md"
    found = {"config/xfrmd-policy.schema.json": schema_text(), reference: fill((root / reference).read_text())}
    for program in PROGRAMS:
        found[f"docs/man/{program.name}.{program.section}"] = manpage.render(program)
        for shell, name in FILES.items():
            found[f"config/completion/{name.format(program.name)}"] = script(program, shell)
    return found


def main(root: Path) -> None:
    """Write them all below `root`."""
    for name, content in files(root).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(name)


if __name__ == "__main__":
    main(Path(__file__).parents[2])
