"""Bulk work gives way (B4, ADR 7)."""

from __future__ import annotations

import os

import pytest

from expedite_chassis.leisure import leisurely

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no classes of the processor here")


def _policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def test_bulk_work_gives_way_until_the_last_of_it_has_ended() -> None:
    before = _policy()
    with leisurely():
        assert _policy() == os.SCHED_BATCH
        with leisurely():
            pass
        assert _policy() == os.SCHED_BATCH
    assert _policy() == before


def test_it_is_over_too_when_it_fails() -> None:
    before = _policy()
    with pytest.raises(RuntimeError), leisurely():
        raise RuntimeError
    assert _policy() == before


def test_a_process_in_the_real_time_class_is_in_it_again_at_once() -> None:
    """B4: an urgent order that comes right after a bulk upload waits for nobody."""
    kept = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        pytest.skip("the real-time class is not allowed here")
    try:
        with leisurely():
            assert _policy() == os.SCHED_BATCH
        assert _policy() == os.SCHED_RR
        assert os.sched_getparam(0).sched_priority == 1
    finally:
        os.sched_setscheduler(0, *kept)


def test_who_may_not_go_back_is_like_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.sched_setscheduler

    def refused(pid: int, policy: int, param: os.sched_param) -> None:
        if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR:
            raise PermissionError
        real(pid, policy, param)

    kept = os.sched_getscheduler(0), os.sched_getparam(0)
    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_RR)
    with leisurely():
        pass
    monkeypatch.undo()
    assert _policy() == os.SCHED_OTHER
    os.sched_setscheduler(0, *kept)
