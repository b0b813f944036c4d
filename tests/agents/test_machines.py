"""Machines: one picture of the CPUs that several hosts share."""

from __future__ import annotations

from typing import Any

import pytest

from agents.machines import cpu_seen, machine_of, machines
from agents.messages.membership import Load
from agents.pulse import Pulse
from agents.views import Member
from tests.agents.house import member


def on(machine: str, *names: str) -> list[Member]:
    """Return members of one machine, each in a container of its own."""
    return [member(name, machine=f"{machine}/id/pid:[{name}]/time") for name in names]


def told(**figures: Any) -> Load:
    """Return what a host tells once its figures are without noise."""
    return Pulse().steadied(Load(**figures), (), 0.0)


def seen(members: list[Member], loads: dict[str, Load]) -> list[tuple[float, float]]:
    """Return how busy each is."""
    shared = machines(members, {one.id: loads[one.name] for one in members})
    return [cpu_seen(loads[one.name], shared.get(machine_of(one))) for one in members]


def test_hosts_of_one_machine_are_as_busy_as_each_other_whenever_each_has_looked() -> None:
    members = [*on("m1", "a", "b"), *on("m2", "c")]
    loads = {name: told(cpu=pct / 100, machine_pct=pct) for name, pct in (("a", 88), ("b", 42), ("c", 10))}
    (a, _), (b, _), (c, _) = seen(members, loads)
    assert a == b == pytest.approx(0.65) and c == pytest.approx(0.1)


def test_a_quota_that_is_used_up_is_its_hosts_own_affair() -> None:
    members = on("m1", "a", "b")
    loads = {"a": told(cpu=1.0, machine_pct=30, group_pct=90), "b": told(cpu=0.34, machine_pct=34)}
    a, b = seen(members, loads)
    assert a == (1.0, 0.9) and b == pytest.approx((0.32, 0.32))


def test_what_hosts_use_is_not_others_work() -> None:
    members = on("m1", "a", "b", "c")
    loads = {one.name: told(cpu=0.9, machine_pct=90, own_pct=25) for one in members}
    assert all(others == pytest.approx(0.15) for _, others in seen(members, loads))


def test_who_does_not_say_what_its_machine_does_is_believed() -> None:
    members = [*on("m1", "a"), member("b", machine="")]
    assert seen(members, {"a": Load(cpu=0.4), "b": Load(cpu=0.7)}) == [(0.4, 0.0), (0.7, 0.0)]
