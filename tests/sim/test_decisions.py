"""Every decision leaves exactly one note, and says from what it followed.

A whole simulated cluster lives through births, deaths, joins, leaves and an
eviction. What its machines decided is counted from their state, event by
event, beside the notes that they left.
"""

from __future__ import annotations

import ast
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents import population, transfers
from agents.colony import Colony
from agents.effects import EvictOrdered, InstallView, Note
from agents.ledger import HOST, Entry, Ledger
from agents.notes import Noted, Notes
from agents.sim_host import Process
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.steps import Steps
from agents.surroundings import Born, CloneOrdered, HandOverOrdered, RetireOrdered
from agents.views import Charter
from placement.reasons import Move
from placement.settle import Settled
from tests.sim.clients import run_closure

pytestmark = pytest.mark.sim  # a whole life of a cluster: a second or two

CHARTER = Charter(colonies=24, peers=2, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)
DECISIONS = ("clone", "repel", "promote", "migrate", "settle", "evict", "retire", "hand_over")
CAUSED = ("view", "promote", "cloned", "retired", "confirmed", "undead", "lost", "census", "settle")


class Counting:
    """Counts what is decided, by state alone, and keeps every host's notes."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.decided: Counter[str] = Counter()
        self.noted_kinds: Counter[str] = Counter()
        self.logs: dict[int, Notes] = {}
        self.all: list[tuple[Process, Noted]] = []
        self.entries: list[Entry] = []  # of all ledgers
        self._settled: dict[int, int] = {}
        self._before: dict[tuple[int, int], tuple[bool, set[str], set[str]]] = {}

    @staticmethod
    def _state(machine: Colony) -> tuple[bool, set[str], set[str]]:
        primary = machine.primary
        if primary is None:
            return False, set(), set()
        moves = primary.transfers
        return True, set(moves.clones), set(moves.retiring)

    def host_acted(self, process: Process, event: Any) -> None:
        now = process.container.governor.settled.number
        self.decided["settle"] += now != self._settled.get(process.pid, 0)
        self._settled[process.pid] = now
        self.decided["evict"] += isinstance(event, EvictOrdered)

    def colony_acted(self, process: Process, colony: int, event: Any) -> None:
        key = (process.pid, colony)
        led, clones, retiring = self._before.get(key, (False, set(), set()))
        after = self._before[key] = self._state(process.container.colonies[colony])
        if after[0] and not led and not isinstance(event, Born):
            self.decided["promote"] += 1
        if isinstance(event, CloneOrdered):  # what a broken link or a view begins again is no decision
            self.decided["clone"] += len(after[1] - clones)
        if isinstance(event, RetireOrdered):
            self.decided["retire"] += len(after[2] - retiring)

    def installed(self, process: Process, effect: InstallView) -> None:
        pass

    def noted(self, process: Process, note: Note) -> None:
        log = self.logs.setdefault(process.pid, Notes(life=f"p{process.pid}"))
        self.all.append((process, log.add(note, self.simulation.timeline.now_s)))
        step = note.details.get("step", "asked")
        if step in ("asked", "begun"):
            self.noted_kinds[note.kind] += 1


def lived_through() -> Counting:
    """Play a cluster's life: birth, joins, a death, a leave, an eviction, and calm."""
    settings = SimSettings(charter=CHARTER, machines=3)
    simulation = Simulation("ABCDEF", random.Random(13), settings, run_closure)
    counting = Counting(simulation)
    simulation.observer = counting

    def run_for(seconds: float) -> None:
        simulation.timeline.run_until(simulation.timeline.now_s + seconds)

    for name in "AD":  # both on one machine: peers that repel each other, as soon as there is another
        simulation.start(name)
    run_for(1.0)
    simulation.init("A")
    run_for(4.0)
    simulation.start("B")  # its fair share parts some of them, and the others part later
    run_for(6.0)
    simulation.start("C")
    run_for(8.0)
    simulation.crash("B")
    run_for(6.0)
    simulation.start("B")
    simulation.start("E")
    run_for(12.0)
    simulation.leave("A")
    run_for(8.0)
    simulation.order("C", EvictOrdered(simulation.homes["D"].id))
    run_for(12.0)
    simulation.start("F")
    run_for(15.0)
    return counting


@pytest.fixture(scope="module")
def life() -> Counting:
    """Return a life lived once for all tests here."""
    patch = pytest.MonkeyPatch()
    moves: Counter[str] = Counter()
    begin, order = Steps.begin, transfers.order_hand_over

    def began(steps: Steps, colony: int, found: Any, *rest: Any) -> None:
        moves[found[1].rule] += 1
        begin(steps, colony, found, *rest)

    def ordered(*arguments: Any) -> bool:
        begun = order(*arguments)
        moves["hand_over"] += begun
        return begun

    entries: list[Entry] = []
    add = Ledger._add

    def added(ledger: Ledger, entry: Entry) -> None:
        entries.append(entry)
        add(ledger, entry)

    patch.setattr(Ledger, "_add", added)
    # Many decide at one moment: each knows what was given before.
    patch.setattr("agents.leavers.PLANNED_S", 0.0)
    patch.setattr(Steps, "begin", began)
    patch.setattr(transfers, "order_hand_over", ordered)
    with patch.context():
        counting = lived_through()
    patch.undo()
    counting.decided.update(moves)
    counting.entries = entries
    return counting


@pytest.mark.parametrize("kind", DECISIONS)
def test_each_decision_leaves_exactly_one_note(life: Counting, kind: str) -> None:
    assert life.decided[kind] > 0, "nothing of the kind was decided: the life is too calm"
    assert life.noted_kinds[kind] == life.decided[kind]


def test_every_note_has_a_reason(life: Counting) -> None:
    assert {noted.note.kind for _, noted in life.all if not noted.note.reason} == set()


def test_no_note_is_written_without_a_reason() -> None:
    calls = [
        (path.name, node)
        for path in (Path(__file__).parents[2] / "agents").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Note"
    ]
    assert len(calls) > 50
    assert [f"{name}:{node.lineno}" for name, node in calls if len(node.args) < 2] == []


def test_what_follows_from_something_names_it_in_its_own_log_or_whose_it_is(life: Counting) -> None:
    for process, noted in life.all:
        note = noted.note
        if note.kind not in CAUSED:
            continue
        assert note.cause is not None, note
        if not note.cause.by:
            assert 0 < noted.cause < noted.number, f"{process.home.name}: {note}"
            cause = life.logs[process.pid].after(noted.cause - 1, 1)[0].note
            assert cause.kind == note.cause.kind


def chain(life: Counting, process: Process, noted: Noted) -> list[str]:
    """Return the kinds of an event and of all that led to it, across the logs of hosts."""
    kinds = [noted.note.kind]
    while noted.note.cause is not None and len(kinds) < 20:
        cause = noted.note.cause
        if cause.by:
            others = [(p, n) for p, n in life.all if p.home.id == cause.by and n.note.kind == cause.kind]
            named = [
                (p, n)
                for p, n in others
                if (cause.view and n.note.details.get("view") == cause.view)
                or (not cause.view and (n.note.colony, n.note.host) == (cause.colony, cause.host))
            ]
            if not named:
                break
            process, noted = named[-1]
        elif noted.cause:
            noted = life.logs[process.pid].after(noted.cause - 1, 1)[0]
        else:
            break
        kinds.append(noted.note.kind)
    return kinds


def test_a_promotion_leads_back_to_the_suspicion_of_whose_death_made_it(life: Counting) -> None:
    chains = [
        chain(life, process, noted)
        for process, noted in life.all
        if noted.note.kind == "promote" and "gone" in noted.note.reason
    ]
    assert chains
    # A host of the same machine sees the process gone; who suspected it first says on what evidence.
    assert any(
        found[:2] == ["promote", "view"] and "election" in found and found[-1] == "suspect"
        for found in chains
    )


def test_a_clone_leads_back_to_the_view_that_dropped_the_dead(life: Counting) -> None:
    chains = [chain(life, process, n) for process, n in life.all if n.note.kind == "clone"]
    assert any(
        found[:3] == ["clone", "view", "election"] or found[:3] == ["clone", "view", "view"]
        for found in chains
    )


def test_suspicions_say_by_whom_and_on_what_evidence(life: Counting) -> None:
    suspicions = [noted.note for _, noted in life.all if noted.note.kind == "suspect"]
    assert suspicions
    assert all("link" in note.details and note.reason for note in suspicions)


# -- the ledger ----------------------------------------------------------------


def test_every_recorded_decision_is_taken_again_from_what_was_recorded(life: Counting) -> None:
    assert len(life.entries) > 100
    assert [entry for entry in life.entries if entry.replayed() != entry.outcome] == []


def test_every_kind_of_decision_is_recorded_as_often_as_it_was_noted(life: Counting) -> None:
    outcomes = [
        entry.outcome[1] if isinstance(entry.outcome, tuple) else entry.outcome for entry in life.entries
    ]
    moves = Counter(outcome.rule for outcome in outcomes if isinstance(outcome, Move))
    assert moves == {"repel": life.decided["repel"], "migrate": life.decided["migrate"]}
    assert sum(isinstance(outcome, Settled) for outcome in outcomes) == life.decided["settle"]
    orders = [
        entry.outcome[0] if isinstance(entry.outcome, tuple) else entry.outcome for entry in life.entries
    ]
    for kind in (CloneOrdered, RetireOrdered, HandOverOrdered, type(None)):
        assert any(isinstance(order, kind) for order in orders), kind
    assert all(entry.near is not None for entry in life.entries if entry.outcome is None)
    assert {entry.colony for entry in life.entries} <= {HOST, *range(CHARTER.colonies)}


def differing(life: Counting) -> int:
    return sum(entry.replayed() != entry.outcome for entry in life.entries)


def test_a_change_of_the_rules_or_of_what_was_recorded_is_seen(
    life: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(population, "standing", lambda holders, candidates: [])  # nobody stays
        assert differing(life)
    with monkeypatch.context() as planted:
        full = property(lambda entry: [replace(h, accepts=False) for h in entry.sight.candidates()])
        planted.setattr(Entry, "candidates", full)
        assert differing(life), "how hosts were seen is part of what is known"
    assert not differing(life)
