"""Agreement: one value per ballot instance, whatever is lost, late or restarted."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from agents.agreement import Acceptor, Attempt, dropped, follows
from agents.messages.membership import Ballot, Promise
from agents.views import Charter, Member, View, view_id

RUNS = int(os.environ.get("COLONY_SEEDS", "3000"))


def view(hosts: str, number: int = 1, tag: str = "t", generation: int = 0) -> View:
    members = tuple(Member(host, 1, host, "", "", entered=1) for host in hosts)
    return View(tag, view_id(generation, number), Charter(), members)


class Town:
    """Acceptors with disks and proposers with nothing, joined by a bag of messages.

    Messages are delivered in any order, any number of times, or never.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.view = view("abcde"[: self.random.choice((1, 2, 3, 3, 5))])
        self.disks: dict[str, tuple[Any, ...]] = dict.fromkeys(self.view.ids, (None, None, None))
        self.hosts = {host: Acceptor() for host in self.view.ids}
        self.attempts: dict[str, Attempt] = {}
        self.bag: list[tuple[str, str, Any]] = []
        self.chosen: set[Any] = set()
        self.used: set[Ballot] = set()

    def step(self) -> None:
        """Do one thing that may happen."""
        roll = self.random.random()
        if roll < 0.04:
            self.stand(self.random.choice(self.view.ids))
        elif roll < 0.06:
            host = self.random.choice(self.view.ids)
            self.hosts[host] = Acceptor(*self.disks[host])
            self.attempts.pop(host, None)
        elif self.bag:
            place = self.random.randrange(len(self.bag))
            sender, to, message = self.bag[place]
            if self.random.random() < 0.9:
                del self.bag[place]
            if self.random.random() < 0.85:
                self.deliver(sender, to, message)

    def persist(self, host: str) -> None:
        acceptor = self.hosts[host]
        self.disks[host] = (acceptor.promised, acceptor.accepted_ballot, acceptor.accepted)

    def stand(self, host: str) -> None:
        ballot = self.hosts[host].next_ballot(host, self.random.choice((0, 0, 3)))
        assert ballot not in self.used, "a ballot was used again"
        self.used.add(ballot)
        self.hosts[host].prepare(ballot)
        self.persist(host)
        self.attempts[host] = Attempt(self.view, ballot, self.view.majority, 0.0)
        self.bag += [(host, other, ("prepare", ballot)) for other in self.view.ids]

    def deliver(self, sender: str, to: str, message: Any) -> None:
        kind, ballot, *rest = message
        acceptor, attempt = self.hosts[to], self.attempts.get(to)
        if kind == "prepare" and acceptor.prepare(ballot):
            self.persist(to)
            answer = Promise(self.view.id, ballot, acceptor.accepted_ballot, acceptor.accepted, ())
            self.bag.append((to, sender, ("promise", ballot, answer)))
        elif kind == "accept" and acceptor.accept(ballot, rest[0]):
            self.persist(to)
            self.bag.append((to, sender, ("accepted", ballot)))
        elif kind == "promise" and attempt is not None and attempt.proposal is None:
            attempt.promise(sender, rest[0], 0.0)
            if attempt.prepared_s is not None:
                own = view("".join(self.view.ids)[: self.random.randint(1, 5)] + to.upper() * ballot.round, 2)
                attempt.propose(attempt.adopted() or own, 0.0)
                self.bag += [
                    (to, other, ("accept", attempt.ballot, attempt.proposal)) for other in self.view.ids
                ]
        elif kind == "accepted" and attempt is not None and attempt.ballot == ballot:
            attempt.accepted(sender, {}, 0.0)
            if attempt.chosen:
                self.chosen.add(attempt.proposal)


def test_at_most_one_view_is_chosen_whatever_is_lost_late_or_restarted() -> None:
    some = 0
    for seed in range(RUNS):
        town = Town(seed)
        for _ in range(160):
            town.step()
        assert len(town.chosen) <= 1, f"seed {seed}: {town.chosen}"
        some += len(town.chosen)
    assert some > RUNS / 10, "the runs choose too rarely to mean anything"


def test_a_higher_promise_refuses_lower_ballots_and_repeats_are_harmless() -> None:
    acceptor = Acceptor()
    assert acceptor.prepare(Ballot(2, "b"))
    assert not acceptor.prepare(Ballot(1, "z"))
    assert not acceptor.accept(Ballot(2, "a"), view("a", 2))
    assert acceptor.accept(Ballot(2, "b"), view("a", 2))
    assert acceptor.accept(Ballot(2, "b"), view("a", 2))
    with pytest.raises(AssertionError, match="one ballot proposes one value"):
        acceptor.accept(Ballot(2, "b"), view("b", 2))


def test_accepting_is_promising_too() -> None:
    acceptor = Acceptor()
    acceptor.accept(Ballot(3, "a"), view("a", 2))
    assert not acceptor.prepare(Ballot(2, "b"))
    assert acceptor.next_ballot("b") == Ballot(4, "b")


def test_the_accepted_value_of_the_highest_ballot_is_adopted() -> None:
    attempt = Attempt(view("abc"), Ballot(9, "a"), 2, 0.0)
    attempt.promise("a", Promise(1, Ballot(9, "a"), Ballot(1, "b"), view("b", 2), ()), 0.0)
    attempt.promise("b", Promise(1, Ballot(9, "a"), Ballot(1, "c"), view("c", 2), ()), 0.0)
    attempt.promise("c", Promise(1, Ballot(8, "a"), Ballot(7, "c"), view("a", 2), ()), 0.0)
    assert attempt.adopted() == view("c", 2)


def test_strangers_and_repeats_make_no_majority() -> None:
    attempt = Attempt(view("abc"), Ballot(1, "a"), 2, 0.0)
    attempt.propose(view("ab", 2), 0.0)
    for host in ("a", "a", "x"):
        attempt.accepted(host, {}, 0.0)
    assert not attempt.chosen


def test_a_successor_has_the_next_number_or_the_next_generation_of_the_same_tag() -> None:
    assert follows(view("a", 2), view("a", 1))
    assert not follows(view("a", 3), view("a", 1))
    assert not follows(view("a", 1), view("a", 1))
    assert not follows(view("a", 2, "u"), view("a", 1))
    assert follows(view("a", 7, generation=1), view("a", 1))
    assert not follows(view("a", 7, generation=2), view("a", 1))


def test_the_wait_is_for_the_longest_lease_of_the_majority_that_is_free_first() -> None:
    before, after = view("abcde"), view("abc", 2)
    assert dropped(before, after) == (("d", 1), ("e", 1))
    attempt = Attempt(before, Ballot(1, "a"), 3, 0.0)
    attempt.propose(after, 0.0)
    attempt.accepted("a", {"d": 0.1, "e": 0.2}, 1.0)
    attempt.accepted("b", {"d": 0.5, "e": 0.0}, 1.0)
    attempt.accepted("c", {"d": 0.3, "e": 0.0}, 1.1)
    assert attempt.free_at_s(()) == pytest.approx(1.5)
    attempt.accepted("d", {"d": 0.0, "e": 0.0}, 1.2)
    assert attempt.free_at_s(()) == pytest.approx(1.4)
    assert attempt.free_at_s({"d"}) == pytest.approx(1.2)
    assert attempt.free_at_s({"d", "e"}) == pytest.approx(1.1)
