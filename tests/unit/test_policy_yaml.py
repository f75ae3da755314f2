# SPDX-License-Identifier: GPL-2.0-or-later
"""YAML itself: what does not parse, and what YAML allows and a policy does not. Nothing but PolicyErrors escapes."""

from __future__ import annotations

import random

import pytest

from tests.unit.policy_text import GOOD, SECRET, changed, problems_of, read
from xfrmd import limits
from xfrmd.model.source import Problem
from xfrmd.policy import PolicyErrors, load

BAD: list[tuple[str | bytes, tuple[int, int], str, str]] = [
    ("", (1, 1), "the file is empty", "examples"),
    ("# nothing\n", (1, 1), "the file is empty", "examples"),
    ("\tversion: 1", (1, 1), "cannot start any token", "forbids tabs"),
    ("version: 1\npolicies:\n\t- x", (3, 1), "cannot start any token", "forbids tabs"),
    ("a: @x", (1, 4), "cannot start any token", "quote a value that begins with '@'"),
    ("a: b: c", (1, 5), "mapping values are not allowed", "quote a value that contains ': '"),
    ("a: [1, 2", (2, 1), "flow", "close each bracket"),
    ("q: [ESP[AES128-GCM]:100k/3s]", (1, 8), "did not find expected ',' or ']'", "quote each value that contains [ ]"),
    ("{a: fd00::, b: 1}", (1, 10), "unexpected ':'", "quote an IPv6 address"),
    ("a: 'x", (1, 6), "quoted scalar", "close the quotation mark"),
    ("a: 1\n b: 2", (2, 3), "mapping values are not allowed", "indentation"),
    ("version: 1\n---\nversion: 1", (2, 1), "single document", "one document"),
    ("a: &x 1", (1, 4), "anchor &x is not allowed", "shared by their names"),
    ("a: *x", (1, 4), "alias *x is not allowed", "write the value out"),
    ("&x [*x]", (1, 1), "anchor &x is not allowed", "shared by their names"),
    ("a: !!python/object/apply:os.system [x]", (1, 4), "tag tag:yaml.org,2002:python", "remove it"),
    ("a: !secret x", (1, 4), "tag !secret is not allowed", "quote a value"),
    ("a\x00b: 1", (1, 2), "U+0000 is not allowed", "remove it"),
    ("version: 1\na: \x1b[0m", (2, 4), "U+001B is not allowed", "remove it"),
    (b"version: 1\nname: caf\xe9", (2, 10), "0xE9 is not UTF-8", "UTF-8"),
    (b"\xff\xfev\x00", (1, 1), "0xFF is not UTF-8", "UTF-8"),
    ("- version: 1", (1, 1), "expected is a mapping for a policy file", "with version"),
    ("5", (1, 1), "expected is a mapping for a policy file", "with version"),
    ("[" * 17, (1, 17), "nested deeper than 16 levels", "8 levels"),
    ("[" * 300_000, (1, 17), "nested deeper than 16 levels", "8 levels"),
    ("{a: " * 100_000, (1, 65), "nested deeper than 16 levels", "8 levels"),
    ("- " * 100_000 + "a", (1, 33), "nested deeper than 16 levels", "8 levels"),
    ("? " * 100_000 + "a", (1, 33), "nested deeper than 16 levels", "8 levels"),
    ("[{" * 100_000 + "}]" * 100_000, (1, 17), "nested deeper than 16 levels", "8 levels"),
    ("\n".join(" " * n + "a:" for n in range(5_000)), (17, 17), "nested deeper than 16 levels", "8 levels"),
]


@pytest.mark.parametrize(("text", "place", "message", "remedy"), BAD, ids=[repr(row[0][:20]) for row in BAD])
def test_refusals(text: str | bytes, place: tuple[int, int], message: str, remedy: str) -> None:
    problem = problems_of(text)[0]
    assert message in problem.message
    assert remedy in problem.remedy
    assert (problem.at.line, problem.at.column) == place


def test_every_anchor_and_tag_is_told() -> None:
    found = problems_of("a: &one 1\nb: *one\nc: !x 2\nd: [&two 3, *two]")
    assert [(one.at.line, one.at.column) for one in found] == [(1, 4), (2, 4), (3, 4), (4, 5), (4, 13)]


def test_an_alias_bomb_costs_nothing() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "anchor &a0" in problems_of("\n".join(rows))[0].message


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    text = b"#" * (limits.POLICY_FILE_SIZE + 1)
    (problem,) = problems_of(text)
    assert "larger than 64 MiB" in problem.message
    assert "split" in problem.remedy


def test_marks_that_only_look_like_anchors_are_text() -> None:
    text = changed("name: smb\n", 'name: smb\n    description: "this & that, 5 * 3 ! & *x, &y [[[[[[[[[["\n')
    assert read(text).policies[0].rules[0].filter_list.description.startswith("this & that, 5 * 3 ! & *x")


def test_octets_byte_order_marks_and_line_ends() -> None:
    assert read(GOOD.encode()) == read(GOOD)
    assert read(b"\xef\xbb\xbf" + GOOD.encode()).assigned is not None
    assert read(GOOD.replace("\n", "\r\n")).assigned is not None


def test_mutated_policies_never_raise_anything_else() -> None:
    """Bytes changed, cut, doubled: each either loads or is refused with a place in the file."""
    source, chance = GOOD.encode(), random.Random(20)
    pieces = [
        b"[",
        b"{",
        b"&a ",
        b"*a",
        b"\t",
        b": ",
        b"- ",
        b"\n",
        b"'",
        b'"',
        b"\x00",
        b"\xff",
        b"99999",
        b"~",
        b"!!x ",
        b"${a}",
        b"\ninclude: [x]\n",
        b"\nvariables: {a: [b, ${a}]}\n",
    ]
    wrong: list[Problem] = []
    for _ in range(3000):
        data = bytearray(source)
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(data))
            end = min(len(data), start + chance.choice([0, 1, 2, 30]))
            data[start:end] = chance.choice([*pieces, b"", data[end : end + 20]])
        try:
            load(bytes(data), "f", lambda _: SECRET)
        except PolicyErrors as errors:
            wrong += [one for one in errors.problems if min(one.at[1:]) < 1 or not one.message or not one.remedy]
    assert wrong == []
