"""Directories that differ: who is asked, and how often."""

from __future__ import annotations

from agents.anti_entropy import ASKED_MAX, AntiEntropy
from agents.directory import Directory
from agents.effects import Effect, Send, Ticked
from agents.messages.replication import Located, WantLocations
from agents.views import epoch_in, view_id
from tests.agents.house import founded
from tests.agents.ward import a_view


def test_a_missed_location_is_found_by_the_digest() -> None:
    house = founded("ab")
    located = Located(1, epoch_in(view_id(0, 2), 9), 1, "a" * 32, ("a" * 32,))
    house.hosts["a"].directory.learn(located)
    house.members["b"].peer_digests["a" * 32] = house.hosts["a"].directory.digest
    house.run(1.2)
    assert house.hosts["b"].directory.entries[1] == located


def test_equal_digests_and_strangers_digests_ask_nothing() -> None:
    house = founded("ab")
    house.members["b"].peer_digests["a" * 32] = house.hosts["b"].directory.digest
    house.members["b"].peer_digests["x" * 32] = 12345
    house.run()
    for _ in range(50):
        house.now_s += 0.05
        house.tell("b", Ticked())
        assert not any(isinstance(m, WantLocations) for queue in house.queues.values() for m in queue)


def test_when_all_differ_a_few_are_asked_each_second_and_everybody_in_turn() -> None:
    """While a large cluster moves much; a question names all colonies."""
    view, directory, apart = a_view(1, *"abcdefghij"), Directory(4), AntiEntropy()
    asked: list[str] = []
    for step in range(79):
        out: list[Effect] = []
        apart.compare(directory, dict.fromkeys("acdefghij", 7), view, 100.0 + 0.05 * step, out)
        asked += [effect.to for effect in out if isinstance(effect, Send)]
        assert len(out) <= ASKED_MAX
    assert len(asked) == 3 * ASKED_MAX and len(set(asked)) == 9


def test_after_a_view_differences_count_from_anew() -> None:
    view, directory, apart = a_view(1, "a", "b"), Directory(4), AntiEntropy()
    out: list[Effect] = []
    apart.compare(directory, {"b": 7}, view, 100.0, out)
    before = apart.is_under_way
    apart.forget()
    assert (before, apart.is_under_way) == (True, False)
    apart.compare(directory, {"b": 7}, view, 101.5, out)
    assert out == []
    apart.compare(directory, {"b": 7}, view, 103.0, out)
    assert len(out) == 1
    apart.compare(directory, {"b": directory.digest}, view, 103.1, out)
    assert not apart.is_under_way
