# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's side of the boot filter: when it is lifted, what is saved when, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.unit.compiler_cases import HOST, one, policy, rule
from tests.unit.failing_disk import Memory, PowerCutError
from xfrmd import limits
from xfrmd.adapters.boot_files import BLOCK, BOOT, BootFiles
from xfrmd.compiler.boot import block_file, boot_file
from xfrmd.daemon.boot import BootFilter
from xfrmd.errors import KernelError
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.model.notice import Level, Notice
from xfrmd.policy.words import BootMode, Config, PolicySet

BLOCKING = policy(rule("block", one("me", "10.2.0.0/16")))
NONE = PolicySet((), None)
STATE = Path("/var/lib/xfrmd")


@dataclass
class Files:
    """The state directory, with all that was done to it in order."""

    had: bool = False
    done: list[tuple[str, str]] = field(default_factory=list)
    refuse: Callable[[str, str], bool] = lambda *_: False
    is_lifted: bool = False

    def _do(self, what: str, text: str) -> None:
        if self.refuse(what, text):
            raise OSError(errno.ENOSPC, "No space left on device")
        self.done.append((what, text))

    def had_policy(self) -> bool:
        return self.had

    def remember_policy(self) -> None:
        if not self.had:
            self._do("had-policy", "")
            self.had = True

    def save(self, name: str, text: str) -> None:
        self._do(name, text)

    def load(self, name: str) -> str | None:
        if self.refuse("load", name):
            raise OSError(errno.EIO, "Input/output error")
        return next((text for what, text in reversed(self.done) if what == name), None)

    def remove(self, name: str) -> None:
        self._do("remove", name)

    def lifted(self) -> None:
        self.is_lifted = True


class Host:
    """A boot filter with its surroundings."""

    def __init__(self) -> None:
        self.files = Files()
        self.told: list[Notice] = []
        self.table: bool | KernelError = True
        self.filter = BootFilter(self.files, self._lift, self.told.append)

    def _lift(self) -> bool:
        if isinstance(self.table, KernelError):
            raise self.table
        found, self.table = self.table, False
        return found

    def save(self, policies: PolicySet, facts: HostFacts = HOST) -> list[tuple[str, str]]:
        """What is written when this comes in force."""
        self.files.done.clear()
        if self.filter.want(policies, facts):
            asyncio.run(self.filter.save())
        return list(self.files.done)


@pytest.fixture
def host() -> Host:
    return Host()


def test_what_is_saved_is_looked_at_with_its_checksum(host: Host) -> None:
    state = host.filter.state(Config(), loaded=True)
    assert (state.mode, state.had_policy, state.loaded) == (BootMode.PERMIT, False, True)
    assert state.saved == {BOOT: "missing", BLOCK: "missing"}
    host.save(BLOCKING)
    state = host.filter.state(Config(), loaded=False)
    assert (state.mode, state.had_policy) == (BootMode.STATEFUL, True)
    assert state.saved == {BOOT: BootMode.STATEFUL, BLOCK: BootMode.BLOCK}
    text = host.files.load(BOOT)
    assert text is not None
    for spoilt in (text[:-1], text.replace(" 1 stateful ", " 2 stateful "), text.replace("drop", "\ufffd", 1), "#"):
        host.files.done = [(BOOT, spoilt)]
        assert host.filter.state(Config(), loaded=False).saved == {BOOT: "damaged", BLOCK: "missing"}
    host.files.refuse = lambda what, _: what == "load"
    assert host.filter.state(Config(), loaded=False).saved == {BOOT: "unreadable", BLOCK: "unreadable"}
    assert BootFilter(None, lambda: False, lambda _: None).state(Config(), loaded=False).saved == {}


def test_the_table_of_the_start_is_lifted_once_and_told(host: Host) -> None:
    host.filter.lift()
    assert (host.table, host.files.is_lifted) == (False, True)
    assert [notice.code for notice in host.told] == ["boot-filter-lifted"]
    host.table = True  # somebody's later one, after a failure of the daemon, is the next daemon's to lift
    host.filter.lift()
    assert (host.table, len(host.told)) == (True, 1)


def test_where_there_was_none_nothing_is_told(host: Host) -> None:
    host.table = False
    host.filter.lift()
    assert host.told == []


def test_a_table_that_stays_is_told_and_tried_again(host: Host) -> None:
    host.table = KernelError("nftables refused")
    host.filter.lift()
    assert host.filter.troubles == ("the boot filter stays beside the policy: nftables refused",)
    assert [(notice.level, notice.remedy) for notice in host.told] == [
        (Level.ERROR, f"nft delete table inet {limits.BOOT_TABLE}")
    ]
    host.table = True
    host.filter.lift()
    assert host.table is False
    assert not host.filter.troubles


def test_a_policy_is_remembered_first_then_the_file_blocks_then_it_is_the_policys(host: Host) -> None:
    assert host.save(BLOCKING) == [
        ("had-policy", ""),
        (BLOCK, block_file(Config())),
        (BOOT, block_file(Config())),
        (BOOT, boot_file(BLOCKING, HOST, BootMode.STATEFUL)),
    ]


def test_the_same_again_is_not_written(host: Host) -> None:
    host.save(BLOCKING)
    assert host.save(BLOCKING) == []
    assert host.save(BLOCKING, HostFacts()) == [], "addresses of the host have no part in it"
    assert host.save(replace(BLOCKING)) != []


def test_new_addresses_of_a_name_are_written(host: Host) -> None:
    named = policy(rule("block", one("me", "files.example.com")))
    host.save(named)
    before = list(host.files.done)
    there = replace(HOST, names={"files.example.com": (Address.parse("10.9.0.1"),), "other": ()})
    assert host.save(named, there) == [(BOOT, boot_file(named, there, BootMode.STATEFUL))]
    assert len(before) == 4, "only the first time it blocks meanwhile"
    assert "10.9.0.1" in host.files.done[-1][1]
    assert host.save(named, replace(there, names={**there.names, "other": (Address.parse("10.9.0.2"),)})) == []


def test_a_host_that_never_had_a_policy_starts_open_and_one_that_had_does_not(host: Host) -> None:
    permit = boot_file(NONE, HOST, BootMode.PERMIT)
    assert host.save(NONE) == [(BLOCK, block_file(Config())), (BOOT, permit)]
    host.save(BLOCKING)
    assert host.save(NONE)[-1] == (BOOT, boot_file(NONE, HOST, BootMode.STATEFUL))


def test_the_mode_that_is_written_wins(host: Host) -> None:
    config = Config(bootmode=BootMode.BLOCK)
    assert host.save(replace(BLOCKING, config=config))[1:] == [(BLOCK, block_file(config)), (BOOT, block_file(config))]
    config = Config(bootmode=BootMode.PERMIT)
    assert host.save(replace(BLOCKING, config=config)) == [
        (BLOCK, block_file(config)),
        (BOOT, boot_file(NONE, HOST, BootMode.PERMIT)),
    ]


def test_on_a_full_disk_no_filter_of_another_policy_stays(host: Host) -> None:
    host.save(NONE)
    host.files.refuse = lambda what, _: what in (BOOT, BLOCK)
    assert host.save(BLOCKING) == [("had-policy", ""), ("remove", BOOT)]
    (trouble,) = host.filter.troubles
    assert "No space left on device; the next start of the system blocks all traffic" in trouble
    assert [(notice.level, notice.code) for notice in host.told] == [(Level.ERROR, "boot-filter-save")]
    host.files.refuse = lambda *_: False
    assert host.save(BLOCKING) != []
    assert host.filter.troubles == ()


def test_on_a_read_only_disk_that_is_said(host: Host) -> None:
    host.files.refuse = lambda *_: True
    assert host.save(BLOCKING) == []
    (trouble,) = host.filter.troubles
    assert "cannot be removed either, so the next start loads the boot filter that was saved last" in trouble
    assert [notice.message for notice in host.told] == [trouble], "one line, and none that says otherwise"


def test_a_policy_that_is_too_large_for_an_unknown_host_leaves_a_file_that_blocks(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPECIFIC_FILTERS", 0)
    assert host.save(BLOCKING)[-1] == (BOOT, block_file(Config()))
    assert "cannot be compiled for an unknown host" in host.filter.troubles[0]


def test_without_a_state_directory_nothing_is_saved_and_the_table_is_lifted_all_the_same() -> None:
    told: list[Notice] = []
    alone = BootFilter(None, lambda: True, told.append)
    assert not alone.want(BLOCKING, HOST)
    alone.lift()
    assert [notice.code for notice in told] == ["boot-filter-lifted"]


def loaded(state: dict[Path, bytes]) -> str:
    """What the next start loads, as units/boot-filter decides: a text, "fixed", or "" for nothing."""
    for name in (BOOT, BLOCK):
        octets = state.get(STATE / name)
        if octets is None and name == BOOT and STATE / "had-policy" not in state:
            return ""
        head, _, rest = (octets or b"").partition(b"\n")
        if head.startswith(b"# xfrmd-boot 1 ") and head.split()[-1] == hashlib.sha256(rest).hexdigest().encode():
            return (octets or b"").decode()
    return "fixed"


def saving(policies: PolicySet, disk: Memory) -> None:
    """A daemon with this policy in force saves it."""
    made = BootFilter(BootFiles(STATE, None, disk), lambda: False, lambda _: None)
    made.want(policies, HOST)
    asyncio.run(made.save())


def moments(policies: PolicySet, before: dict[Path, bytes]) -> Iterator[tuple[bool, dict[Path, bytes]]]:
    """Each state of the disk after a loss of power in the middle of saving; and whether it was done."""
    whole = Memory(before)
    saving(policies, whole)
    for power in (*range(0, whole.steps, 97), whole.steps - 1, whole.steps):
        disk = Memory(before, power)
        with contextlib.suppress(PowerCutError):
            saving(policies, disk)
        yield from ((power == whole.steps, state) for state in disk.survivors())


def test_power_that_goes_at_any_step_leaves_the_old_filter_the_new_one_or_a_block() -> None:
    first = Memory()
    saving(BLOCKING, first)
    (before,) = first.survivors()
    other = policy(rule("block", one("me", "10.3.0.0/16")))
    old, new = (boot_file(each, HOST, BootMode.STATEFUL) for each in (BLOCKING, other))
    states = list(moments(other, before))
    assert {loaded(state) for done, state in states if done} == {new}
    assert {loaded(state) for done, state in states if not done} == {old, new, block_file(Config())}


def test_power_that_goes_while_the_first_policy_is_saved_leaves_nothing_half_done() -> None:
    new = boot_file(BLOCKING, HOST, BootMode.STATEFUL)
    states = list(moments(BLOCKING, {}))
    assert {loaded(state) for done, state in states if done} == {new}
    assert {loaded(state) for done, state in states if not done} == {"", "fixed", block_file(Config()), new}
