"""The failure detector, in the situations it must tell apart."""

from __future__ import annotations

from agents.detector import BACK_TIMES, BROKEN_S, Detector, Verdict
from agents.views import Charter, Member, View

VIEW = View(
    "t",
    1,
    Charter(heartbeat_s=0.1, suspect_s=1.0),
    tuple(Member(host, 1, host, "", "", entered=1) for host in "abc"),
)

ALL = b""


def watching(now_s: float = 0.0, *, grace: bool = True) -> Detector:
    detector = Detector("a")
    detector.watch(VIEW, frozenset("bc"), now_s, grace=grace)
    return detector


def test_a_link_lost_is_a_suspicion_and_no_death() -> None:
    detector = watching()
    assert detector.verdict("b", 0.1) is Verdict.HEARD
    detector.link_down("b")
    assert detector.suspected("b", 0.1)
    assert detector.verdict("b", 0.9) is Verdict.SUSPECT
    assert detector.verdict("b", 1.0) is Verdict.DEAD


def test_a_silent_host_whose_link_stands_gets_twice_the_patience() -> None:
    detector = watching()
    assert detector.verdict("b", 1.9) is Verdict.SUSPECT
    assert detector.hears("b", 1.9)
    assert detector.verdict("b", 2.0) is Verdict.DEAD
    assert not detector.hears("b", 2.0)


def test_a_host_whose_process_is_seen_to_be_stopped_gets_no_patience_of_a_busy_one() -> None:
    detector = watching()
    detector.stopped("b", 1)
    assert detector.verdict("b", 0.9) is Verdict.SUSPECT
    assert detector.verdict("b", 1.0) is Verdict.DEAD
    detector.heard_from("b", 1, 1.0)
    assert detector.verdict("b", 2.9) is Verdict.SUSPECT, "it went on"
    detector.stopped("b", 7)
    assert detector.verdict("b", 2.9) is Verdict.SUSPECT, "that was another life of it"


def test_a_host_that_was_late_itself_doubts_itself_first() -> None:
    detector = watching()
    detector.link_down("b")
    detector.was_late(0.8, 1.0)
    assert detector.verdict("b", 1.1) is Verdict.SUSPECT
    assert detector.verdict("b", 1.7) is Verdict.DEAD
    assert detector.doubt_s(1.0 + 4 * 0.8) == 0.0


def test_a_host_that_somebody_else_hears_is_not_dead_but_a_link_is_broken_after_long() -> None:
    detector = watching()
    detector.link_down("b")
    for tenth in range(40):
        detector.heard_from("c", 1, tenth / 10)
        detector.hearsay("c", ALL, tenth / 10)
    assert detector.verdict("b", BROKEN_S - 0.1) is Verdict.SUSPECT
    assert detector.verdict("b", BROKEN_S) is Verdict.BROKEN


def test_stale_hearsay_is_no_hearsay() -> None:
    detector = watching()
    detector.link_down("b")
    detector.hearsay("c", VIEW.misses(("b",)), 0.0)
    assert detector.verdict("b", 1.1) is Verdict.DEAD


def test_an_attested_death_needs_no_silence() -> None:
    detector = watching()
    assert detector.attest("b", 1)
    assert not detector.attest("b", 1)
    assert detector.verdict("b", 0.0) is Verdict.DEAD
    assert detector.attested() == {"b"}
    assert detector.heard(0.0) == ("c",)


def test_the_death_of_an_earlier_incarnation_says_nothing_of_the_listed_one() -> None:
    assert not watching().attest("b", 0)


def test_a_word_of_another_incarnation_is_not_heard() -> None:
    detector = watching()
    detector.heard_from("b", 2, 1.9)
    assert detector.verdict("b", 2.0) is Verdict.DEAD


def test_an_old_silence_goes_on_counting_in_the_next_view() -> None:
    detector = watching()
    detector.link_down("b")
    detector.watch(VIEW, frozenset("c"), 0.9, grace=True)
    assert detector.verdict("b", 1.0) is Verdict.DEAD


def test_after_a_restart_nobody_is_heard_until_he_speaks() -> None:
    detector = watching(grace=False)
    assert detector.heard(0.0) == ()
    detector.heard_from("b", 1, 0.1)
    assert detector.heard(0.1) == ("b",)


def test_a_split_that_has_just_healed_breaks_no_link() -> None:
    """{a} | {b, c}: c is back first, and hears b all the time; b was silent for long, but so was c."""
    detector = watching()
    detector.link_down("b")
    detector.link_down("c")
    healed_s = BROKEN_S + 2.0
    for tenth in range(29):
        now_s = healed_s + tenth / 10
        detector.heard_from("c", 1, now_s)
        detector.hearsay("c", ALL, now_s)
        assert detector.verdict("b", now_s) is Verdict.SUSPECT
    detector.hearsay("c", ALL, healed_s + BROKEN_S)
    assert detector.verdict("b", healed_s + BROKEN_S) is Verdict.BROKEN


def test_who_was_alone_gives_the_others_time_to_be_back() -> None:
    """{a} | {b} | {c}: with c a majority is back; b is silent for long, but only a cut was the reason."""
    detector = watching()
    detector.link_down("b")
    detector.note_alone(True, 4.0)
    assert detector.verdict("b", 4.0) is Verdict.DEAD
    detector.heard_from("c", 1, 5.0)
    detector.note_alone(False, 5.0)
    assert detector.verdict("b", 5.0) is Verdict.SUSPECT
    assert not detector.hears("b", 5.0), "it is not heard, and counts for no majority"
    assert detector.verdict("b", 5.0 + BACK_TIMES * 1.0) is Verdict.DEAD


# -- what heartbeats say ------------------------------------------------------------


def test_whom_a_heartbeat_misses_is_said_by_place_and_nothing_is_said_if_it_hears_all() -> None:
    assert VIEW.misses(("a", "b", "c")) == b"" and VIEW.all_but(b"") == frozenset("abc")
    assert VIEW.misses(("c", "a")) == b"\x02" and VIEW.all_but(b"\x02") == frozenset("ac")
    many = View("t", 1, Charter(), tuple(Member(f"{n:x}", 1, "", "", "") for n in range(1000)))
    heard = tuple(host for place, host in enumerate(many.ids) if place % 3)
    said = many.misses(heard)
    assert len(said) == 125 and many.all_but(said) == frozenset(heard)


def test_a_word_about_places_that_the_view_does_not_have_is_no_word() -> None:
    assert VIEW.all_but(b"\x08") is None and VIEW.all_but(b"\x00\x01") is None
    detector = watching()
    detector.hearsay("c", b"\xff" * 2048, 0.1)
    assert detector.said(0.1) == {} and not detector.is_deaf("c", 0.1)


def test_who_is_vouched_for_all_along_is_so_from_the_moment_it_is_doubted() -> None:
    """Nobody counts who hears b while a hears b, too; c goes on saying what it said before."""
    detector = watching()
    for tenth in range(80):
        now_s = tenth / 10
        detector.heard_from("c", 1, now_s)
        detector.hearsay("c", ALL, now_s)
        if tenth <= 40:
            detector.heard_from("b", 1, now_s)
            assert detector.is_calm(now_s)
        if tenth == 40:
            detector.link_down("b")
            assert not detector.is_calm(now_s)
        expected = Verdict.HEARD if tenth < 40 else Verdict.SUSPECT if tenth < 70 else Verdict.BROKEN
        assert detector.verdict("b", now_s) is expected, now_s


def test_one_silent_member_costs_no_look_at_each_of_the_others() -> None:
    members = tuple(Member(f"{n}", 1, "", "", "") for n in range(100))
    detector = Detector("0")
    view = View("t", 1, Charter(), members)
    detector.watch(view, frozenset(view.ids[1:]), 0.0, grace=True)
    looks = 0
    look = detector._look

    def counted(now_s: float) -> None:
        nonlocal looks
        looks += 1
        look(now_s)

    detector._look = counted  # type: ignore[method-assign]
    detector.link_down("1")
    for beat in range(20):
        for host in view.ids[2:]:
            detector.heard_from(host, 1, beat / 10)
            detector.hearsay(host, ALL, beat / 10)
    assert looks <= 6 and detector.verdict("1", 2.0) is Verdict.SUSPECT
