# SPDX-License-Identifier: GPL-2.0-or-later
"""Every table of the benchmarks is made, and what is measured beside ours decides as ours does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from bench import filters, rulesets
from bench.scene import Aim, Scene, run
from bench.tables import TABLES

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid():
        pytest.skip("making a network namespace needs root")
    if missing := [tool for tool in ("ip", "nft") if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.timeout(600)  # 270 s where ten others want the two processors
def test_every_table_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--tiny", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "found.json").read_text())["tables"]
    assert [table["name"] for table in tables] == list(TABLES)
    for table in tables:
        assert table["rows"], table["name"]
        for row in table["rows"]:
            small = {"kilobytes_per_sa", "cpu", "cpu_ratio", "cpu_per_second", "lost"}  # in pages, hundredths; none
            small |= {f"{who}_{what}" for who in ("ours", "charon") for what in ("ms", "kb")} | {"ms_ratio", "kb_ratio"}
            small |= {f"{who}_{what}" for who in ("ours", "charon") for what in ("kernel", "repeated", "cpu")}
            small |= {"suspect", "no_room", "connects_never", "rekeys_never"}  # nobody shows cookies there
            small |= {"mb", "mb_more"}  # none at all
            numbers = {key: value for key, value in row.items() if not isinstance(value, str)}
            assert all(value > 0 or (key in small and value >= 0) for key, value in numbers.items()), (table, row)
    assert done.stdout.count("#### ") == len(TABLES)


def in_a_namespace(function: Callable[[], None]) -> None:
    """In a thread of its own, as it alone changes its namespace."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 (raised again by the thread that waits)
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


Flow = tuple[int, str, int]


def stopped(flows: list[Flow], family: int) -> list[Flow]:
    """Packets that are not let out of the namespace that this thread is in."""
    found = []
    for flow in flows:
        source, address, port = flow
        with socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((filters.OWN[family], source))
            try:
                sock.sendto(b"x", (address, port))
            except PermissionError:
                found.append(flow)
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_others_words_decide_as_ours(family: int) -> None:
    rows = [row for row in filters.classed(160, 40, family) if row.dports.last != 65535]
    hits = list(islice(Aim(rows, family).hits(), 150))
    flows = [*hits, *((source, address, port ^ bits) for source, address, port in hits for bits in (3, 512))]
    flows += islice(Aim(rows, family).misses(), 50)
    found: dict[str, list[Flow]] = {}

    def ours() -> None:
        scene = Scene()
        scene.compiled(rows, "block")
        found["ours"] = stopped(flows, family)

    def others(name: str, text: str) -> None:
        Scene()
        run("nft", "-f", "-", text=text)
        let_out = set(flows) - set(stopped(flows, family))
        found[name] = [flow for flow in flows if flow in let_out]

    in_a_namespace(ours)
    in_a_namespace(lambda: others("linear", rulesets.linear(rows).replace("policy accept", "policy drop")))
    in_a_namespace(lambda: others("aerleon", rulesets.aerleon(rows).replace("policy accept", "policy drop")))
    assert set(hits) <= set(found["ours"])
    assert 150 <= len(found["ours"]) < len(flows) - 50
    assert found["linear"] == found["ours"]
    assert found["aerleon"] == found["ours"]


def test_maps_by_hand_decide_as_ours() -> None:
    rows = list(filters.hosts(80))
    lots = [one for one in rows if one.protocol != "tcp"]
    flows = [(1000 + one % 90, row.remote, 1000 + one % 7) for one in range(90) for row in (*lots[:20], rows[-1])]
    found: dict[str, set[Flow]] = {}

    def ours() -> None:
        scene = Scene()
        scene.compiled(rows, "block")
        found["ours"] = set(stopped(flows, 4))

    def by_hand() -> None:
        Scene()
        run("nft", "-f", "-", text=rulesets.by_hand(rows).replace("policy accept", "policy drop"))
        found["by hand"] = set(flows) - set(stopped(flows, 4))

    in_a_namespace(ours)
    in_a_namespace(by_hand)
    assert len(set(flows)) > len(found["ours"]) > 0
    assert found["by hand"] == found["ours"]
