# SPDX-License-Identifier: GPL-2.0-or-later
"""Write the documents into the tree."""

from __future__ import annotations

from tools.docs import ROOT, files

for name, content in files(ROOT).items():
    path = ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    print(name)
