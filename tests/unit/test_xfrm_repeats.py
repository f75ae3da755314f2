# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to XFRM that fail for a reason that may pass are made once more, but for an SA that may be there already."""

from __future__ import annotations

import errno

import pytest

from tests.conversations.kernel_model import KernelModel
from tests.conversations.kernel_wire import OF_DUMPS, OF_REQUESTS, KernelWire, Steps, Trouble
from tests.unit.test_daemon_core import HERE, sa
from xfrmd.adapters.xfrm.requests import NoAnswerError
from xfrmd.adapters.xfrm.sockets import XfrmSocket
from xfrmd.errors import KernelError

ENTRY = sa(256, inbound=True)


def wire(trouble: Trouble, times: int = 1) -> tuple[KernelWire, XfrmSocket]:
    made = KernelWire(KernelModel(HERE), Steps(), lambda: 0.0, {ENTRY.key: ENTRY})
    sock = XfrmSocket(opener=made.open)
    made.steps.arm(0, trouble, times)
    return made, sock


@pytest.mark.parametrize("trouble", [Trouble.ENOMEM, Trouble.ENOBUFS, Trouble.UNSENT])
def test_an_sa_that_was_refused_for_want_of_memory_is_put_there_at_the_second_try(trouble: Trouble) -> None:
    made, sock = wire(trouble)
    sock.add_sa(ENTRY)
    assert list(made.kernel.sas) == [ENTRY.key]
    assert sock.repeats == 1


@pytest.mark.parametrize("trouble", [Trouble.UNHEARD, Trouble.UNANSWERED, Trouble.OVERRUN])
def test_keys_do_not_go_there_twice(trouble: Trouble) -> None:
    made, sock = wire(trouble)
    with pytest.raises(NoAnswerError):
        sock.add_sa(ENTRY)
    assert made.steps.names == ["NEWSA"]
    assert made.opened == 1
    assert sock.sas() is not None
    assert made.opened == 2, "an answer that comes late is nobody's"


@pytest.mark.parametrize("trouble", [one for one in OF_REQUESTS if one is not Trouble.EEXIST])
def test_a_removal_is_repeated_and_what_is_gone_by_then_was_removed(trouble: Trouble) -> None:
    made, sock = wire(trouble)
    made.steps.arm(None)
    sock.add_sa(ENTRY)
    made.steps.arm(0, trouble)
    sock.remove_sa(ENTRY.protocol, ENTRY.spi, ENTRY.dst)
    assert made.kernel.sas == {}


@pytest.mark.parametrize("trouble", [one for one in OF_DUMPS if one is not Trouble.EEXIST])
def test_a_look_that_fails_or_is_of_two_states_is_made_again_and_then_told(trouble: Trouble) -> None:
    made, sock = wire(trouble)
    made.steps.arm(None)
    sock.add_sa(ENTRY)
    made.steps.arm(0, trouble)
    assert [one.spi for one in sock.sas()] == [256]
    made.steps.arm(0, trouble, 2)
    with pytest.raises(KernelError):
        sock.sas()
    assert len(sock.sas()) == 1


def test_what_fails_twice_has_failed_and_a_reason_that_stays_is_not_tried_again() -> None:
    for trouble, times, asked in ((Trouble.ENOMEM, 2, 2), (Trouble.EEXIST, 1, 1)):
        made, sock = wire(trouble, times)
        with pytest.raises(KernelError) as raised:
            sock.add_sa(ENTRY)
        assert raised.value.errno == {Trouble.ENOMEM: errno.ENOMEM, Trouble.EEXIST: errno.EEXIST}[trouble]
        assert len(made.steps.names) == asked


def test_a_socket_that_cannot_be_opened_anew_is_opened_by_the_next_request() -> None:
    made, _ = wire(Trouble.OVERRUN)
    tries = iter([made.open, None, made.open])

    def opener() -> object:
        found = next(tries)
        if found is None:
            raise KernelError("no memory", errno.ENOMEM)
        return found()

    sock = XfrmSocket(opener=opener)  # type: ignore[arg-type]  # the model's socket, or none
    with pytest.raises(NoAnswerError):
        sock.add_sa(ENTRY)
    assert len(sock.sas()) == 1, "the second try of the look"
    assert sock.repeats == 1
