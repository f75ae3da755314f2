# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements of what a packet costs that leaves a host with so many filters. Each function is one process."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Final, NamedTuple

from bench import filters, rulesets
from bench.report import Row, tell
from bench.scene import Aim, Scene, run
from xfrmd.compiler.cost import WILDCARD_NS, WILDCARDS

CLASSES: Final = 40
FLOWS: Final = (32, 8192)
"""Flows that take turns: few stay in the processor's caches, many do not."""
_WAYS: Final = ("hits", "misses")


class Turns(NamedTuple):
    """How much is sent."""

    packets: int
    rounds: int


def _aim(scene: Scene, rows: Sequence[filters.Row], family: int, turns: Turns, flows: Sequence[int] = FLOWS) -> None:
    """Prepare packets that hit and miss, of few flows and of many."""
    for count in flows:
        for way in _WAYS:
            packets: Iterator[tuple[int, str, int]] = getattr(Aim(rows, family), way)()
            scene.aim(f"{way} {count}", family, cycle(list(islice(packets, count))), turns.packets)


def _costs(scenes: Mapping[str, Scene], rounds: int) -> dict[tuple[str, str], float]:
    """Microseconds of CPU per packet, by scene and packets: medians of rounds in which each scene has its turn."""
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):  # the first fills caches and is not counted
        for name, scene in scenes.items():
            for kind, sender in scene.senders.items():
                before = scene.arrived()
                count, seconds = sender.send()
                if scene.arrived() - before < count:
                    raise RuntimeError(f"{name}, {kind}: of {count} packets {scene.arrived() - before} arrived")
                taken.setdefault((name, kind), []).append(seconds / count * 1e6)
    return {key: statistics.median(values[1:]) for key, values in taken.items()}


def _ours(rows: Sequence[filters.Row], family: int, turns: Turns, classes: int) -> Scene:
    """A host with these filters; it is made sure that they are in so many classes, and that hits hit."""
    scene = Scene()
    made = scene.compiled(rows)
    asked = sum(rule.count("vmap") for chain in made.plan.nft.chains if chain.name.startswith("classify_out")
                for rule in chain.rules)  # fmt: skip
    if asked != classes:
        raise RuntimeError(f"{asked} maps in the place of {classes}")
    _aim(scene, rows, family, turns)
    for kind, sender in scene.senders.items():
        before = scene.unmatched()
        count, _ = sender.send()
        if scene.unmatched() - before != (0 if kind.startswith("hits") else count):
            raise RuntimeError(f"{kind}: {scene.unmatched() - before} of {count} matched no filter")
    return scene


def _theirs(text: str, rows: Sequence[filters.Row], family: int, turns: Turns) -> Scene:
    """A host with a ruleset of others; "" for none."""
    scene = Scene()
    if text:
        run("nft", "-f", "-", text=text)
    _aim(scene, rows, family, turns)
    return scene


def many(most: int, packets: int, rounds: int) -> list[Row]:
    """Few filters and many in the same classes, and no table, for both IP versions."""
    turns = Turns(packets, rounds)
    found: list[Row] = []
    for family in (4, 6):
        scenes = {}
        for count in (CLASSES, most):
            tell(f"IPv{family}, {count} filters")
            rows = list(filters.classed(count, CLASSES, family))
            scenes[str(count)] = _ours(rows, family, turns, CLASSES)
        scenes["none"] = _theirs("", rows, family, turns)
        costs = _costs(scenes, rounds)
        for flows in FLOWS:
            for way in _WAYS:
                kind = f"{way} {flows}"
                none, few, all_of_them = (costs[name, kind] for name in ("none", str(CLASSES), str(most)))
                found.append({
                    "family": f"IPv{family}", "way": way, "flows": flows, "none": 1e6 / none, "few": 1e6 / few,
                    "many": 1e6 / all_of_them, "ratio": few / all_of_them, "us": all_of_them,
                })  # fmt: skip
    return found


def classes(filters_in_all: int, counts: Sequence[int], packets: int, rounds: int) -> list[Row]:
    """The same number of filters in more and more classes."""
    turns = Turns(packets, rounds)
    scenes = {}
    for count in counts:
        tell(f"{count} classes")
        scenes[str(count)] = _ours(list(filters.classed(filters_in_all, count, 4)), 4, turns, count)
    costs = _costs(scenes, rounds)
    return [
        {
            "classes": count,
            **{f"{way}_{flows}": costs[str(count), f"{way} {flows}"] for way in _WAYS for flows in FLOWS},
        }
        for count in counts
    ]


def written(count: int, packets: int, rounds: int) -> list[Row]:
    """The same filters as we, a linear ruleset and aerleon write them."""
    found: list[Row] = []
    for family in (4, 6):
        tell(f"IPv{family}, {count} filters in each other's words")
        rows = list(filters.classed(count, CLASSES, family))
        turns, slow = Turns(packets, rounds), Turns(max(FLOWS[0], packets // 8), rounds)
        scenes = {
            "ours": _ours(rows, family, turns, CLASSES),
            "linear": _theirs(rulesets.linear(rows), rows, family, slow),
            "aerleon": _theirs(rulesets.aerleon(rows), rows, family, slow),
        }
        costs = _costs(scenes, rounds)
        for flows in FLOWS:
            for way in _WAYS:
                took = {name: costs[name, f"{way} {flows}"] for name in scenes}
                ratios = {f"{name}_ratio": took[name] / took["ours"] for name in ("linear", "aerleon")}
                found.append({"family": f"IPv{family}", "way": way, "flows": flows, **took, **ratios})
    return found


def negotiating(few: int, most: int, packets: int, rounds: int) -> list[Row]:
    """Packets that no filter speaks of beside negotiate filters with single hosts."""
    turns = Turns(packets, rounds)
    rows = list(filters.hosts(most))
    kinds = {
        "nothing": (0, False),
        "policies": (most, False),
        "few": (few, True),
        "many": (most, True),
    }
    scenes = {}
    for name, (count, table) in kinds.items():
        tell(f"{count} negotiate filters")
        scenes[name] = Scene()
        if count:
            scenes[name].compiled(rows[:count], "negotiate", table=table)
        for flows in FLOWS:
            packet = list(islice(Aim(rows, 4).misses(), flows))
            scenes[name].aim(f"{flows}", 4, cycle(packet), turns.packets)
    costs = _costs(scenes, rounds)
    found: list[Row] = []
    for flows in FLOWS:
        took = {name: costs[name, f"{flows}"] for name in kinds}
        rates = {name: 1e6 / value for name, value in took.items()}
        ratios = {"policies_ratio": took["nothing"] / took["policies"], "many_ratio": took["few"] / took["many"]}
        found.append({"flows": flows, **rates, **ratios})
    return found


def wildcards(counts: Sequence[int], packets: int, rounds: int) -> list[Row]:
    """Packets that pass negotiate filters with `any` at one end, and what `check` says of those."""
    scenes, said = {}, {}
    for count in (0, *counts):
        tell(f"{count} filters with any")
        scene = scenes[str(count)] = Scene()
        if count:
            made = scene.compiled(list(filters.wildcards(count)), "negotiate")
            said[count] = made.wildcards()
        slow = max(FLOWS[0], packets // max(1, count // 50))
        scene.aim("out", 4, cycle(list(islice(Aim([], 4).misses(), FLOWS[0]))), slow)
    costs = _costs(scenes, rounds)
    return [
        {"filters": count, "entries": said[count], "us": costs[str(count), "out"],
         "predicted": said[count] * WILDCARD_NS / 1e3, "warned": "yes" if said[count] > WILDCARDS else "no"}
        for count in counts
    ]  # fmt: skip
