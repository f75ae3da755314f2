# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of `make bench`: what is measured for each, how often, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from bench import engine
from bench.childless import childless_table
from bench.crowd import crowd_table
from bench.floods import flood_table
from bench.packets import CLASSES
from bench.peered import peered_table
from bench.report import Column, Row, Table, alternated, over, tell
from bench.responders import responders_table
from bench.storm import storm_table
from bench.worker import measure


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    loads: tuple[tuple[int, int], ...]
    """Numbers of filters, each with its number of runs."""
    changed: tuple[int, int]
    changes: int
    many: int
    written: int
    classes: tuple[int, ...]
    packets: int
    """Sent in one turn of one host."""
    rounds: int
    negotiate: int
    installs: int
    wildcards: tuple[int, ...]
    handshakes: int
    runs: int
    boots: tuple[tuple[int, int], ...]
    """Numbers of filters of a boot filter, each with its number of runs."""
    starts: tuple[tuple[int, int], ...]
    """Numbers of filters of a daemon's policy, each with its number of starts."""
    restarts: int
    clients: tuple[int, int, int, int]
    """Of each responder, how often a fresh one has that many, the rules of the one with many, kinds of handshake."""
    childless: tuple[int, int, int, int]
    """The same of IKE SAs alone: how many clients in a turn, turns, rules, kinds."""
    floods: tuple[tuple[str, int], ...]
    """Kinds of floods (bench.floods.MODES), each with messages a second, 0 for all that the sender can."""
    flooded: float
    """Seconds of each."""
    crowd: tuple[int, int]
    """Peers of one daemon, kinds of handshake."""
    peered: tuple[int, int]
    """Peers of a policy that is loaded, and how often."""
    storm: int
    """Peers that rekey at once."""


FLOODS: Final = (("", 0), ("forged", 2_000), ("forged", 20_000))
# fmt: off
FULL: Final = Sizes(
    loads=((1_000, 5), (10_000, 3), (100_000, 3)), changed=(1_000, 100_000), changes=50,
    many=100_000, written=1_000, classes=(1, 10, 50, 200), packets=8192, rounds=9,
    negotiate=10_000, installs=5, wildcards=(10, 100, 1_000), handshakes=300, runs=3,
    boots=((10, 41), (1_000, 41), (100_000, 5)), starts=((10, 3), (1_000, 3), (10_000, 3)), restarts=3,
    clients=(300, 3, 5_000, 5), childless=(100, 5, 5_000, 5),
    floods=(*FLOODS, ("forged", 0), ("cookies", 1_000), ("cookies", 0), ("nat", 2_000)), flooded=10.0,
    crowd=(2_000, 2), peered=(1_000, 5), storm=2_000,
)
QUICK: Final = Sizes(
    loads=((1_000, 3), (10_000, 1)), changed=(1_000, 10_000), changes=10,
    many=10_000, written=1_000, classes=(1, 10, 50, 200), packets=1024, rounds=3,
    negotiate=1_000, installs=3, wildcards=(10, 100, 1_000), handshakes=50, runs=1,
    boots=((10, 21), (1_000, 11)), starts=((10, 1), (1_000, 1)), restarts=1,
    clients=(100, 1, 1_000, 5), childless=(50, 3, 1_000, 5),
    floods=FLOODS, flooded=3.0, crowd=(200, 1), peered=(1_000, 1), storm=200,
)
TINY: Final = Sizes(
    loads=((40, 1),), changed=(10, 40), changes=2,
    many=80, written=40, classes=(1, 40), packets=64, rounds=1,
    negotiate=40, installs=1, wildcards=(10,), handshakes=2, runs=1,
    boots=((10, 1),), starts=((10, 1),), restarts=1,
    clients=(4, 1, 5, 1), childless=(4, 1, 5, 1),
    floods=(("forged", 1_000),), flooded=0.2, crowd=(4, 1), peered=(4, 1), storm=4,
)
"""For tests of this program: nothing is measured, all of it is done."""
LONG: Final = replace(
    FULL, clients=(500, 9, 5_000, 5), childless=(400, 15, 5_000, 5), crowd=(10_000, 2), storm=10_000
)
# fmt: on


def handshakes(sizes: Sizes) -> Table:
    """The engine alone."""
    tell("handshakes of the engine alone")
    results = engine.measure_all(engine.SUITES, sizes.handshakes, sizes.runs)
    columns = (
        Column("suite", "suite"),
        Column("responder_ms", "responder CPU ms", ".3f"),
        Column("responder_best_ms", "best", ".3f"),
        Column("initiator_ms", "initiator CPU ms", ".3f"),
        Column("per_second", "both ends, handshakes/s", ".0f"),
        Column("kilobytes_per_sa", "kB per SA", ".1f"),
    )
    return Table("handshakes", "Handshakes of the engine alone", columns, tuple(row.to_json() for row in results))


def load(sizes: Sizes) -> Table:
    """Compile and apply beside `nft -f`."""
    rows: list[Row] = []
    for count, runs in sizes.loads:
        jobs: dict[str, Callable[[], Row]] = {
            f"load {count}, ours": partial(measure, "ours", count),
            f"load {count}, by hand": partial(measure, "by_hand", count),
        }
        ours, peer = alternated(jobs, runs, tell).values()
        ratios = {f"{key}_ratio": over(ours, peer, key) for key in ("load", "cpu", "mb")}
        rows.append({"filters": count, **ours, "peer": peer["load"], "peer_mb": peer["mb"], **ratios})
    columns = (
        Column("filters", "filters", ",d"),
        Column("compile", "compile s", ".2f"),
        Column("apply", "apply s", ".2f"),
        Column("load", "both s", ".2f"),
        Column("peer", "`nft -f` s", ".2f"),
        Column("load_ratio", "ratio", ".2f"),
        Column("cpu_ratio", "of CPU", ".2f"),
        Column("mb", "peak MB", ".0f"),
        Column("peer_mb", "`nft -f` MB", ".0f"),
        Column("mb_ratio", "ratio", ".2f"),
        Column("read", "reading YAML s", ".2f"),
        Column("check", "check s", ".2f"),
        Column("total", "all s", ".2f"),
    )
    notes = (
        "Permit filters between this host and single others, mirrored. `nft -f` loads the smallest equal ruleset, with "
        "its own start. Ours proves what it did by reading the kernel again, and its elements count packets. Memory is "
        "that of the whole process with the policy file in it."
    )
    return Table("load", "Compile and apply, beside the smallest ruleset written by hand", columns, tuple(rows), notes)


def change(sizes: Sizes) -> Table:
    """One filter more or less."""
    few, many = sizes.changed
    tell(f"changes of policies of {few} and {many} filters")
    names = {
        "add": "one filter more",
        "remove": "one filter less",
        "fact": "a DNS server's address changes",
        "own_one": "an own address comes or goes, one filter speaks of `me`",
        "own": "an own address comes, all filters speak of `me`",
        "own_gone": "it goes",
    }
    rows: list[Row] = [{**row, "what": names[row["what"]]} for row in measure("changed", few, many, sizes.changes)]
    tell("policy files read anew")
    anew = {"few": measure("edited", few)["ms"], "many": measure("edited", many)["ms"]}
    rows.append({"what": "the file read anew, with one filter more (once)", **anew})
    for row in rows:
        assert isinstance(row, dict)
        row["ratio"] = row["many"] / row["few"]
    columns = (
        Column("what", "change"),
        Column("few", f"{few:,} filters, ms", ".2f"),
        Column("few_most", "worst", ".2f"),
        Column("many", f"{many:,} filters, ms", ".2f"),
        Column("many_most", "worst", ".2f"),
        Column("ratio", "ratio", ".2f"),
    )
    notes = (
        "From the change to the kernel that has been asked and has it, without a file to read: medians, and the worst."
    )
    return Table("change", "One change, in a small policy and a large one", columns, tuple(rows), notes)


_WAY: Final = (Column("family", ""), Column("way", "packets"), Column("flows", "flows by turns", ",d"))


def packets(sizes: Sizes) -> Table:
    """Few filters and many."""
    rows = measure("many", sizes.many, sizes.packets, sizes.rounds)
    columns = (
        *_WAY,
        Column("none", "no table, packets/s", ",.0f"),
        Column("few", f"{CLASSES} filters", ",.0f"),
        Column("many", f"{sizes.many:,} filters", ",.0f"),
        Column("ratio", "ratio", ".2f"),
        Column("us", "us", ".2f"),
    )
    title = f"Packets per second of one CPU, few filters and many in the same {CLASSES} classes"
    return Table("packets", title, columns, tuple(rows), _PACKETS)


_PACKETS: Final = (
    "Packets leave through veth from unconnected sockets, each of another flow than the one before: 32 flows by turns "
    "stay in the processor's caches, 8,192 that are drawn by lot among all filters do not."
)


def classes(sizes: Sizes) -> Table:
    """More and more classes."""
    rows = measure("classes", sizes.written, sizes.classes, sizes.packets, sizes.rounds)
    columns = (
        Column("classes", "classes"),
        Column("hits_32", "hits of 32 flows, us", ".2f"),
        Column("misses_32", "misses", ".2f"),
        Column("hits_8192", "hits of 8,192 flows, us", ".2f"),
        Column("misses_8192", "misses", ".2f"),
    )
    return Table("classes", f"A packet's cost by classes, with {sizes.written:,} filters", columns, tuple(rows))


def written(sizes: Sizes) -> Table:
    """Our words and others'."""
    rows = measure("written", sizes.written, sizes.packets, sizes.rounds)
    columns = (
        *_WAY,
        Column("ours", "ours, us", ".2f"),
        Column("linear", "linear, us", ".2f"),
        Column("linear_ratio", "ratio", ".1f"),
        Column("aerleon", "aerleon, us", ".2f"),
        Column("aerleon_ratio", "ratio", ".1f"),
    )
    notes = (
        "`linear` is a rule for each filter; `aerleon` is what its nftables generator makes of a term for each filter: "
        "a chain and a jump, behind `ct state established accept`, which takes packets of a flow that was answered; "
        "none of these is."
    )
    title = f"The same {sizes.written:,} filters as we write them, as rules, and as aerleon does"
    return Table("written", title, columns, tuple(rows), notes)


def negotiate(sizes: Sizes) -> Table:
    """Policies installed."""
    tell(f"{sizes.negotiate} negotiate filters")
    rows = measure("installed", sizes.negotiate, sizes.installs)
    columns = (
        Column("way", "way"),
        Column("policies", "policies", ",.0f"),
        Column("seconds", "s", ".2f"),
        Column("per_second", "policies/s", ",.0f"),
        Column("ratio", "times as fast", ".2f"),
        Column("cpu", "CPU s", ".2f"),
        Column("cpu_per_second", "policies/s of CPU", ",.0f"),
        Column("cpu_ratio", "times as fast", ".2f"),
    )
    title = f"XFRM policies of {sizes.negotiate:,} negotiate filters, installed"
    return Table(
        "negotiate", title, columns, tuple(rows), "The same policies: host to host, a template, in, out and fwd."
    )


def beside(sizes: Sizes) -> Table:
    """Packets beside negotiate filters."""
    rows = measure("negotiating", CLASSES, sizes.negotiate, sizes.packets, sizes.rounds)
    columns = (
        Column("flows", "flows by turns", ",d"),
        Column("nothing", "nothing, packets/s", ",.0f"),
        Column("policies", f"XFRM policies of {sizes.negotiate:,} only", ",.0f"),
        Column("policies_ratio", "ratio", ".2f"),
        Column("few", f"{CLASSES} filters, whole", ",.0f"),
        Column("many", f"{sizes.negotiate:,} filters, whole", ",.0f"),
        Column("many_ratio", "ratio", ".2f"),
    )
    title = "Packets per second of one CPU that pass beside negotiate filters"
    return Table("beside", title, columns, tuple(rows), "Packets that no filter speaks of, so that no SA is needed.")


def wildcards(sizes: Sizes) -> Table:
    """Filters with any at one end."""
    rows = measure("wildcards", sizes.wildcards, sizes.packets, sizes.rounds)
    columns = (
        Column("filters", "filters", ",d"),
        Column("entries", "entries with any", ",d"),
        Column("us", "packet, us", ".2f"),
        Column("predicted", "of it predicted by check", ".2f"),
        Column("warned", "warned"),
    )
    title = "Negotiate filters with any at one end: a list in the kernel"
    return Table("wildcards", title, columns, tuple(rows))


def boot(sizes: Sizes) -> Table:
    """The start of the system."""
    rows: list[Row] = []
    for count, runs in sizes.boots:
        tell(f"boot filter of {count} filters")
        rows.append(measure("booted", count, runs))
    columns = (
        Column("filters", "filters", ",d"),
        Column("kilobytes", "file, kB", ",.0f"),
        Column("ours", "our script, ms", ".1f"),
        Column("nft", "`nft -f`, ms", ".1f"),
        Column("ratio", "ratio", ".2f"),
        Column("service", "as nftables.service, ms", ".1f"),
        Column("service_ratio", "ratio", ".2f"),
        Column("cpu_ratio", "of CPU, to `nft -f`", ".2f"),
        Column("compile", "compiled in s", ".2f"),
    )
    notes = (
        "From the start of the program to the filter in place, the same rules each time, in a fresh namespace: our "
        "script with its checksum, `nft -f` alone, and a file that begins with `flush ruleset`, as /etc/nftables.conf."
    )
    return Table("boot", "The boot filter, loaded", columns, tuple(rows), notes)


def start(sizes: Sizes) -> Table:
    """The start of the daemon."""
    columns = (
        Column("filters", "filters", ",d"),
        Column("first", "xfrmd, first start, s", ".2f"),
        Column("again", "xfrmd, started again, s", ".2f"),
        Column("imports", "of it Python's imports, s", ".2f"),
        Column("nft", "`nft -f` alone, s", ".2f"),
        Column("charon", "charon without connections, s", ".2f"),
    )
    notes = (
        "In a kernel of the lab, from the start of the program until it says that it is ready, which xfrmd says when "
        "its policy is in force. Started again: the kernel holds the policy of the run before. charon ends "
        "no start with traffic held or blocked, so it is told without any connection."
    )
    rows = tuple(measure("started", sizes.starts, lab=True))
    return Table("start", "The daemon's start, to its policy in force", columns, rows, notes)


def restart(sizes: Sizes) -> Table:
    """Restarts under traffic."""
    columns = (
        Column("way", "what"),
        Column("flow", "flow"),
        Column("times", "times", ",d"),
        Column("away", "from stop to ready, s", ".2f"),
        Column("sent", "packets", ",d"),
        Column("rate", "packets/s", ",.0f"),
        Column("lost", "lost", ",d"),
        Column("longest", "longest between two answers, ms", ".0f"),
    )
    notes = (
        "In a kernel of the lab, at 1,000 packets/s or what the machine can send, each answered by the other host; "
        "none of the first flow is in the clear."
    )
    rows = tuple(measure("restarted", sizes.restarts, lab=True))
    return Table("restart", "Packets lost while the daemon restarts", columns, rows, notes)


def responders(sizes: Sizes) -> Table:
    """Handshakes of a whole daemon beside charon."""
    return responders_table(measure("responders", *sizes.clients, lab=True))


def childless(sizes: Sizes) -> Table:
    """The same of IKE SAs alone, on this kernel."""
    return childless_table(measure("childless", *sizes.childless))


def floods(sizes: Sizes) -> Table:
    """Floods of first messages."""
    return flood_table(measure("flooded", sizes.floods, sizes.flooded))


def crowd(sizes: Sizes) -> Table:
    """Thousands of peers of one daemon."""
    return crowd_table(measure("crowd", *sizes.crowd, lab=True))


def peers(sizes: Sizes) -> Table:
    """A policy of many peers loaded."""
    return peered_table(measure("peered", *sizes.peered, lab=True))


def storm(sizes: Sizes) -> Table:
    """All peers rekey."""
    return storm_table(measure("storm", sizes.storm))


TABLES: Final[dict[str, Callable[[Sizes], Table]]] = {
    "load": load,
    "change": change,
    "packets": packets,
    "classes": classes,
    "written": written,
    "negotiate": negotiate,
    "beside": beside,
    "wildcards": wildcards,
    "boot": boot,
    "start": start,
    "restart": restart,
    "handshakes": handshakes,
    "responders": responders,
    "childless": childless,
    "floods": floods,
    "crowd": crowd,
    "peers": peers,
    "storm": storm,
}
NEEDS_ROOT: Final = frozenset(TABLES) - {"handshakes"}
