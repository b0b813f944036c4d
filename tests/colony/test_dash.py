"""Frames of the dashboard, asserted as text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from colony.dash import Figures, Scene, Size, render, share
from colony.dash_feed import event_rows
from colony.dash_hosts import Absent, natural
from colony.dash_keys import split
from colony.dash_live import Top, as_svg, as_text
from colony.dash_map import map_height
from colony.dash_watch import Watcher, writes_of
from colony.errors import Unavailable
from colony.feed import Feed
from colony.outlook import Outlook, Pull
from placement.nearly import Near
from tests.colony.fakes import FakeStore, member, status

EVENTS = [
    {"seq": 1, "at": 1e9, "host": "h2", "kind": "view_installed", "reason": "h1 is dead"},
    {
        "seq": 2,
        "at": 1e9 + 1,
        "host": "h2",
        "kind": "promoted",
        "colony": 5,
        "reason": "highest seq, least loaded",
    },
]


def drawn(told: Any, size: Size = Size(), scene: Scene = Scene(), events: Any = EVENTS) -> list[str]:
    """Return the lines of a frame."""
    return as_text(render(told, events, size, scene), size).splitlines()


def test_a_frame_has_exactly_the_rows_and_no_more_than_the_columns_of_the_screen() -> None:
    for size in (Size(80, 24), Size(40, 10), Size(200, 60), Size(60, 12)):
        for told in (status(), status(hosts=40, colonies=4096), {}, None):
            lines = drawn(told, size)
            assert len(lines) == size.height
            assert max(len(line) for line in lines) <= size.width


def test_the_top_line_shows_quorum_safety_view_and_speed() -> None:
    first, second = drawn(status(), scene=Scene(figures=Figures(ops_s=1234.5, acked=10_000)))[:2]
    assert "● quorum" in first and "● safe" in first and "view 0.7" in first and "1,234 ops/s" in first
    assert "64 healthy" in second and "0 lost" in second and "10,000 acked" in second


def test_survival_the_strongest_pull_who_joins_and_a_freeze_are_shown_at_80_by_24() -> None:
    near = Near("copies", "copy", "a", "b", "h2 holds 9 copies", "margin", "a difference of 2 moves nothing")
    scene = Scene(outlook=Outlook(5.6e-6, Pull(7, near, "h2", "h4")))
    lines = drawn(status(), scene=scene)
    assert len(lines) == 24 and any("24 h survival 99.99944%" in line for line in lines)
    assert any("copies    colony 7     h2 → h4  held: a difference of 2" in line for line in lines)
    wave = {"joining": ["h8", "h9"], "leaving": ["h1"], "arrived": 3, "share": 8, "aboard": 5}
    told = {**status(), "frozen": True, "wave": wave}
    (note,) = [line for line in drawn(told) if "── moves" in line]
    assert "FROZEN  2 joining, 3 of 8 copies there  1 leaving, 5 copies aboard" in note
    held = Outlook(None, Pull(7, replace(near, held_by="turn"), "h2", ""))
    assert any("h2 → ?  held: frozen" in line for line in drawn(told, scene=Scene(outlook=held)))
    assert "survival" not in "".join(drawn(told))


def test_a_host_that_was_lost_of_late_says_how_often() -> None:
    told = status()
    told["view"]["members"][1]["flaps"] = 1.96
    assert sum("ACTIVE~2" in line for line in drawn(told)) == 1


def test_no_quorum_and_no_answer_are_said_in_plain_words() -> None:
    told = {**status(), "quorum": False, "safe": False}
    assert "● NO QUORUM" in drawn(told)[0] and "● NOT SAFE" in drawn(told)[0]
    assert "no host answers" in drawn(None)[0]
    assert "answer 5 s old" in drawn(status(), scene=Scene(age_s=5.0))[0]


def test_hosts_stand_by_box_with_bars() -> None:
    text = "\n".join(drawn(status()))
    b1, h2 = text.index("b1"), text.index("h2")
    assert b1 < text.index("1 h1") < text.index("4 h4") < text.index("b2") < h2
    assert "██··· " in text and "31%" in text and "6.0G" in text


def test_at_80_by_24_five_hosts_their_map_and_some_events_are_all_there() -> None:
    lines = drawn(status())
    text = "\n".join(lines)
    assert all(f"{number} h{number}" in text for number in range(1, 6))
    assert sum("█···░" in line for line in lines) == 5
    assert "promoted colony 5: highest seq, least loaded" in text
    assert "q quit" in lines[-1]


def test_every_colony_shows_its_primary_once() -> None:
    lines = [line[9:73] for line in drawn(status()) if "█···░" in line]
    for column in range(64):
        assert sorted(line[column] for line in lines) == sorted("█░···")


def test_a_lost_colony_is_a_cross_and_a_map_too_wide_becomes_short() -> None:
    told = status()
    told["table"][3].update(primary=None, secondaries=[])
    assert sum(line[12:13] == "×" for line in drawn(told)) == 5
    many = status(colonies=100)
    many["table"][3].update(primary=None, secondaries=[])
    assert any(line.startswith(" 123×5123451") for line in drawn(many))


def test_a_map_of_thousands_of_colonies_draws_only_rows_that_are_seen() -> None:
    told = status(hosts=5, colonies=4096)
    assert map_height(told["table"], 5, 80) == 53
    assert sum(line.startswith(" 1234512345") or line[1:60].isdigit() for line in drawn(told)) <= 10


def test_hosts_scroll_where_there_are_too_many() -> None:
    told = status(hosts=40, boxes=40)
    assert any(" h1     " in line for line in drawn(told))
    scrolled = drawn(told, scene=Scene(scroll=30))
    assert not any(" h1     " in line for line in scrolled) and any("h40" in line for line in scrolled)


def test_killed_hosts_stay_on_the_screen_and_the_selected_one_is_marked() -> None:
    told = status(hosts=4)
    scene = Scene(selected="h5", absent=(Absent("h5", "b2", "killed"),), states={"h1": "STALLED"})
    text = "\n".join(drawn(told, scene=scene))
    assert "▶5 h5     killed" in text and "1 h1     STALLED" in text


def test_moves_show_what_goes_where_and_how_far_it_is() -> None:
    told = status()
    told["moves"] = [{"colony": 7, "from": "h1", "to": "h5", "kind": "clone", "progress": 0.4, "age_s": 1.25}]
    assert any("clone     colony 7     h1 → h5  ██···  40%  1.2 s" in line for line in drawn(told))


def test_missing_fields_do_no_harm() -> None:
    told = {"view": {"members": [{"name": "h1"}, {}]}, "table": [{}, {"primary": "h1"}], "moves": [{}]}
    assert len(drawn(told, events=[{}, {"kind": "x"}])) == 24
    witness = {"view": {"members": [member(1, "b1", witness=True)]}}
    assert any("witness" in line for line in drawn(witness))


def test_a_message_takes_the_place_of_the_keys() -> None:
    assert "choose a host" in drawn(status(), scene=Scene(message="choose a host"))[-1]


def test_echoes_of_other_events_take_no_row() -> None:
    events = [{"kind": kind, "by": "h1"} for kind in ("promote", "open", "freed", "confirmed", "census")]
    assert [row.plain.split()[-1] for row in event_rows(events, 2)] == ["promote", "confirmed"]


def test_the_sections_never_take_more_rows_than_there_are() -> None:
    for height in range(8, 70):
        for hosts, colonies, moves in ((5, 5, 0), (40, 53, 9), (1, 1, 1), (12, 12, 2)):
            heights = share(height, hosts, colonies, moves)
            assert sum(heights) + 7 <= max(height, 7) and min(heights) >= 0


def test_a_frame_can_be_saved_as_a_picture() -> None:
    assert as_svg(render(status(), EVENTS), Size()).startswith("<svg")


def test_names_sort_as_people_count() -> None:
    assert sorted(["h10", "h2", "a", "h1"], key=natural) == ["a", "h1", "h2", "h10"]


def test_keys_and_arrows_are_told_apart() -> None:
    assert split(b"k\x1b[A\x1b[Bq\x1b[Z") == ["k", "up", "down", "q"]


def test_news_that_several_hosts_tell_is_shown_once_and_repeats_are_counted() -> None:
    feed = Feed()
    told = {"kind": "host_dead", "host": "h1", "reason": "silence", "at": 10.0}
    assert feed.add("h2", [told]) and not feed.add("h3", [told])
    promoted = [
        {"kind": "promoted", "colony": number, "reason": "h1 is dead", "at": 11.0} for number in range(13)
    ]
    assert len(feed.add("h2", promoted)) == 1
    last = feed.latest()[-1]
    assert last["count"] == 13 and "×13" in event_rows([last], 1)[0].plain
    assert feed.add("h2", [{**told, "at": 60.0}])


def test_the_watcher_publishes_state_events_and_the_rate_of_writes() -> None:
    first, second = status(), status()
    for row in second["table"]:
        row["seq"] += 10
    answers = iter([first, second])
    store = FakeStore(
        {"status": lambda _: next(answers), "events": {"events": [{"number": 5, "kind": "open"}]}}
    )
    watcher = Watcher(lambda *_, **__: store, ["tcp://x:1"])
    watcher.look()
    watcher.look()
    assert writes_of(first) == 64 * 99
    assert watcher.picture.status == second and watcher.picture.writes_s > 0
    assert ("events", {"after": 5, "limit": 500}) in store.asked


def test_a_cluster_that_stops_answering_keeps_its_last_picture() -> None:
    store = FakeStore({"status": status(), "events": {"events": [], "next": 0}})
    watcher = Watcher(lambda *_, **__: store, ["tcp://x:1"])
    watcher.look()
    store.answers["status"] = Unavailable("gone")
    watcher.look()
    assert watcher.picture.status is not None and watcher.picture.age_s(watcher.picture.at_s + 9) == 9
    assert store.is_closed


@pytest.mark.parametrize(("key", "goes_on"), [("q", False), ("x", True), ("down", True)])
def test_q_ends_the_dashboard(key: str, goes_on: bool) -> None:
    assert Top(lambda *_, **__: FakeStore(), ["tcp://x:1"]).press(key) is goes_on
