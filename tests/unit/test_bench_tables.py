# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmarks' policies are what they say, their tables tell medians of runs by turns, the command has manners."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import pytest

from bench import filters
from bench.__main__ import arguments
from bench.report import Column, Row, Table, alternated
from bench.scene import Aim
from bench.tables import FULL, LONG, QUICK, TINY, Sizes
from bench.worker import told_by
from lab.session import HUNG
from xfrmd.compiler import Compilation
from xfrmd.compiler.expand import generic_filters
from xfrmd.compiler.interpreter import Interpreter, Seen
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.selector import Packet, Ports, Selector

ROOT = Path(__file__).parents[2]
KINDS = {
    "hosts": list(filters.hosts(20)),
    "classes of IPv4": list(filters.classed(80, 40, 4)),
    "classes of IPv6": list(filters.classed(80, 40, 6)),
    "wildcards": list(filters.wildcards(3)),
}


@pytest.mark.parametrize("rows", KINDS.values(), ids=KINDS)
def test_what_is_compiled_without_reading_is_what_the_file_says(rows: Sequence[filters.Row]) -> None:
    policy, facts = filters.read(filters.policy_text(rows))
    assert policy.assigned is not None
    said = [one.filter for one in generic_filters(policy.in_force)]
    _, same_facts, made = filters.generics(rows)
    assert facts == same_facts
    assert [(one.src, one.dst, one.protocol, one.sports, one.dports, one.mirrored) for one in said] == [
        (one.filter.src, one.filter.dst, one.filter.protocol, one.filter.sports, one.filter.dports, True)
        for one in made
    ]


@pytest.mark.parametrize("classes", [1, 10, 40, 200])
@pytest.mark.parametrize("family", [4, 6])
def test_filters_are_in_as_many_classes_as_asked(classes: int, family: int) -> None:
    policy, facts, made = filters.generics(list(filters.classed(max(classes, 50), classes, family)))
    table = Compilation(policy, facts, generics=made).plan.nft
    chains = (chain for chain in table.chains if chain.name.startswith("classify_out"))
    assert sum("vmap" in rule for chain in chains for rule in chain.rules) == classes
    assert len({*filters.classed(10_000, classes, family)}) == 10_000, "no filter comes twice"


@pytest.mark.parametrize("family", [4, 6])
def test_packets_that_shall_hit_do_and_others_do_not(family: int) -> None:
    rows = list(filters.classed(120, 40, family))
    policy, facts, made = filters.generics(rows, "block")
    table = Interpreter(Compilation(policy, facts, generics=made).plan.nft)
    own = Address.parse(filters.OWN[family])
    for flows, verdict in ((Aim(rows, family).hits(), "drop"), (Aim(rows, family).misses(), "accept")):
        for source, address, port in islice(flows, 200):
            remote = Prefix.host(Address.parse(address))
            selector = Selector(Prefix.host(own), remote, 17, Ports(source, source), Ports(port, port))
            packet = Packet(False, selector)
            assert table.run("postrouting", Seen(packet, (own,), protected=False)) == verdict, packet


def test_many_flows_differ_from_packet_to_packet() -> None:
    flows = list(islice(Aim(list(filters.classed(4000, 40, 4)), 4).hits(), 1000))
    assert all(one != other for one, other in pairwise(flows))
    assert len(set(flows)) > 900


def test_runs_take_turns_and_the_median_tells() -> None:
    done: list[str] = []
    times = {"ours": iter([1.0, 9.0, 2.0]), "peer": iter([4.0, 6.0, 5.0])}

    def job(name: str) -> Row:
        done.append(name)
        return {"s": next(times[name]), "what": name}

    told: list[str] = []
    found = alternated({name: lambda name=name: job(name) for name in times}, 3, told.append)  # type: ignore[misc]
    assert done == ["ours", "peer"] * 3
    assert found == {"ours": {"s": 2.0, "what": "ours"}, "peer": {"s": 5.0, "what": "peer"}}
    assert told[-1] == "peer, run 3 of 3"


def test_a_table_is_markdown_and_json() -> None:
    columns = (Column("what", "what"), Column("s", "seconds", ".1f"), Column("more", "more", ",d"))
    table = Table("some", "Some table", columns, ({"what": "one", "s": 1.25, "more": 1000}, {"what": "two", "s": 2}))
    assert table.markdown() == (
        "#### Some table\n\n| what | seconds | more |\n|---|--:|--:|\n| one | 1.2 | 1,000 |\n| two | 2.0 |  |\n"
    )
    answer = json.loads(json.dumps(table.to_json()))
    assert answer["columns"] == ["what", "s", "more"]
    assert answer["rows"][0] == {"what": "one", "s": 1.25, "more": 1000}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    done = bench("--tiny", "--json", str(tmp_path / "found.json"), "handshakes")
    assert done.returncode == 0, done.stderr
    assert "| AES128-GCM-SHA256-X25519 |" in done.stdout
    answer = json.loads((tmp_path / "found.json").read_text())
    assert answer["schema"] == 2
    assert answer["machine"]["cores"] >= 1
    (table,) = answer["tables"]
    assert table["name"] == "handshakes"
    assert all(row["responder_ms"] > 0 for row in table["rows"])


@pytest.mark.parametrize(("option", "sizes"), [("--long", LONG), ("--quick", QUICK), ("--tiny", TINY), (None, FULL)])
def test_the_size_is_asked_for_by_an_option(option: str | None, sizes: Sizes) -> None:
    assert arguments().parse_args([option] if option else []).sizes is sizes


def test_sizes_exclude_each_other() -> None:
    done = bench("--long", "--quick", "handshakes")
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def test_an_unknown_table_is_a_usage_error() -> None:
    done = bench("rot13")
    assert done.returncode == 2
    assert "handshakes" in done.stderr


@pytest.mark.parametrize(("hangs", "measured"), [(0, True), (1, True), (2, False)])
def test_a_lab_that_hangs_is_tried_once_more(tmp_path: Path, hangs: int, measured: bool) -> None:
    been = tmp_path / "been"
    code = f"echo >>{been}; echo on the way; [ $(wc -l <{been}) -gt {hangs} ] || exit {HUNG}; echo '[1]'"
    if measured:
        assert told_by(["sh", "-c", code]) == [1]
    else:
        with pytest.raises(RuntimeError, match="on the way"):
            told_by(["sh", "-c", code])
    assert been.read_text().count("\n") == min(hangs + 1, 2)
