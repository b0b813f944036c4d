"""Who leads what: the same answer on every host, from the same censuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from agents.census import CensusRound, bearers, elect
from agents.messages.replication import Census, CensusPeer
from agents.views import Charter, Member, Status, View, epoch_in, epoch_view, view_id

OLD = view_id(0, 4)
NOW = view_id(0, 5)


def a_view(
    *hosts: str, colonies: int = 1, new: Sequence[str] = (), witness: str = "", number: int = 5
) -> View:
    """Return a view; those in `new` are admitted by it."""
    vid = view_id(0, number)
    members = tuple(
        Member(
            host,
            1,
            host,
            f"tcp://{host}",
            f"tcp://{host}l",
            witness=host == witness,
            status=Status.JOINING if host in new else Status.ACTIVE,
            entered=vid if host in new else 1,
        )
        for host in hosts
    )
    return View("t" * 32, vid, Charter(colonies=colonies), members)


def heard(load: dict[str, int] | None = None, **peers: CensusPeer | None) -> dict[str, Census]:
    """Return a census of each host, with at most one peer of colony 0."""
    return {
        host: Census(NOW, (peer,) if peer is not None else (), (load or {}).get(host, 0))
        for host, peer in peers.items()
    }


def peer(seq: int, epoch: int = epoch_in(OLD, 0), primary: bool = False, colony: int = 0) -> CensusPeer:
    """Return one line of a census."""
    return CensusPeer(colony, epoch, seq, primary)


def test_a_primary_that_lives_keeps_its_colony_and_its_epoch() -> None:
    (heir,) = elect(a_view("A", "B"), heard(A=peer(3), B=peer(3, primary=True)))
    assert (heir.outcome, heir.primary, heir.epoch) == ("kept", "B", epoch_in(OLD, 0))
    assert heir.seqs == {"A": 3, "B": 3}


def test_of_two_that_call_themselves_primary_the_higher_epoch_is_one() -> None:
    later = epoch_in(OLD, 1)
    (heir,) = elect(a_view("A", "B"), heard(A=peer(9, primary=True), B=peer(3, later, primary=True)))
    assert (heir.primary, heir.epoch) == ("B", later)


def test_an_orphan_goes_to_the_highest_seq_whatever_its_epoch() -> None:
    (heir,) = elect(a_view("A", "B"), heard(A=peer(5), B=peer(4, epoch_in(OLD, 7))))
    assert (heir.outcome, heir.primary) == ("promoted", "A")
    assert heir.epoch > epoch_in(OLD, 7) and epoch_view(heir.epoch) == NOW


def test_an_epoch_that_began_in_this_view_is_followed_by_the_next_count() -> None:
    (heir,) = elect(a_view("A"), heard(A=peer(5, epoch_in(NOW, 3))))
    assert heir.epoch == epoch_in(NOW, 4)


def test_ties_go_to_the_least_loaded_then_to_the_most_senior() -> None:
    view = a_view("A", "B", "C")
    (heir,) = elect(view, heard({"A": 5, "B": 2, "C": 2}, A=peer(1), B=peer(1), C=peer(1)))
    assert heir.primary == "B"


def test_who_inherits_weighs_more_for_the_next_colony() -> None:
    view = a_view("A", "B", colonies=4)
    lines = tuple(peer(1, colony=colony) for colony in range(4))
    heirs = elect(view, {"A": Census(NOW, lines, 0), "B": Census(NOW, lines, 0)})
    assert [heir.primary for heir in heirs] == ["A", "B", "A", "B"]


def test_a_colony_without_a_peer_is_lost_and_starts_again_on_one_host() -> None:
    (heir,) = elect(a_view("A", "B", new=["B"]), heard({"A": 3}, A=None))
    assert (heir.outcome, heir.primary, heir.seqs) == ("lost", "A", {})
    assert epoch_view(heir.epoch) == NOW


def test_with_witnesses_alone_a_lost_colony_has_no_place() -> None:
    (heir,) = elect(a_view("A", witness="A"), heard(A=None))
    assert (heir.outcome, heir.primary) == ("lost", "")


def test_witnesses_and_leavers_bear_nothing_while_others_can() -> None:
    view = a_view("A", "B", "C", witness="A", new=["C"])
    assert bearers(view) == ["B"]
    assert bearers(a_view("A", "C", witness="A", new=["C"])) == ["C"]


def test_a_new_cluster_bears_every_colony_once_and_evenly() -> None:
    view = a_view("A", "B", "C", colonies=9, new=["A", "B", "C"], number=1)
    heirs = elect(view, {})
    assert [heir.colony for heir in heirs] == list(range(9))
    assert {heir.outcome for heir in heirs} == {"born"}
    counts = [[heir.primary for heir in heirs].count(host) for host in "ABC"]
    assert counts == [3, 3, 3]


def test_every_order_of_hearing_gives_the_same_result() -> None:
    view = a_view("A", "B", "C", "D", colonies=3)
    lines = {
        "A": Census(NOW, (peer(5), peer(1, colony=1)), 1),
        "B": Census(NOW, (peer(5), peer(2, colony=1, primary=True)), 4),
        "C": Census(NOW, (peer(4),), 0),
        "D": Census(NOW, (), 0),
    }
    results = [elect(view, {host: lines[host] for host in order}) for order in permutations("ABCD")]
    assert all(result == results[0] for result in results)
    assert [heir.outcome for heir in results[0]] == ["promoted", "kept", "lost"]


@pytest.mark.parametrize(
    "line", [peer(9, colony=7), peer(9, colony=-1), peer(9, epoch_in(view_id(0, 6), 0)), peer(9, 1 << 62)]
)
def test_lines_that_can_not_be_true_neither_raise_nor_count(line: CensusPeer) -> None:
    (heir,) = elect(a_view("A", "B"), heard(A=line, B=peer(1)))
    assert (heir.primary, heir.seqs) == ("B", {"B": 1})


# -- the round ----------------------------------------------------------------------


def test_the_round_waits_for_all_but_those_whom_the_view_admits() -> None:
    round_ = CensusRound(a_view("A", "B", "C", new=["C"]))
    census = Census(NOW, (), 0)
    assert round_.missing == {"A", "B"}
    assert not round_.add("A", census)
    assert not round_.add("C", census), "it holds nothing"
    assert round_.add("B", census)
    assert round_.is_complete
    assert set(round_.heard) == {"A", "B"}


def test_a_census_of_another_view_a_stranger_or_a_second_one_counts_for_nothing() -> None:
    round_ = CensusRound(a_view("A", "B"))
    assert not round_.add("A", Census(OLD, (), 0))
    assert not round_.add("X", Census(NOW, (), 0))
    assert not round_.add("A", Census(NOW, (), 1))
    assert not round_.add("A", Census(NOW, (), 2))
    assert round_.heard["A"].load == 1 and not round_.is_complete


def test_in_a_clusters_first_view_nobody_is_waited_for() -> None:
    assert CensusRound(a_view("A", "B", new=["A", "B"], number=1)).is_complete
