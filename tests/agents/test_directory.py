"""Where every colony is, as far as one host knows."""

from __future__ import annotations

from random import Random

from agents.directory import Directory
from agents.messages.replication import Located


def at(
    primary: str, *others: str, colony: int = 0, epoch: int = 1, change: int = 1, size: int = 10
) -> Located:
    """Return where a colony is."""
    return Located(colony, epoch, change, primary, (primary, *others), 1, size)


def test_the_highest_epoch_and_then_the_latest_change_stands() -> None:
    directory = Directory(1)
    assert directory.learn(at("A", epoch=2, change=1))
    assert not directory.learn(at("B", epoch=1, change=9))
    assert not directory.learn(at("B", epoch=2, change=1)), "the same is not newer"
    assert directory.learn(at("B", epoch=2, change=2))
    assert directory.learn(at("C", epoch=3, change=0))
    assert directory.primary(0) == "C"


def test_unknown_colonies_have_no_primary_and_can_not_be_learned() -> None:
    directory = Directory(2)
    assert [directory.primary(colony) for colony in (0, 5, -1)] == ["", "", ""]
    assert not directory.learn(at("A", colony=2)) and not directory.learn(at("A", colony=-1))
    assert directory.digest == 0


def test_counts_per_host_follow_every_change() -> None:
    directory = Directory(2)
    directory.learn(at("A", "B"))
    directory.learn(at("B", colony=1))
    assert (directory.copies["A"], directory.copies["B"]) == (1, 2)
    assert (directory.primaries["A"], directory.primaries["B"]) == (1, 1)
    directory.learn(Located(0, 2, 0, "B", ("B",), 1, 30, learners=("C",)))
    assert (directory.copies["A"], directory.copies["C"]) == (0, 1), "who learns carries it already"
    assert directory.bytes_used["B"] == 30 + 10 and directory.bytes_used["A"] == 0


def test_equal_knowledge_has_an_equal_digest_in_whatever_order_it_came() -> None:
    entries = [at("A", colony=c, epoch=e, change=n) for c in range(5) for e in range(3) for n in range(2)]
    first, second = Directory(5), Directory(5)
    for entry in entries:
        first.learn(entry)
    Random(1).shuffle(entries)
    for entry in entries:
        second.learn(entry)
    assert first.digest == second.digest != 0 and first.entries == second.entries


def test_different_knowledge_has_a_different_digest() -> None:
    digests = set()
    for colony in range(8):
        for epoch in range(8):
            for change in range(8):
                directory = Directory(8)
                directory.learn(at("A", colony=colony, epoch=epoch, change=change))
                digests.add(directory.digest)
    assert len(digests) == 8 * 8 * 8


def test_one_who_knows_less_is_told_what_it_lacks_and_no_more() -> None:
    mine, theirs = Directory(3), Directory(3)
    mine.learn(at("A", colony=0, epoch=2))
    mine.learn(at("A", colony=1, epoch=2))
    theirs.learn(at("A", colony=0, epoch=2))
    theirs.learn(at("B", colony=1, epoch=1))
    theirs.learn(at("B", colony=2, epoch=9))
    lacking = list(mine.newer_than(theirs.known()))
    assert [entry.colony for entry in lacking] == [1]
    for entry in lacking:
        theirs.learn(entry)
    for entry in list(theirs.newer_than(mine.known())):
        mine.learn(entry)
    assert mine.digest == theirs.digest


def test_what_a_stranger_claims_to_know_does_not_raise() -> None:
    directory = Directory(2)
    directory.learn(at("A"))
    assert list(directory.newer_than(())) == []
    assert len(list(directory.newer_than(((0, 0),) * 99))) == 1


def test_of_hosts_that_have_gone_nothing_is_kept() -> None:
    directory = Directory(2)
    for change in range(1, 50):
        host = f"h{change}"
        directory.learn(Located(0, 1, change, host, (host, "B"), bytes_used=9, learners=("C",), going=("B",)))
        directory.learn(Located(1, 1, change, "B", ("B", host), bytes_used=change))
    kept = directory.copies, directory.primaries, directory.bytes_used, directory.bytes_going
    assert {host for counts in kept for host in counts} == {"h49", "B", "C"}
    assert (directory.copies["h49"], directory.bytes_used["B"], directory.bytes_going["B"]) == (2, 58, 9)
