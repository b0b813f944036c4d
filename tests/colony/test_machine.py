"""What a host measures on its machine, and sees of other hosts' processes."""

from __future__ import annotations

import os

import msgspec
import pytest

from agents.views import Member
from colony.machine import sampler, state_of
from placement import probe


def test_processes_of_other_machines_are_not_seen() -> None:
    me = Member("a", 1, "a", "", "", machine="m", pid=os.getpid(), started_s=probe.process_started_s())
    assert state_of(me, me) == "runs"
    assert state_of(me, msgspec.structs.replace(me, started_s=1.0)) == "gone", "another has its number"
    assert state_of(me, msgspec.structs.replace(me, machine="n")) == ""
    assert state_of(msgspec.structs.replace(me, machine=""), msgspec.structs.replace(me, machine="")) == ""


@pytest.mark.parametrize("draining", [False, True])
def test_a_load_says_who_looks_after_the_process_and_whether_it_drains(draining: bool) -> None:
    load = sampler(None, lambda: draining, ("box", 3))()
    assert (load.draining, load.supervisor, load.restarts, load.kept) == (draining, "box", 3, 0)
    assert load.memory_total > 0
