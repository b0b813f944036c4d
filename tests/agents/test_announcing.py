"""What hosts are told of where a colony is."""

from __future__ import annotations

from agents.announcing import active, announce, announce_if_news
from agents.effects import Effect, LinkCameUp, Send
from agents.messages.replication import Located
from agents.surroundings import LocationChanged
from tests.agents.ward import Ward, pair


def told(out: list[Effect]) -> list[tuple[str, int]]:
    """Return to whom which change was sent."""
    return [(e.to, e.message.change) for e in out if isinstance(e, Send) and isinstance(e.message, Located)]


def test_each_announcement_is_a_later_change_and_only_news_is_told_again() -> None:
    ward = pair()
    primary = ward.peers["A"].primary
    assert primary is not None and primary.announced is not None
    before = primary.announced.change
    out: list[Effect] = []
    announce(primary, out)
    assert told(out) == [("B", before + 1), ("C", before + 1)]
    out.clear()
    ward.put("A", b"k", b"v" * 1000)
    announce_if_news(primary, out)
    assert out == [], "it weighs more, and is where it was"
    primary.transfers.activating["B"] = 1
    assert active(primary) == ("A",)
    announce_if_news(primary, out)
    assert told(out) == [("B", before + 2), ("C", before + 2)]


def test_a_new_primacy_begins_its_changes_anew() -> None:
    ward = Ward("A")
    primary = ward.peers["A"].primary
    assert primary is not None and primary.announced is not None and primary.announced.change == 1


def test_who_comes_back_is_told_of_a_place_what_all_others_were_told() -> None:
    """One change that said two sizes left hosts with other weights of each other, for ever."""
    ward = pair()
    (told,) = [event.located for _, event in ward.told if isinstance(event, LocationChanged)][-1:]
    ward.put("A", b"k", b"v" * 1000)
    ward.deliver()
    ward.tell("A", LinkCameUp("C", 2))
    assert [m for m in ward.queues["A", "C"] if isinstance(m, Located)] == [told]
