"""What speaks against hosts and boxes: deaths and absences, and how they fade."""

from __future__ import annotations

from agents.messages.membership import Load
from agents.pulse import Pulse
from agents.reputation import RECORDS_MAX, Reputation
from agents.views import Charter, Member, View, view_id
from placement.labels import Labels

HERE = {name: Labels(zone="z", box=name[0]) for name in ("a1", "a2", "b1")}


def view(number: int, *hosts: str, dead: tuple[str, ...] = ()) -> View:
    members = tuple(Member(name, 1, name, f"tcp://{name}", f"link://{name}", HERE[name]) for name in hosts)
    return View("t" * 32, view_id(0, number), Charter(), members, dead=tuple((name, 1) for name in dead))


def test_a_second_death_counts_and_fades_and_a_long_absence_counts_too() -> None:
    one = Reputation()
    one.note(view(2, "a2", "b1", dead=("a1",)), 0.0, HERE)
    one.note(view(3, "a1", "a2", "b1"), 5.0, HERE)
    assert one.record("a1", 5.0) == 0.0, "the first may have been a restart"
    one.note(view(4, "a2", "b1", dead=("a1",)), 10.0, HERE)
    assert one.record("a1", 10.0) == 1.0 and 0.4 < one.record("a1", 160.0) < 0.6
    one.note(view(5, "a1", "a2", "b1"), 310.0, HERE)
    assert one.record("a1", 310.0) > 3.0, "five minutes away"
    assert one.record("b1", 310.0) == 0.0


def test_a_box_that_loses_hosts_again_and_again_has_a_record_of_its_own() -> None:
    one = Reputation()
    one.note(view(2, "b1", dead=("a1", "a2")), 0.0, HERE)
    assert one.box_record(HERE["a1"], 0.0) == 0.0, "it died once, with all that was on it"
    one.note(view(3, "b1", "a2", dead=("a1",)), 10.0, HERE)
    assert one.box_record(HERE["a2"], 10.0) == 1.0 and one.box_record(HERE["b1"], 10.0) == 0.0
    assert one.box_record(HERE["a2"], 1_000.0) < 0.1


def test_of_many_with_a_record_the_worst_are_told_and_alike_by_all_who_saw_the_same() -> None:
    names = [f"h{number:03}" for number in range(3 * RECORDS_MAX)]
    labels = {name: Labels(zone="z", box=name) for name in names}
    bad = names[100]
    told = []
    for order in (names, names[::-1]):
        one = Reputation()
        for number, dead in enumerate((names, names, (bad,)), 2):
            one.note(view(number, dead=tuple(dead)), float(number), labels)
        members = tuple(Member(name, 1, name, f"tcp://{name}", f"link://{name}") for name in order)
        told.append(one.records(View("t" * 32, view_id(0, 9), Charter(), members), 10.0))
    assert told[0] == told[1] and len(told[0]) == RECORDS_MAX
    assert (bad, 2, 0) in told[0]


def test_figures_that_placement_goes_by_do_not_follow_noise_but_what_lasts() -> None:
    pulse, told = Pulse(), set()
    for second in range(60):
        load = Load(
            cpu=0.8 + (0.08 if second % 2 else -0.08), memory_free=1000 + second % 100, memory_total=2000
        )
        told.add(pulse.steadied(load, (), float(second)).steady_cpu)
    assert len(told) <= 2, "the first sample, and at most what the mean is"
    for second in range(60, 120):
        last = pulse.steadied(Load(cpu=0.1), (), float(second))
    assert last.steady_cpu < 0.2
