"""A supervisor: what it starts, adopts, gives up, tells and attests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.neighbours import SILENT_S, Beat
from agents.recruiting import CLAIM_S, COOL_S, AskCapacity, Claim, Keep
from agents.services import End, Kept, Ladder, Phase, Plan, Service, service_of
from agents.supervisor import Attest, Find, Finish, Save, Start, Stop, Supervisor, Tell, active_here

KILLED = End(None, "by signal 9", is_certain=True)
LEFT = End(0, "with status 0", is_certain=True)
CRASHED = End(1, "with status 1", is_certain=True)
MINE = "machine"


class Box:
    """One supervisor, and processes that are numbers."""

    def __init__(self, *hosts: str, kept: Kept | None = None, hosts_max: int = 3, **more: Any) -> None:
        self.now_s = 100.0
        self.pid = 10
        plan = Plan("s1", hosts, hosts_max, more.pop("ladder", Ladder()))
        self.me = Supervisor(
            plan, kept or Kept(), machine=MINE, life=1, now_s=self.now_s, patience_s=5.0, **more
        )
        self.all: list[Any] = []
        self.take(self.me.begin(self.now_s))

    def take(self, effects: list[Any]) -> list[Any]:
        """Perform effects: what is started runs, what is claimed is for the test to say."""
        self.all += effects
        for effect in effects:
            if isinstance(effect, Start):
                self.pid += 1
                handle = {"pid": self.pid, "machine": MINE, "started_s": 1.0}
                self.take(self.me.started(effect.service, effect.token, handle, self.now_s))
        return effects

    def end(self, name: str, end: End = KILLED) -> list[Any]:
        """End the process of a service."""
        handle = self.me.services[name].handle
        assert handle is not None
        return self.take(self.me.ended(name, handle, end, self.now_s))

    def after(self, pause_s: float) -> list[Any]:
        """Let time pass, in steps."""
        end_s, before = self.now_s + pause_s, len(self.all)
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 0.05)
            self.take(self.me.tick(self.now_s))
        return self.all[before:]

    def told(self, kind: str) -> list[str]:
        """Return what was told of a kind."""
        return [effect.reason for effect in self.all if isinstance(effect, Tell) and effect.kind == kind]

    def count(self, kind: type) -> int:
        """Return how many effects of a kind there were."""
        return sum(isinstance(effect, kind) for effect in self.all)

    def phase(self, name: str) -> Phase:
        """Return where a service is in its life."""
        return self.me.services[name].phase

    def registry(self) -> tuple[Service, ...]:
        """Return what the next supervisor reads."""
        return tuple(service_of(service.as_json()) for service in self.me.services.values())


def near(name: str = "s2", **more: Any) -> Beat:
    """Return a beat of a supervisor on this machine."""
    return replace(Beat(name, MINE, 77, 2.0, life=5, number=1, folder="/f", hosts=("h9",)), **more)


def test_pauses_grow_up_to_a_bound_and_never_fall() -> None:
    ladder = Ladder()
    pauses = [ladder.pause_s(n) for n in range(1, 100)]
    assert (
        pauses[:4] == pytest.approx([0.1, 0.3, 0.9, 2.7]) and pauses == sorted(pauses) and pauses[-1] == 30.0
    )
    with pytest.raises(ValueError, match="need 0 < first"):
        Ladder(first_s=0)


def test_hosts_are_started_once_each_and_the_registry_knows_first() -> None:
    box = Box("h1", "h2")
    box.after(60.0)
    assert box.count(Start) == 2 and [host.slot for host in box.me.hosts] == [0, 1]
    box.end("h1")
    box.after(1.0)
    before = [type(box.all[n - 1]) for n, effect in enumerate(box.all) if isinstance(effect, Start)]
    assert before == [Save] * 3, "a start that nobody wrote down could become a twin"


def test_a_killed_host_is_attested_first_and_started_again_at_once() -> None:
    box = Box("h1", "h2")
    box.after(1.0)
    effects = box.end("h1")
    assert isinstance(effects[0], Attest) and effects[0].handle["pid"] == 11
    assert box.told("restart") == ["ended by signal 9; started again in 0.1 s"]
    assert [start.restarts for start in box.after(0.2) if isinstance(start, Start)] == [1]
    assert box.me.services["h1"].handle != effects[0].handle


def test_nothing_is_attested_that_was_not_seen_nor_who_left() -> None:
    box = Box("h1", "h2")
    box.end("h1", End(None, "it is not there", is_certain=False))
    box.end("h2", LEFT)
    assert box.count(Attest) == 0 and box.phase("h2") is Phase.LEFT
    box.after(100.0)
    assert box.count(Start) == 3, "who left is not wanted back"


def test_an_end_of_an_earlier_process_means_nothing() -> None:
    box = Box("h1")
    old = box.me.services["h1"].handle
    box.end("h1")
    box.after(1.0)
    before = len(box.all)
    assert old is not None
    box.take(box.me.ended("h1", old, KILLED, box.now_s))
    assert len(box.all) == before and box.phase("h1") is Phase.RUNNING


def given_up(box: Box) -> int:
    """Let h1 crash until it is given up; return how often it did."""
    crashes = 0
    while box.phase("h1") is not Phase.GIVEN_UP:
        crashes += 1
        box.end("h1", CRASHED)
        box.after(10.0)
    return crashes


def test_a_crash_loop_backs_off_and_is_given_up_loudly() -> None:
    box = Box("h1", "h2", ladder=Ladder(failures_max=4))
    assert given_up(box) == 4 and "4 failures in a row" in box.told("gave_up")[0]
    assert "SIGHUP" in box.told("gave_up")[0] and box.count(Finish) == 0, "h2 still runs"
    assert box.take(box.me.look_again(box.now_s)) and box.phase("h1") is Phase.RUNNING
    box.end("h2", LEFT)
    assert given_up(box) == 4
    (end,) = [effect for effect in box.all if isinstance(effect, Finish)]
    assert end.status == 5 and "h1: 4 failures" in end.reason


def test_who_ran_for_long_has_no_past() -> None:
    box = Box("h1", ladder=Ladder(failures_max=2))
    for _ in range(5):
        box.after(61.0)
        box.end("h1")
    assert box.told("gave_up") == [] and box.count(Start) == 5


@pytest.mark.parametrize("status", [2, 5])
def test_what_a_new_start_can_not_mend_is_given_up_at_once(status: int) -> None:
    box = Box("h1")
    box.end("h1", End(status, f"with status {status}", is_certain=True))
    assert box.phase("h1") is Phase.GIVEN_UP and box.count(Finish) == 1


def test_what_can_not_be_started_is_tried_again() -> None:
    box = Box("h1")
    box.end("h1")
    box.now_s += 0.2
    (start,) = [effect for effect in box.me.tick(box.now_s) if isinstance(effect, Start)]
    box.take(box.me.not_started("h1", start.token, "no memory", box.now_s))
    assert box.told("restart")[-1].startswith("ended no memory") and box.count(Attest) == 1
    box.after(1.0)
    assert box.phase("h1") is Phase.RUNNING


# -- the next supervisor ---------------------------------------------------------------


def test_what_runs_is_adopted_and_not_started_twice() -> None:
    box = Box("h1", "h2")
    handles = {service.name: service.handle for service in box.me.hosts}
    after = Box("h1", "h2", kept=Kept(box.registry()))
    after.after(10.0)
    assert after.count(Start) == 0 and {s.name: s.handle for s in after.me.hosts} == handles
    assert "h1, h2" in after.told("supervisor")[0]
    after.end("h2")
    after.after(0.2)
    assert after.count(Attest) == after.count(Start) == 1


def test_a_start_that_nobody_wrote_down_is_looked_for_before_another() -> None:
    box = Box("h1")
    service = box.registry()[0]
    service.phase, service.handle = Phase.STARTING, None
    after = Box("h1", kept=Kept((replace(service),)))
    (find,) = [effect for effect in after.all if isinstance(effect, Find)]
    assert after.count(Start) == 0
    after.take(after.me.started("h1", find.token, {"pid": 99}, after.now_s))
    assert after.me.services["h1"].handle == {"pid": 99}
    again = Box("h1", kept=Kept((replace(service),)))
    again.take(again.me.not_started("h1", find.token, "it never was", again.now_s))
    again.after(0.2)
    assert again.count(Start) == 1


@pytest.mark.parametrize(
    ("kept", "starts"), [({}, 0), ({"ended": True}, 2), ({"is_here": False}, 2)], ids=["crash", "end", "boot"]
)
def test_a_crash_brings_nothing_back_that_had_left_or_was_given_up(
    kept: dict[str, bool], starts: int
) -> None:
    services = (
        Service("h1", slot=0, phase=Phase.LEFT, starts=1),
        Service("h2", slot=1, phase=Phase.GIVEN_UP, starts=9, failures=8),
    )
    assert Box("h1", "h2", kept=Kept(services, **kept)).count(Start) == starts


def test_a_supervisor_leaves_hosts_alone_or_stops_them() -> None:
    box = Box("h1", "h2")
    (*_, end) = box.take(box.me.stop(box.now_s, hosts=False))
    assert end == Finish(0, "h1, h2 go on without a supervisor, until the next one takes over")
    assert box.count(Stop) == 0
    box = Box("h1", "h2")
    box.take(box.me.stop(box.now_s, hosts=True))
    assert box.count(Stop) == 2 and box.count(Finish) == 0
    box.end("h1", LEFT)
    box.after(60.0)
    assert [stop.now for stop in box.all if isinstance(stop, Stop)] == [False, False, True], (
        "it takes too long"
    )
    box.end("h2")
    assert box.all[-1] == Finish(0, "its hosts have ended") and box.count(Start) == 2


def test_who_asks_twice_waits_for_nobody_and_nothing_is_started_after_the_end() -> None:
    box = Box("h1", "h2")
    box.end("h1")
    box.take(box.me.stop(box.now_s, hosts=True))
    (*_, end) = box.take(box.me.stop(box.now_s, hosts=True))
    assert end == Finish(0, "asked for twice: h2 leave by themselves")
    box = Box("h1", "h2")
    box.end("h1")
    box.take(box.me.stop(box.now_s, hosts=False))
    assert not [effect for effect in box.after(60.0) if isinstance(effect, Start)]


# -- other supervisors -----------------------------------------------------------------


def test_a_dead_neighbour_is_started_again_unless_somebody_was_faster() -> None:
    box = Box("h1")
    box.take(box.me.beat(near(), box.now_s))
    service = box.me.services["supervisor:s2"]
    box.end(service.name)
    assert box.count(Attest) == 0, "it is no member"
    box.after(1.0)
    assert box.phase("supervisor:s2") is Phase.DUE
    box.take(box.me.beat(near(life=6, pid=78), box.now_s))
    box.after(5.0)
    assert box.phase("supervisor:s2") is Phase.RUNNING and box.count(Start) == 1
    box.end(service.name)
    box.after(6.5)
    assert box.count(Start) == 2 and service.handle is not None and service.handle["pid"] == 12
    assert "ended by signal 9; started again in 2 s" in box.told("restart")


def test_a_neighbour_that_ended_in_good_order_is_left_alone() -> None:
    box = Box("h1")
    box.take(box.me.beat(near(), box.now_s))
    handle = box.me.services["supervisor:s2"].handle
    box.take(box.me.beat(near(number=2, is_last=True), box.now_s))
    assert handle is not None
    box.take(box.me.ended("supervisor:s2", handle, KILLED, box.now_s))
    box.after(60.0)
    assert box.count(Start) == 1 and box.told("supervisor") == []


def test_one_on_another_machine_is_told_about_when_silent_and_when_back() -> None:
    box = Box("h1")
    far = near(machine="other")
    box.take(box.me.beat(far, box.now_s))
    box.after(SILENT_S - 0.1)
    box.take(box.me.beat(far, box.now_s))  # the same number: said again by somebody
    box.after(0.5)
    (text,) = box.told("supervisor")
    assert "another machine" in text and "h9" in text and "supervisor:s2" not in box.me.services
    box.take(box.me.beat(replace(far, number=2), box.now_s))
    assert "heard again" in box.told("supervisor")[1]


def test_a_silent_neighbour_whose_process_runs_is_not_started_twice() -> None:
    box = Box("h1")
    box.take(box.me.beat(near(), box.now_s))
    box.after(60.0)
    assert box.count(Start) == 1 and "its process runs" in box.told("supervisor")[0]


# -- more hosts ------------------------------------------------------------------------


def asks(box: Box, hosts: int, for_s: float) -> None:
    """The cluster says for a while what it wants, twice a second."""
    for _ in range(round(for_s / 0.5)):
        box.take(box.me.wanted(hosts, "2 hosts can hold peers", box.now_s, box.now_s))
        box.after(0.5)


def test_a_host_is_added_when_the_wish_lasts_and_the_claim_is_won() -> None:
    box = Box("h1")
    asks(box, 1, 3.0)
    asks(box, 0, 1.0)
    asks(box, 1, 5.0)
    assert box.count(Claim) == 0, "it was a restart somewhere"
    asks(box, 1, 2.0)
    assert [c for c in box.all if isinstance(c, Claim)] == [Claim("s1-2")] and box.count(Start) == 1
    asked_s = box.now_s
    box.after(0.1)
    assert isinstance(box.take(box.me.claimed(True, box.now_s))[0], AskCapacity)
    box.take(box.me.wanted(1, "x", asked_s, box.now_s))
    assert box.count(Start) == 1, "that answer is older than the claim"
    asks(box, 1, 1.0)
    assert box.count(Start) == 2 and box.me.services["s1-2"].is_added
    asks(box, 1, 40.0)
    assert box.count(Claim) == 1 and box.count(Keep) >= 3, "kept while the host is on its way"
    box.take(box.me.members({"s1-2"}, box.now_s))
    assert Keep(COOL_S) in box.all[-2:] and box.me.services["s1-2"].is_ready
    after = Box("h1", kept=Kept(box.registry()))
    assert after.count(Start) == 0 and "s1-2" in after.me.services


def test_of_two_who_want_to_only_the_one_with_the_claim_starts() -> None:
    boxes, claims, is_taken = [Box("h1"), Box("h1")], [0, 0], False
    for _ in range(100):
        is_there = any("s1-2" in box.me.services for box in boxes)
        for number, box in enumerate(boxes):
            asks(box, 0 if is_there else 1, 0.5)
            if box.count(Claim) > claims[number]:
                claims[number] += 1
                box.take(box.me.claimed(not is_taken, box.now_s))
                is_taken = True
    assert sum(box.count(Start) for box in boxes) == 3 and claims == [1, 1], "both saw the wish, and one won"


def test_a_claim_that_was_won_for_a_wish_that_is_fulfilled_is_given_back() -> None:
    box = Box("h1")
    asks(box, 1, 7.0)
    box.take(box.me.claimed(True, box.now_s))
    box.after(0.1)
    box.take(box.me.wanted(0, "", box.now_s, box.now_s))
    assert box.all[-1] == Keep(0.1) and box.count(Start) == 1


def test_a_claim_that_is_too_old_starts_nothing() -> None:
    box = Box("h1")
    asks(box, 1, 7.0)
    box.now_s += CLAIM_S / 2
    box.take(box.me.claimed(True, box.now_s))
    box.take(box.me.wanted(1, "x", box.now_s, box.now_s))
    assert box.count(Start) == 1


def test_without_room_it_says_so_once() -> None:
    box = Box("h1", hosts_max=1)
    asks(box, 1, 60.0)
    assert len(box.told("capacity")) == 1 and "--max-hosts" in box.told("capacity")[0]
    assert box.count(Claim) == 0


def test_active_is_who_the_cluster_lists_by_the_process_that_runs_here() -> None:
    box = Box("h1", "h2")
    members = [
        {"name": "h1", "status": "ACTIVE", "heard": True, "pid": 11},
        {"name": "h2", "status": "ACTIVE", "heard": True, "pid": 99},
        {"name": "h9", "status": "ACTIVE", "heard": True, "pid": 9},
    ]
    assert active_here(box.me.services, members, MINE) == {"h1"}
