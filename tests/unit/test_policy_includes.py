# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy of several files: where they are looked for, what they bring together, what is refused."""

from __future__ import annotations

import pytest

from tests.unit.policy_text import GOOD, SECRET
from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.model.source import Problem
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.includes import included
from xfrmd.policy.sources import Sources, from_mapping
from xfrmd.policy.words import PolicySet

MAIN = "/etc/xfrmd/policy.yaml"
LISTS = GOOD[GOOD.index("filterlists:") : GOOD.index("filteractions:")]
ACTIONS = GOOD[GOOD.index("filteractions:") : GOOD.index("policies:")]
POLICIES = GOOD[GOOD.index("policies:") :]
HEAD = "version: 1\n"


def loaded(files: dict[str, str]) -> PolicySet:
    return load(files[MAIN], MAIN, lambda _: SECRET, sources=from_mapping(files, {}))


def problems(files: dict[str, str]) -> tuple[Problem, ...]:
    with pytest.raises(PolicyErrors) as caught:
        loaded(files)
    return caught.value.problems


def including(*names: str, rest: str = POLICIES) -> str:
    return f"{HEAD}include: [{', '.join(names)}]\n{rest}"


def test_files_bring_objects_from_where_they_lie() -> None:
    files = {
        MAIN: including("lists/smb.yaml", "/usr/share/actions.yaml"),
        "/etc/xfrmd/lists/smb.yaml": HEAD + "include: [../none.yaml]\n" + LISTS,
        "/etc/xfrmd/none.yaml": HEAD,
        "/usr/share/actions.yaml": HEAD + ACTIONS,
    }
    policies = loaded(files)
    (rule,) = policies.policies[0].rules
    assert rule.filter_list.filters[0].at.file == "/etc/xfrmd/lists/smb.yaml"
    assert rule.filter_action.at.file == "/usr/share/actions.yaml"
    assert rule.at.file == MAIN


def test_a_file_that_is_named_twice_counts_once() -> None:
    files = {
        MAIN: including("a.yaml", "b.yaml"),
        "/etc/xfrmd/a.yaml": HEAD + "include: [./b.yaml]\n" + LISTS,
        "/etc/xfrmd/b.yaml": HEAD + "include: [sub/../c.yaml]\n" + ACTIONS,
        "/etc/xfrmd/c.yaml": HEAD,
    }
    assert loaded(files).assigned is not None


def test_variables_of_all_files_serve_all_files() -> None:
    lists = LISTS.replace("dstaddr: any", "dstaddr: '${net}'")
    files = {
        MAIN: including("a.yaml", rest="variables: {net: '10.${site}.0.0/16'}\n" + POLICIES),
        "/etc/xfrmd/a.yaml": HEAD + "variables: {site: 7}\n" + lists + ACTIONS,
    }
    assert str(loaded(files).policies[0].rules[0].filter_list.filters[0].dst[0]) == "10.7.0.0/16"  # type: ignore[index]
    files["/etc/xfrmd/a.yaml"] = HEAD + "variables: {site: 7, net: x}\n" + lists + ACTIONS
    (problem,) = problems(files)
    assert str(problem.at) == "/etc/xfrmd/a.yaml:2:27"
    assert "variable net has a value already, at /etc/xfrmd/policy.yaml:3:18" in problem.message


REST = LISTS + ACTIONS
MISTAKES = [
    ("a.yaml", {}, ":2:11", "'/etc/xfrmd/a.yaml' cannot be included: it was not sent along", "correct the path"),
    ("policy.yaml", {}, ":2:11", "includes itself: /etc/xfrmd/policy.yaml -> /etc/xfrmd/policy.yaml", "remove one"),
    ("'${x}.yaml'", {}, ":2:11", "variables cannot stand in include", "write the path out"),
    ("'-'", {}, ":2:11", "'-' is no path of a file", "relative to this file"),
    ("''", {}, ":2:11", "0 characters stand here", "write 1 to"),
    ("[a]", {}, ":2:11", "a list stands here", "a path"),
    ("a.yaml", {"a.yaml": ""}, "a.yaml:1:1", "the file is empty", "examples"),
    ("a.yaml", {"a.yaml": "a: [\n"}, "a.yaml:2:1", "this is no YAML", "bracket"),
    ("a.yaml", {"a.yaml": REST}, "a.yaml:1:1", "policy file has no version", "add version"),
    (
        "a.yaml",
        {"a.yaml": HEAD + REST + "allow_weak: yes\n"},
        "a.yaml:9:13",
        "allow_weak stands in an included",
        "first",
    ),
    ("a.yaml", {"a.yaml": HEAD + REST + "config: {}\n"}, "a.yaml:9:9", "config stands in an included file", "first"),
    (
        "a.yaml, b.yaml",
        {"a.yaml": HEAD + REST, "b.yaml": HEAD + LISTS},
        "b.yaml:3:11",
        "filter list 'smb' stands twice, first at /etc/xfrmd/a.yaml:3",
        "its own name",
    ),
    (
        "a.yaml",
        {"a.yaml": HEAD + "include: [b.yaml]\n" + REST, "b.yaml": HEAD + "include: [a.yaml]\n"},
        "b.yaml:2:11",
        "includes itself: /etc/xfrmd/a.yaml -> /etc/xfrmd/b.yaml -> /etc/xfrmd/a.yaml",
        "remove one",
    ),
]


@pytest.mark.parametrize(
    ("names", "files", "place", "message", "remedy"), MISTAKES, ids=[row[3][:30] for row in MISTAKES]
)
def test_mistakes(names: str, files: dict[str, str], place: str, message: str, remedy: str) -> None:
    problem = problems({MAIN: including(names)} | {f"/etc/xfrmd/{name}": text for name, text in files.items()})[0]
    assert str(problem.at).endswith(place)
    assert message in problem.message
    assert remedy in problem.remedy


def test_include_is_a_list_that_stands_once() -> None:
    assert "expected is a list of files" in problems({MAIN: HEAD + "include: a\n"})[0].message
    assert "the list of files is empty" in problems({MAIN: HEAD + "include: []\n"})[0].message
    files = {MAIN: HEAD + "include: [a.yaml]\ninclude: [a.yaml]\n" + POLICIES, "/etc/xfrmd/a.yaml": HEAD + REST}
    assert "include stands twice here, first in line 2" in problems(files)[0].message


def test_objects_that_no_file_has_are_missed() -> None:
    found = problems({MAIN: including("a.yaml"), "/etc/xfrmd/a.yaml": HEAD + LISTS})
    assert [one.message for one in found] == ["the policy file has no filteractions"]


def test_depth_number_and_size_are_bounded() -> None:
    chain = {f"/etc/xfrmd/{n}.yaml": HEAD + f"include: [{n + 1}.yaml]\n" for n in range(20)}
    assert f"more than {limits.INCLUDE_DEPTH} deep" in problems({MAIN: including("0.yaml")} | chain)[0].message
    names = [f"f{n}.yaml" for n in range(limits.INCLUDE_FILES + 1)]
    many = {f"/etc/xfrmd/{name}": HEAD for name in names}
    assert f"more than {limits.INCLUDE_FILES} files" in problems({MAIN: including(*names)} | many)[0].message
    large = f"#{' ' * (limits.POLICY_FILE_SIZE // 2)}\n"
    files = {MAIN: including("a.yaml", "b.yaml"), "/etc/xfrmd/a.yaml": HEAD + large, "/etc/xfrmd/b.yaml": HEAD + large}
    assert "larger than 64 MiB" in problems(files)[0].message


def test_what_a_file_includes_can_be_sent_along() -> None:
    files: dict[str, str | bytes] = {"/etc/xfrmd/a.yaml": HEAD + "include: [b.yaml]\n", "/etc/xfrmd/b.yaml": HEAD}
    source = from_mapping(files | {"/etc/shadow": "x"}, {})
    assert included(including("a.yaml"), MAIN, source.read) == files
    assert included(GOOD.encode(), MAIN, source.read) == {}
    with pytest.raises(PolicyErrors, match="cannot be included"):
        included(including("c.yaml"), MAIN, source.read)


def test_without_sources_nothing_is_read() -> None:
    with pytest.raises(PolicyErrors, match="no files can be included here"):
        load(including("a.yaml"), MAIN, lambda _: SECRET)

    def unreadable(name: str) -> str:
        raise PolicyError(f"{name}: permission denied")

    with pytest.raises(PolicyErrors, match=r"a\.yaml: permission denied"):
        load(including("a.yaml"), MAIN, lambda _: SECRET, sources=Sources(unreadable))
