# SPDX-License-Identifier: GPL-2.0-or-later
"""An SPI that is taken in the kernel: what others have there stays, what we have left there goes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from tests.conversations.kernel_model import KernelModel
from tests.conversations.kernel_wire import KernelWire, Steps, Trouble
from tests.unit.test_daemon_core import HERE, sa
from xfrmd import limits
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.daemon.installing import Installing
from xfrmd.daemon.ledger import Ledger
from xfrmd.errors import KernelError
from xfrmd.model.sad import SadEntry

OURS = replace(sa(256, inbound=True), reqid=limits.REQID_FIRST)
THEIRS = replace(OURS, reqid=7)


@dataclass
class Scene:
    """A kernel with one SA in it."""

    there: SadEntry
    late: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = KernelModel(HERE)
        self.wire = KernelWire(self.kernel, Steps(), lambda: 0.0, {OURS.key: OURS})
        self.ledger = Ledger(lambda: 0.0)
        sock = XfrmSocket(opener=self.wire.open)
        self.installing = Installing(sock, self.ledger, self.tell)
        self.kernel.install(self.there, 0.0)

    def tell(self, what: str, step: str, error: KernelError) -> None:
        assert what
        assert str(error)
        self.late.append(step)

    @property
    def holds(self) -> SadEntry:
        return self.kernel.sas[OURS.key].sa


def test_an_sa_of_another_program_stays_where_it_is() -> None:
    scene = Scene(THEIRS)
    with pytest.raises(KernelError):
        scene.installing.put(OURS)
    scene.installing.remove(OURS.key)
    assert scene.holds is THEIRS
    assert scene.ledger.sas == {}


def test_it_stays_also_when_nobody_knows_whose_it_is() -> None:
    scene = Scene(THEIRS)
    scene.wire.steps.arm(1, Trouble.ENOMEM, times=2)
    with pytest.raises(KernelError):
        scene.installing.put(OURS)
    scene.wire.steps.arm(None)
    scene.installing.remove(OURS.key)
    assert scene.holds is THEIRS


def test_once_it_is_gone_the_spi_can_be_ours() -> None:
    scene = Scene(THEIRS)
    with pytest.raises(KernelError):
        scene.installing.put(OURS)
    scene.installing.remove(OURS.key)
    del scene.kernel.sas[OURS.key]
    scene.installing.put(OURS)
    scene.installing.remove(OURS.key)
    assert scene.kernel.sas == {}


def test_what_we_have_left_there_makes_room() -> None:
    scene = Scene(replace(OURS, reqid=limits.REQID_FIRST + 1))
    scene.installing.put(OURS)
    assert scene.holds is OURS
    assert list(scene.ledger.sas) == [OURS.key]


def test_an_sa_that_is_known_is_not_put_there_again() -> None:
    scene = Scene(OURS)
    scene.ledger.installed(OURS)
    with pytest.raises(KernelError):
        scene.installing.put(replace(OURS))
    assert scene.holds is OURS


def test_an_sa_that_may_be_there_goes_at_once() -> None:
    scene = Scene(OURS)
    del scene.kernel.sas[OURS.key]
    scene.wire.steps.arm(0, Trouble.UNANSWERED)
    with pytest.raises(KernelError):
        scene.installing.put(OURS)
    assert scene.wire.steps.names == ["NEWSA", "DELSA"]
    assert scene.kernel.sas == {}


def test_what_cannot_be_removed_is_late_and_no_longer_known() -> None:
    scene = Scene(OURS)
    scene.ledger.installed(OURS)
    scene.wire.steps.arm(0, Trouble.ENOMEM, times=2)
    scene.installing.remove(OURS.key)
    assert scene.late == ["remove-sa"]
    assert scene.ledger.sas == {}
