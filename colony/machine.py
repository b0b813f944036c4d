"""The machine of a host: what it measures there, and sees of other hosts' processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from agents.keeping import Keeper
from agents.messages.membership import Load
from agents.views import Member
from placement import probe


def state_of(me: Member, member: Member) -> Literal["runs", "stopped", "gone", ""]:
    """Return what we see of a member's process; "" = it is on another machine."""
    if not me.machine or member.machine != me.machine:
        return ""
    return probe.process_state(member.pid, member.started_s)


def sampler(
    keeper: Keeper | None, is_draining: Callable[[], bool], supervised: tuple[str, int]
) -> Callable[[], Load]:
    """Return what measures a host's load, about once a second, on any one thread."""
    measures = probe.Sampler()

    def sample() -> Load:
        now = measures.sample(time.monotonic())
        return Load(
            cpu=now.cpu,
            memory_free=now.memory_free,
            memory_total=now.memory_total,
            machine_pct=round(now.cpu_machine * 100),
            own_pct=round(now.cpu_own * 100),
            group_pct=round(now.cpu_group * 100),
            kept=keeper.lost_files() if keeper is not None else 0,
            draining=is_draining(),
            supervisor=supervised[0],
            restarts=supervised[1],
        )

    return sample
