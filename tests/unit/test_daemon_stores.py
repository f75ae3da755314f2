# SPDX-License-Identifier: GPL-2.0-or-later
"""What a start puts in force, store by store, whatever is wrong; and how a policy is assigned and unassigned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.failing_disk import BROKEN, FULL, READ_ONLY, Memory, PowerCutError
from tests.unit.test_daemon_commands import BAD, POLICY, Place, run
from xfrmd.adapters.policy_files import PolicyFiles
from xfrmd.adapters.policy_stores import StoreFiles
from xfrmd.control.exits import ExitCode
from xfrmd.daemon.held import MATRIX, Condition, Resort, Row
from xfrmd.daemon.parts import StartError
from xfrmd.daemon.startup import Startup
from xfrmd.errors import CredentialError
from xfrmd.model.pad import PskAuth, RootcaAuth
from xfrmd.model.plan import Plan
from xfrmd.model.secret import SecretRef
from xfrmd.model.store import Store
from xfrmd.policy.package import Kept, Package

PERSISTENT, DIRECTORY, LOCAL = Store.PERSISTENT, Store.DIRECTORY, Store.LOCAL
HERE = Path("/state/stores")
NEWER = b"xfrmd-policy 2 what this version does not know\n"
STAND_IN = b"r" * 32


def named(name: str, text: str = POLICY) -> str:
    return text.replace("name: Office", f"name: {name}")


BASE, OLD, NEW = named("Base"), named("Old"), named("New")
SECRET = POLICY.replace('psk: "correct horse battery staple"', "psk: {file: /run/secret}")


def kept(text: str, name: str, file: str = "/old.yaml") -> Kept:
    return Kept(Package(text, file), name, 500.0)


def put(disk: Memory, store: Store, one: Kept, *, copy: bool = False) -> None:
    """Have a policy on the disk; of the persistent store the second copy as well, or alone."""
    files = StoreFiles(HERE, disk)
    if not copy:
        files.prepare(store, one)
        files.commit(store)
    files.duplicate(store, one)


def damage(disk: Memory, name: str, octets: bytes = b"xfrmd-policy 1 dam") -> None:
    disk.names[HERE / name].content = octets


class Host:
    """A host that starts: the files of its stores, its disk, and what the kernel refuses."""

    def __init__(self, tmp_path: Path) -> None:
        self.disk = Memory()
        self.local, self.directory = tmp_path / "policy.yaml", tmp_path / "directory.yaml"
        self.local.write_text(POLICY)
        self.has_directory = False
        self.secrets: dict[str, bytes] = {"/run/secret": b"a good secret of some length"}
        self.refuse = ""
        self.fresh = True

    def place(self) -> Place:
        def read_secret(reference: SecretRef) -> bytes:
            if reference.name not in self.secrets:
                raise CredentialError(f"secret file {reference.name}: No such file or directory")
            return self.secrets[reference.name]

        directory = PolicyFiles(str(self.directory)) if self.has_directory else None
        made = Place(
            PolicyFiles(str(self.local)),
            directory=directory,
            files=StoreFiles(HERE, self.disk),
            read_secret=read_secret,
        )
        made.kernel.refuse = self.refuse
        return made

    async def start(self) -> Place:
        place = self.place()
        startup = Startup(place.stores, lambda count: STAND_IN[:count], place.told.append, fresh=self.fresh)
        await startup.run()
        return place


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def plans(place: Place) -> list[str]:
    return [plan.policy for plan in place.kernel.plans]


def condition(place: Place, store: Store) -> Condition | None:
    trouble = place.stores.troubles.get(store)
    return trouble.condition if trouble else None


# A start without trouble


def test_the_persistent_policy_is_in_force_before_anything_else_is_tried(host: Host) -> None:
    async def scenario() -> None:
        put(host.disk, PERSISTENT, kept(BASE, "Base"))
        place = await host.start()
        assert plans(place) == ["Base", "Base + Office"]
        assert place.stores.troubles == {}
        assert not place.stores.starting

    run(scenario)


def test_of_what_an_earlier_run_enforces_nothing_goes_before_all_has_come_again(host: Host) -> None:
    async def scenario() -> None:
        host.fresh = False
        put(host.disk, PERSISTENT, kept(BASE, "Base"))
        assert plans(await host.start()) == ["Base + Office"]

    run(scenario)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_persistent_policy_stands_alone_where_no_other_is_named(host: Host, fresh: bool) -> None:
    async def scenario() -> None:
        put(host.disk, PERSISTENT, kept(BASE, "Base"))
        place = host.place()
        del place.stores.sources[LOCAL]  # type: ignore[attr-defined]
        await Startup(place.stores, lambda _: b"", place.told.append, fresh=fresh).run()
        assert plans(place) == ["Base"]

    run(scenario)


def test_the_directory_takes_the_place_of_the_local_policy_while_it_assigns_one(host: Host) -> None:
    async def scenario() -> None:
        host.has_directory = True
        host.directory.write_text(named("Domain"))
        place = await host.start()
        assert plans(place) == ["Domain"]
        host.directory.write_text(named("Domain").replace("assign: yes", "assign: no"))
        assert (await place.do("reload"))["policy"] == "Office"
        host.directory.write_text(named("Domain"))
        assert (await place.do("reload"))["policy"] == "Domain"

    run(scenario)


def test_what_was_in_force_is_kept_with_all_that_it_is_made_of_and_written_once(host: Host, tmp_path: Path) -> None:
    async def scenario() -> None:
        text = POLICY.replace("version: 1\n", "version: 1\ninclude: [more.yaml]\nvariables: {n: 10.1.0.0/16}\n")
        host.local.write_text(text.replace("dstaddr: 10.1.0.0/16", "dstaddr: '${n}'"))
        (tmp_path / "more.yaml").write_text("version: 1\nfilteractions: [{name: more, action: block}]\n")
        await host.start()
        found = StoreFiles(HERE, host.disk).load(LOCAL)
        assert found is not None
        assert (found.policy, found.package.file, [*found.package.files]) == (
            "Office",
            str(host.local),
            [str(tmp_path / "more.yaml")],
        )
        steps = host.disk.steps
        await host.start()
        assert host.disk.steps == steps, "the same policy is not written again"
        host.local.unlink()
        (tmp_path / "more.yaml").unlink()
        assert plans(await host.start()) == ["Office"]

    run(scenario)


# The failure matrix


def break_local(host: Host, what: Condition) -> None:
    if what is Condition.UNREADABLE:
        host.local.unlink()
    elif what is Condition.BAD:
        host.local.write_text(BAD)
    else:
        host.local.write_text(NEW)
        host.refuse = "New"


def break_directory(host: Host, what: Condition) -> None:
    host.has_directory = True
    if what is Condition.BAD:
        host.directory.write_text(BAD)
    elif what is Condition.REFUSED:
        host.directory.write_text(NEW)
        host.refuse = "New"


def break_persistent(host: Host, what: Condition) -> None:
    put(host.disk, PERSISTENT, kept(BAD if what is Condition.BAD else NEW, "New"))
    if what is Condition.UNREADABLE:
        del host.disk.names[HERE / "persistent"]
    elif what is Condition.REFUSED:
        host.refuse = "New"
    elif what is not Condition.BAD:
        damage(host.disk, "persistent", NEWER if what is Condition.NEWER else b"xfrmd-policy 1 dam")


BREAK: dict[Store, Callable[[Host, Condition], None]] = {
    LOCAL: break_local,
    DIRECTORY: break_directory,
    PERSISTENT: break_persistent,
}
FILES = (Condition.UNREADABLE, Condition.BAD, Condition.REFUSED)
CODES = {
    Condition.DAMAGED: ExitCode.DAMAGED,
    Condition.NEWER: ExitCode.NEWER,
    Condition.REFUSED: ExitCode.KERNEL_REFUSES,
}
CASES = [
    (row, what, persistent)
    for row in MATRIX
    for what in (*FILES, Condition.NEWER, Condition.DAMAGED)
    for persistent in ((False, True) if row.persistent is None else (row.persistent,))
    if (what in FILES or row.store is PERSISTENT)
    and (row.store is not PERSISTENT or not persistent)
    # A missing persistent policy without a copy is none, and a copy of one that the kernel refuses is refused too.
    and (row.store is not PERSISTENT or row.kept or what is not Condition.UNREADABLE)
    and (row.store is not PERSISTENT or not row.kept or what is not Condition.REFUSED)
]


@pytest.mark.parametrize(
    ("row", "what", "persistent"),
    CASES,
    ids=[f"{r.store.value}-{w.value}-{'kept' if r.kept else 'not kept'}-{'beside' * p}" for r, w, p in CASES],
)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "again"])
def test_a_row_of_the_failure_matrix(host: Host, row: Row, what: Condition, persistent: bool, fresh: bool) -> None:
    async def scenario() -> None:
        host.fresh = fresh
        BREAK[row.store](host, what)
        if persistent:
            put(host.disk, PERSISTENT, kept(BASE, "Base"))
        if row.store is PERSISTENT:
            put(host.disk, PERSISTENT, kept(OLD, "Old"), copy=True)
            if not row.kept:
                damage(host.disk, "persistent.copy")
                if what is Condition.REFUSED:
                    put(host.disk, PERSISTENT, kept(NEW, "New"))
        elif row.kept:
            put(host.disk, row.store, kept(OLD, "Old"))
        beside = "Base + " if persistent else ""
        wanted = {
            Resort.LAST_GOOD: "Old + Office" if row.store is PERSISTENT else f"{beside}Old",
            Resort.LOCAL: f"{beside}Office",
            Resort.PERSISTENT: "Base",
        }
        if row.resort is Resort.BLOCK:
            with pytest.raises(StartError) as caught:
                await host.start()
            assert caught.value.exit_code is CODES.get(what, ExitCode.NO_POLICY)
            assert row.store.value in str(caught.value)
            return
        place = await host.start()
        assert plans(place)[-1] == wanted[row.resort]
        assert condition(place, row.store) is what
        (told,) = place.house.degraded()
        assert told.startswith(f"{row.store.value} store: policy "), told
        status = await place.do("status")
        assert status["state"] == "degraded"
        (row_shown,) = [one for one in status["stores"] if one["store"] == row.store.value]
        assert row_shown["trouble"]["remedy"]

    run(scenario)


def test_each_row_of_the_matrix_has_its_case_and_each_case_its_row() -> None:
    assert {row for row, _, _ in CASES} == set(MATRIX)


def test_a_bad_policy_without_anything_to_fall_back_on_ends_the_start_and_touches_nothing(host: Host) -> None:
    async def scenario() -> None:
        host.local.write_text(BAD)
        place = host.place()
        with pytest.raises(StartError, match=r"not started: local store: .* the kernel is left as it is") as caught:
            await Startup(place.stores, lambda _: b"", place.told.append, fresh=True).run()
        assert caught.value.exit_code is ExitCode.NO_POLICY
        assert plans(place) == []
        assert [one.code for one in place.told].count("policy-problem") == 2

    run(scenario)


def test_what_an_earlier_run_may_enforce_does_not_give_way_to_the_persistent_policy_alone(host: Host) -> None:
    async def scenario() -> None:
        put(host.disk, PERSISTENT, kept(BASE, "Base"))
        put(host.disk, LOCAL, kept(OLD, "Old"))
        host.local.write_text(BAD)
        host.refuse, host.fresh = "Old", False
        with pytest.raises(StartError):
            await host.start()
        host.fresh = True
        assert plans(await host.start())[-1] == "Base"

    run(scenario)


def test_a_directory_that_cannot_be_reached_opens_nothing_where_nothing_else_is_named(host: Host) -> None:
    async def scenario() -> None:
        host.has_directory = True
        place = host.place()
        del place.stores.sources[LOCAL]  # type: ignore[attr-defined]
        with pytest.raises(StartError):
            await Startup(place.stores, lambda _: b"", place.told.append, fresh=True).run()

    run(scenario)


def secrets_of(plan: Plan) -> set[bytes]:
    return {method.secret.reveal() for one in plan.pad for method in one.auth if isinstance(method, PskAuth)}


def test_a_secret_that_is_gone_leaves_the_last_good_policy_in_force_with_one_that_nobody_knows(host: Host) -> None:
    async def scenario() -> None:
        host.local.write_text(SECRET)
        await host.start()
        gone = host.secrets.pop("/run/secret")
        place = await host.start()
        assert plans(place) == ["Office"]
        assert condition(place, LOCAL) is Condition.SECRETS
        secrets = secrets_of(place.kernel.plans[-1])
        assert secrets == {STAND_IN}
        host.secrets["/run/secret"] = gone
        await place.do("reload")
        assert place.house.degraded() == ()
        secrets = secrets_of(place.kernel.plans[-1])
        assert secrets == {gone}

    run(scenario)


def test_a_certificate_that_is_damaged_leaves_the_last_good_policy_in_force_and_authenticates_nobody(
    host: Host,
) -> None:
    words = "{ca: {file: /run/ca}, certificate: {file: /run/cert}, key: {file: /run/key}}"
    text = POLICY.replace('psk: "correct horse battery staple"', f"rootca: {words}")

    async def scenario() -> None:
        host.local.write_text(text)
        put(host.disk, LOCAL, kept(text, "Office"))
        host.secrets |= dict.fromkeys(("/run/ca", "/run/cert", "/run/key"), b"no certificate")
        place = await host.start()
        assert plans(place) == ["Office"]
        assert condition(place, LOCAL) is Condition.SECRETS
        assert "certificates of rule 'protect'" in place.house.degraded()[0]
        methods = [method for entry in place.kernel.plans[-1].pad for method in entry.auth]
        assert {method.certificates for method in methods if isinstance(method, RootcaAuth)} == {()}

    run(scenario)


def test_a_persistent_policy_whose_secret_is_gone_is_mended_by_a_reload(host: Host) -> None:
    async def scenario() -> None:
        put(host.disk, PERSISTENT, kept(SECRET.replace("Office", "Base"), "Base"))
        gone = host.secrets.pop("/run/secret")
        place = await host.start()
        assert plans(place)[-1] == "Base + Office"
        assert condition(place, PERSISTENT) is Condition.SECRETS
        host.secrets["/run/secret"] = gone
        await place.do("reload")
        assert place.stores.troubles == {}

    run(scenario)


def test_a_policy_that_is_not_kept_is_in_force_and_told(host: Host) -> None:
    async def scenario() -> None:
        host.disk.refusals = dict.fromkeys(range(1, 1000), READ_ONLY)
        place = await host.start()
        assert plans(place) == ["Office"]
        assert condition(place, LOCAL) is Condition.UNSAVED
        assert "Read-only file system" in place.house.degraded()[0]
        host.disk.refusals = {}
        await place.do("reload")
        assert place.house.degraded() == ()

    run(scenario)


def test_a_policy_that_a_newer_version_keeps_is_told_and_left_alone(host: Host) -> None:
    async def scenario() -> None:
        put(host.disk, LOCAL, kept(OLD, "Old"))
        damage(host.disk, "local", NEWER)
        place = await host.start()
        assert plans(place) == ["Office"]
        assert condition(place, LOCAL) is Condition.UNSAVED
        assert host.disk.read(HERE / "local", 100) == NEWER

    run(scenario)


def test_a_directory_that_is_reached_again_or_says_something_else_takes_its_place_by_itself(host: Host) -> None:
    async def scenario() -> None:
        host.has_directory = True
        put(host.disk, DIRECTORY, kept(OLD, "Old"))
        place = await host.start()
        assert plans(place) == ["Old"]
        told = len(place.told)
        await place.stores.ask_again()
        assert (plans(place), len(place.told)) == (["Old"], told)
        host.directory.write_text(NEW)
        await place.stores.ask_again()
        assert plans(place) == ["Old", "New"]
        assert place.house.degraded() == ()
        host.directory.write_text(OLD)
        await place.stores.ask_again()
        assert plans(place) == ["Old", "New", "Old"]
        count = len(place.kernel.plans)
        await place.stores.ask_again()
        assert len(place.kernel.plans) == count, "what says the same is not put in force again"
        host.directory.write_text(BAD)
        await place.stores.ask_again()
        assert (plans(place)[-1], condition(place, Store.DIRECTORY)) == ("Old", Condition.BAD)

    run(scenario)


def test_a_directory_that_is_reached_again_and_assigns_nothing_leaves_the_place_to_the_local_store(host: Host) -> None:
    async def scenario() -> None:
        host.has_directory = True
        put(host.disk, DIRECTORY, kept(OLD, "Old"))
        place = await host.start()
        host.directory.write_text(NEW.replace("assign: yes", "assign: no"))
        host.local.write_text(BAD)
        await place.stores.ask_again()
        assert plans(place) == ["Old"]
        assert condition(place, LOCAL) is Condition.BAD
        host.local.write_text(POLICY)
        await place.stores.ask_again()
        assert plans(place) == ["Old", "Office"]
        assert place.stores.troubles == {}

    run(scenario)


# Assigning


def assigned(text: str = BASE, file: str = "/base.yaml", **more: Any) -> dict[str, Any]:
    return {"text": text, "file": file, **more}


def test_assigning_puts_a_policy_beside_the_other_and_doing_it_again_changes_nothing(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        first = await place.do("assign", **assigned())
        assert (first["changed"], first["policy"], first["store"]) == (True, "Base + Office", "persistent")
        steps, count = host.disk.steps, len(place.kernel.plans)
        again = await place.do("assign", **assigned())
        assert (again["changed"], again["policy"]) == (False, "Base + Office")
        assert (again["changes"], again["replaced"]) == ({}, None), "what an earlier command did is not told again"
        assert (host.disk.steps, len(place.kernel.plans)) == (steps, count)
        assert (await place.do("assign", **assigned(NEW)))["policy"] == "New + Office"
        assert plans(await host.start()) == ["New", "New + Office"]

    run(scenario)


def test_unassigning_leaves_the_other_and_doing_it_again_changes_nothing(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        gone = await place.do("unassign")
        assert (gone["changed"], gone["policy"]) == (True, "Office")
        assert not (await place.do("unassign"))["changed"]
        assert plans(await host.start()) == ["Office"]

    run(scenario)


def test_unassigning_what_the_disk_or_the_kernel_does_not_let_go_opens_nothing(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        count, steps = len(place.kernel.plans), host.disk.steps
        host.disk.refusals = dict.fromkeys(range(steps + 1, steps + 1000), READ_ONLY)
        assert (await place.refused("unassign")).exit_code is ExitCode.NOT_KEPT
        assert len(place.kernel.plans) == count, "not for a moment"
        host.disk.refusals = {}
        place.kernel.refuse = "Office"
        assert (await place.refused("unassign")).code == "kernel-refused"
        assert plans(await host.start())[-1] == "Base + Office"
        assert place.stores.troubles == {}

    run(scenario)


def test_the_other_policy_changes_beside_the_persistent_one(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        host.local.write_text(NEW)
        assert (await place.do("reload"))["policy"] == "Base + New"
        assert (await place.do("apply", **assigned(OLD, "/o.yaml")))["policy"] == "Base + Old"
        assert (await place.refused("apply", **assigned(BAD, "/b.yaml"))).code == "bad-policy"
        assert (await place.do("status"))["policy"]["name"] == "Base + Old"
        shown = {
            one["store"]: (one["policy"], one["origin"], one["in_force"])
            for one in (await place.do("stores"))["stores"]
        }
        assert shown == {
            "persistent": ("Base", "assigned", True),
            "directory": (None, None, False),
            "local": ("Old", "applied", True),
        }

    run(scenario)


@pytest.mark.parametrize("text", [BAD, BASE.replace("assign: yes", "assign: no")])
def test_a_policy_that_cannot_be_the_persistent_one_changes_nothing(host: Host, text: str) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        before = host.disk.steps
        assert (await place.refused("assign", **assigned(text))).code == "bad-policy"
        assert host.disk.steps == before
        assert plans(place)[-1] == "Base + Office"

    run(scenario)


def test_a_persistent_policy_that_the_kernel_refuses_changes_nothing(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        place.kernel.refuse = "New"
        refusal = await place.refused("assign", **assigned(NEW))
        assert (refusal.code, refusal.exit_code) == ("kernel-refused", ExitCode.KERNEL_REFUSES)
        assert plans(place)[-1] == "Base + Office"
        assert plans(await host.start())[-1] == "Base + Office"
        assert HERE / "persistent.new" not in host.disk.names

    run(scenario)


def test_the_lock_out_check_looks_at_both_policies_and_a_permission_stays(host: Host) -> None:
    shut = BASE.replace("srcaddr: me, dstaddr: 10.1.0.0/16", "srcaddr: any, dstaddr: me").replace("negotiate", "block")
    shut = shut.replace(', psk: "correct horse battery staple"', "")

    async def scenario() -> None:
        host.local.write_text(POLICY.replace("assign: yes", "assign: no"))
        place = await host.start()
        assert (await place.refused("assign", **assigned(shut))).code == "bad-policy"
        assert (await place.do("assign", **assigned(shut, allow_lockout=True)))["changed"]
        assert (await place.do("reload"))["policy"] == "Base"
        later = await host.start()
        assert (await later.do("reload"))["policy"] == "Base"
        host.local.write_text(POLICY)  # which lets the office in
        assert (await later.do("unassign"))["changed"]
        assert (await later.do("reload"))["policy"] == "Office"
        assert (await later.do("assign", **assigned(shut)))["changed"]

    run(scenario)


@pytest.mark.parametrize("store", ["local", "directory"])
def test_what_other_stores_hold_is_said_in_their_files(host: Host, store: str) -> None:
    async def scenario() -> None:
        place = await host.start()
        for refusal in (
            await place.refused("assign", **assigned(store=store)),
            await place.refused("unassign", store=store),
            await place.refused("unassign", store="cloud"),
        ):
            assert refusal.exit_code is ExitCode.USAGE
        assert plans(place) == ["Office"]

    run(scenario)


@pytest.mark.parametrize("refusal", [FULL, READ_ONLY, BROKEN])
def test_a_disk_that_refuses_a_step_of_an_assignment_leaves_kernel_and_disk_as_they_were(
    host: Host, refusal: int
) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        content = {path: inode.content for path, inode in host.disk.names.items()}
        trial = Memory(content)
        files = StoreFiles(HERE, trial)
        files.prepare(PERSISTENT, kept(NEW, "New"))
        files.commit(PERSISTENT)
        for step in range(1, trial.steps + 1, max(trial.steps // 40, 1)):
            host.disk = Memory(content)
            place = await host.start()
            host.disk.refusals[step + host.disk.steps] = refusal
            error = await place.refused("assign", **assigned(NEW, "/old.yaml"))
            assert (error.code, error.exit_code) == ("not-kept", ExitCode.NOT_KEPT)
            assert plans(place)[-1] == "Base + Office"
            assert plans(await host.start())[-1] == "Base + Office"

    run(scenario)


def test_power_that_goes_in_the_middle_of_an_assignment_leaves_one_policy_or_the_other(host: Host) -> None:
    async def scenario() -> None:
        await (await host.start()).do("assign", **assigned())
        content, seen = {path: inode.content for path, inode in host.disk.names.items()}, set[str]()
        power = 0
        while True:
            host.disk = Memory(content, power)
            place = host.place()
            try:
                await Startup(place.stores, lambda _: b"", place.told.append, fresh=True).run()
                await place.do("assign", **assigned(NEW))
            except PowerCutError:
                pass
            else:
                break
            for state in host.disk.survivors():
                host.disk = Memory(state)
                seen.add(plans(await host.start())[-1])
            power += 37
        assert seen == {"Base + Office", "New + Office"}

    run(scenario)


def test_what_is_damaged_on_the_disk_is_assigned_again(host: Host) -> None:
    async def scenario() -> None:
        await (await host.start()).do("assign", **assigned())
        damage(host.disk, "persistent")
        place = await host.start()
        assert condition(place, PERSISTENT) is Condition.DAMAGED
        assert "xfrmctl assign" in place.house.degraded()[0]
        answer = await place.do("assign", **assigned())
        assert answer["changed"]
        assert place.house.degraded() == ()
        damage(host.disk, "persistent")
        assert (await place.do("assign", **assigned()))["changed"], "damaged while the daemon runs"
        assert plans(await host.start())[-1] == "Base + Office"

    run(scenario)


def test_without_a_state_directory_nothing_can_be_persistent() -> None:
    async def scenario() -> None:
        place = Place()
        error = await place.refused("assign", **assigned())
        assert (error.code, error.exit_code) == ("not-kept", ExitCode.NOT_KEPT)
        assert "no state directory" in str(error)

    run(scenario)


def test_diff_compares_with_what_would_be_in_force_together(host: Host) -> None:
    wider = BASE.replace("10.1.0.0/16", "10.0.0.0/15")

    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        assert (await place.do("diff", **assigned(POLICY, "/p.yaml")))["equal"]
        empty = POLICY.replace("assign: yes", "assign: no")
        assert (await place.do("diff", **assigned(empty, "/p.yaml")))["equal"], "the persistent one says it all"
        there = await place.do("diff", **assigned(wider), store="persistent")
        assert there["kinds"] == {"new-protected": 2}

    run(scenario)


def test_explain_says_of_which_store_a_filter_is(host: Host) -> None:
    async def scenario() -> None:
        place = await host.start()
        await place.do("assign", **assigned())
        answer = await place.do("explain", packet="direction=out src=10.1.0.5 dst=10.1.0.9 protocol=tcp dport=80")
        assert (answer["store"], answer["policy"]) == ("persistent", "Base")
        assert json.dumps(answer)
        assert replace(place.stores.held[LOCAL], since=0.0).file == str(host.local)

    run(scenario)
