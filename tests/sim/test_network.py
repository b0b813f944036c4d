"""The virtual network: order, loss and cuts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agents.sim_clock import HostClock, Timeline
from agents.sim_network import Network, Pipe, Shape, routes_named


class Lab:
    """A network whose arrivals and losses are written down."""

    def __init__(self, seed: int = 0, **shape: Any) -> None:
        self.timeline = Timeline()
        self.arrived: list[tuple[str, int, Any]] = []
        self.lost: list[tuple[tuple[str, str], int]] = []
        self.down: set[str] = set()
        self.network = Network(
            self.timeline,
            random.Random(seed),
            Shape(**shape),
            deliver=self.deliver,
            lost=lambda pipe: self.lost.append((pipe.route, pipe.incarnation)),
            is_up=lambda host: host not in self.down,
        )

    def deliver(self, target: str, pipe: Pipe, plane: int, frame: Any) -> None:
        self.arrived.append((target, pipe.incarnation, frame))

    def send(self, *frames: Any, incarnation: int = 1, plane: int = 0) -> None:
        for frame in frames:
            self.network.send("A", "B", incarnation, plane, frame)

    @property
    def frames(self) -> list[Any]:
        return [frame for _, _, frame in self.arrived]


@pytest.mark.parametrize("seed", range(5))
def test_a_plane_keeps_its_order(seed: int) -> None:
    lab = Lab(seed)
    lab.network.open("A", "B", 1)
    lab.send(*range(50))
    lab.timeline.run_until(1)
    assert lab.frames == list(range(50))


def test_planes_do_not_wait_for_each_other() -> None:
    orders = set()
    for seed in range(20):
        lab = Lab(seed, jitter_s=0.1)
        lab.network.open("A", "B", 1)
        lab.timeline.run_until(0.1)
        lab.send("slow", plane=0)
        lab.send("fast", plane=1)
        lab.timeline.run_until(1)
        orders.add(tuple(lab.frames))
    assert len(orders) == 2


@pytest.mark.parametrize("seed", range(20))
def test_reset_loses_a_tail_and_is_noticed(seed: int) -> None:
    lab = Lab(seed)
    lab.network.open("A", "B", 1)
    lab.send(*range(10))
    lab.network.reset("A", "B")
    lab.timeline.run_until(1)
    assert lab.frames == list(range(len(lab.frames)))
    assert lab.lost == [(("A", "B"), 1)]


def test_old_pipe_may_deliver_after_the_new_one() -> None:
    overtaken = 0
    for seed in range(200):
        lab = Lab(seed, jitter_s=0.1)
        lab.network.open("A", "B", 1)
        lab.send("old")
        lab.network.close("A", "B", 1)
        lab.network.open("A", "B", 2)
        lab.send("new", incarnation=2)
        lab.timeline.run_until(1)
        assert "new" in lab.frames
        overtaken += lab.frames == ["new", "old"]
    assert overtaken


def test_closed_pipe_is_never_reported_lost() -> None:
    lab = Lab()
    lab.network.open("A", "B", 1)
    lab.network.reset("A", "B")
    lab.network.close("A", "B", 1)
    lab.timeline.run_until(1)
    assert lab.lost == []


def test_cut_holds_back_and_heal_lets_go() -> None:
    lab = Lab()
    lab.network.open("A", "B", 1)
    lab.network.cut("A", "B")
    lab.send(1, 2)
    lab.timeline.run_until(1)
    assert lab.frames == []
    lab.network.heal("A", "B")
    lab.send(3)
    lab.timeline.run_until(2)
    assert lab.frames == [1, 2, 3]


def test_cut_twice_needs_two_heals() -> None:
    lab = Lab()
    lab.network.cut("A", "B")
    lab.network.cut("A", "B")
    lab.network.heal("A", "B")
    assert lab.network.is_cut("A", "B")
    lab.network.heal("A", "B")
    assert not lab.network.is_cut("A", "B")


def test_host_that_is_down_refuses() -> None:
    lab = Lab()
    lab.down.add("B")
    lab.network.open("A", "B", 1)
    lab.timeline.run_until(1)
    assert lab.lost == [(("A", "B"), 1)]


def test_nothing_sent_to_a_dead_process_reaches_the_next_one() -> None:
    lab = Lab()
    lab.network.open("A", "B", 1)
    lab.send(1, 2, 3)
    lab.network.host_died("B")
    lab.timeline.run_until(1)
    assert lab.frames == []
    assert lab.lost == [(("A", "B"), 1)]


def test_names_of_cuts() -> None:
    assert set(routes_named("A|BC")) == {("A", "B"), ("B", "A"), ("A", "C"), ("C", "A")}
    assert routes_named("A>B C-D") == [("A", "B"), ("C", "D"), ("D", "C")]
    with pytest.raises(ValueError, match="no such cut"):
        routes_named("AB")


def test_timeline_keeps_the_order_of_planning() -> None:
    timeline = Timeline()
    seen: list[int] = []
    timeline.at(2.0, seen.append, 3)
    timeline.at(1.0, seen.append, 1)
    timeline.at(1.0, seen.append, 2)
    timeline.run_until(5.0)
    assert (seen, timeline.now_s, timeline.happened) == ([1, 2, 3], 5.0, 3)


def test_clock_drifts_within_the_assumption() -> None:
    clock = HostClock(1000.0, 1.05)
    assert clock.when(clock.shows(7.0)) == pytest.approx(7.0)
    with pytest.raises(ValueError, match="rate"):
        HostClock(0.0, 1.06)
