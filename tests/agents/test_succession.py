"""Succession: who stays, who is dropped and how, who enters."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.messages.membership import Wish
from agents.succession import GONE_MAX, Evidence, connected, largest_connected, remembered, successor, too_old
from agents.views import Charter, Member, Status, View
from agents.wishes import done


def member(host: str, incarnation: int = 1, status: Status = Status.ACTIVE) -> Member:
    return Member(host, incarnation, f"n{host}", "", "", status=status, entered=1)


def view(hosts: str) -> View:
    return View("t", 5, Charter(), tuple(member(host) for host in hosts))


def evidence(promises: dict[str, str], **more: object) -> Evidence:
    return Evidence({host: frozenset(hears) for host, hears in promises.items()}, **more)  # type: ignore[arg-type]


def test_nothing_changes_when_all_are_heard() -> None:
    assert successor(view("abc"), evidence({"a": "abc", "b": "abc"})).view is None


def test_one_that_no_promising_acceptor_hears_is_dropped_as_dead() -> None:
    after = successor(view("abc"), evidence({"a": "ab", "b": "ab"})).view
    assert after is not None and after.ids == ("a", "b")
    assert (after.dead, after.left, after.gone) == ((("c", 1),), (), (("c", 1),))


def test_one_that_any_promising_acceptor_hears_stays() -> None:
    assert successor(view("abc"), evidence({"a": "ab", "b": "abc"})).view is None


def test_one_whose_death_is_attested_goes_though_it_was_heard() -> None:
    plan = successor(view("abc"), evidence({"a": "abc", "b": "abc"}, attested=frozenset("c")))
    assert plan.view is not None and plan.view.dead == (("c", 1),)


def test_a_leaver_that_is_empty_is_dropped_as_left_and_one_that_is_not_leaving_is_not() -> None:
    wishes = (Wish("left", "b", 1), Wish("left", "c", 1))
    before = View("t", 5, Charter(), (member("a"), member("b", 1, Status.LEAVING), member("c")))
    after = successor(before, evidence(dict.fromkeys("abc", "abc"), wishes=wishes)).view
    assert after is not None and after.left == (("b", 1),) and after.dead == () and after.ids == ("a", "c")


def test_statuses_follow_wishes_and_leaving_is_stronger() -> None:
    before = View(
        "t", 5, Charter(), (member("a"), member("b", 1, Status.JOINING), member("c", 1, Status.LEAVING))
    )
    wishes = (Wish("active", "b", 1), Wish("active", "c", 1), Wish("leave", "a", 1))
    after = successor(before, evidence({"a": "abc", "b": "abc"}, wishes=wishes)).view
    assert after is not None
    assert [member.status for member in after.members] == [Status.LEAVING, Status.ACTIVE, Status.LEAVING]


def test_a_wish_about_another_incarnation_changes_nothing() -> None:
    wishes = (Wish("evict", "b", 2), Wish("dead", "b", 7), Wish("leave", "b", 0))
    assert successor(view("ab"), evidence({"a": "ab", "b": "ab"}, wishes=wishes)).view is None


def test_a_recount_is_a_new_view_of_the_same_members_once() -> None:
    wish = Wish("recount", "a", 1, view=5)
    after = successor(view("ab"), evidence({"a": "ab", "b": "ab"}, wishes=(wish,))).view
    assert after is not None and after.members == view("ab").members and after.id == 6
    assert successor(after, evidence({"a": "ab"}, wishes=(wish,))).view is None


def test_freezing_and_thawing_change_a_view_once_and_an_order_that_was_overtaken_changes_none() -> None:
    both = dict.fromkeys("ab", "ab")
    freeze, thaw = Wish("freeze", "a", 1, count=1), Wish("thaw", "b", 1, count=2)
    frozen = successor(view("ab"), evidence(both, wishes=(freeze,))).view
    assert frozen is not None and frozen.is_frozen and frozen.members == view("ab").members
    assert successor(frozen, evidence(both, wishes=(freeze,))).view is None
    thawed = successor(frozen, evidence(both, wishes=(freeze, thaw))).view
    assert thawed is not None and not thawed.is_frozen and thawed.freezes == 2
    assert successor(thawed, evidence(both, wishes=(freeze,))).view is None, "it is long past"
    assert done(freeze, thawed) and done(freeze, frozen) and not done(thaw, frozen)
    smaller = successor(frozen, evidence({"a": "a"}, attested=frozenset("b"))).view
    assert smaller is not None and smaller.is_frozen, "who dies takes nothing of it along"


def test_joiners_enter_together_in_order_and_last() -> None:
    joiners = (member("y"), member("x"))
    after = successor(view("abc"), evidence(dict.fromkeys("abc", "abc"), joiners=joiners)).view
    assert after is not None and after.ids == ("a", "b", "c", "x", "y")
    assert {after.member(host).status for host in "xy"} == {Status.JOINING}  # type: ignore[union-attr]
    assert after.admitted_here("x") and not after.admitted_here("a")


@pytest.mark.parametrize(
    ("members", "promised", "admitted"),
    [
        ("a", "a", 1),
        ("ab", "ab", 1),
        ("ab", "a", 0),
        ("abc", "abc", 2),
        ("abc", "ab", 0),
        ("abcde", "abcde", 4),
    ],
)
def test_no_more_newcomers_than_leave_who_promised_a_majority(
    members: str, promised: str, admitted: int
) -> None:
    newcomers = tuple(member(host) for host in "vwxyz")
    after = successor(view(members), evidence(dict.fromkeys(promised, members), joiners=newcomers)).view
    found = 0 if after is None else len(after.ids) - len(members)
    assert found == admitted
    assert after is None or len(members) == 1 or len(promised) >= after.majority


def test_those_that_come_back_are_no_newcomers() -> None:
    back = tuple(member(host, 2) for host in "bc")
    promises = {"a": "a", "b": "a", "c": "a"}
    after = successor(
        view("abc"), evidence(promises, joiners=(*back, member("x"), member("y"), member("z")))
    ).view
    assert after is not None and after.ids == ("a", "b", "c", "x", "y")


def test_a_joiner_that_does_not_hear_all_members_stays_outside() -> None:
    promises = dict.fromkeys("abc", "abc")
    hears = {"x": frozenset("ab"), "y": frozenset("abc")}
    after = successor(view("abc"), evidence(promises, joiners=(member("x"), member("y")), hears=hears)).view
    assert after is not None and after.ids == ("a", "b", "c", "y")
    without_c = evidence(dict.fromkeys("ab", "ab"), joiners=(member("x"),), hears=hears)
    after = successor(view("abc"), without_c).view
    assert after is not None and after.ids == ("a", "b", "x"), "whom the view drops nobody needs to hear"


def test_members_that_flap_are_listed_last_and_the_order_alone_makes_no_view() -> None:
    promises = dict.fromkeys("abc", "abc")
    flaps = {"a": 3, "b": 1}
    assert successor(view("abc"), evidence(promises, flaps=flaps)).view is None
    after = successor(view("abc"), evidence(promises, flaps=flaps, joiners=(member("x"),))).view
    assert after is not None and after.ids == ("b", "c", "x", "a")
    assert after.flaps == (("a", 3), ("b", 1))
    again = successor(after, evidence(dict.fromkeys("abcx", "abcx"))).view
    assert again is None, "what is forgotten is no reason for a view"


def test_a_later_incarnation_enters_in_the_view_that_drops_the_old_one() -> None:
    promises = {"a": "ab", "b": "a"}
    plan = successor(view("ab"), evidence(promises, attested=frozenset("b"), joiners=(member("b", 2),)))
    assert plan.view is not None and plan.view.lists("b", 2) and plan.view.dead == (("b", 1),)


def test_a_dropped_incarnation_a_taken_name_and_a_twin_don_t_enter() -> None:
    before = View("t", 5, Charter(), (member("a"),), gone=(("x", 3),))
    twin = Member("z", 1, "na", "", "")
    joiners = (member("x", 3), member("a", 2), twin)
    assert successor(before, evidence({"a": "a"}, joiners=joiners)).view is None
    assert too_old(before, "x", 3) and not too_old(before, "x", 4)


def test_who_promised_is_a_majority_of_the_next_view_or_more_promises_are_waited_for() -> None:
    """C, silent, may be dead with its disk: without A, which restarts, B could never drop it."""
    restarts = {"promises": {"a": "b", "b": "bc"}, "attested": frozenset("a")}
    plan = successor(view("abc"), evidence(**restarts))  # type: ignore[arg-type]
    assert plan.view is None and plan.waits
    plan = successor(view("abc"), evidence(**restarts, joiners=(member("a", 2),)))  # type: ignore[arg-type]
    assert plan.view is not None and sorted(plan.view.ids) == ["a", "b", "c"]


def test_no_view_is_ever_empty() -> None:
    before = View("t", 5, Charter(), (member("a", 1, Status.LEAVING),))
    assert successor(before, evidence({"a": "a"}, wishes=(Wish("left", "a", 1),))).view is None


def test_when_all_restarted_those_that_enter_are_active() -> None:
    after = successor(view("ab"), evidence({"a": "", "b": ""}, joiners=(member("a", 2), member("b", 2)))).view
    assert after is not None and {member.status for member in after.members} == {Status.ACTIVE}


@pytest.mark.parametrize(
    ("hosts", "missing", "kept"),
    [
        ("abc", "ab", "ac"),
        ("abcde", "ab", "acde"),
        ("abcde", "ab cd", "ace"),
        ("abcd", "ac ad bc bd", None),
        ("abcde", "ad ae bd be cd ce", "abc"),
        ("abcde", "ab ac ad ae", "bcde"),
        ("abcd", "ab bc cd da", None),
    ],
    ids=lambda value: str(value),
)
def test_the_largest_fully_connected_majority_stays(hosts: str, missing: str, kept: str | None) -> None:
    """`kept` None: no majority is fully connected, so nobody is left out."""
    broken = {frozenset(pair) for pair in missing.split()}
    promises = {a: "".join(b for b in hosts if frozenset((a, b)) not in broken) for a in hosts}
    after = successor(view(hosts), evidence(promises, broken=True))
    assert (after.view.ids if after.view else None) == (tuple(kept) if kept else None)


def test_one_that_hears_and_is_not_heard_is_not_connected() -> None:
    plan = successor(view("abc"), evidence({"a": "abc", "b": "bc", "c": "abc"}, broken=True))
    assert plan.view is not None and plan.view.ids == ("a", "c")
    assert plan.left_out == {"b"}


@settings(deadline=None)  # a busy machine is no fault of the search
@given(st.integers(1, 7), st.data())
def test_the_search_finds_what_trying_all_sets_finds(size: int, data: st.DataObject) -> None:
    hosts = "abcdefg"[:size]
    pairs = list(itertools.combinations(hosts, 2))
    broken = data.draw(st.sets(st.sampled_from(pairs))) if pairs else set()

    sets = [
        kept
        for count in range(size, 0, -1)
        for kept in itertools.combinations(hosts, count)
        if broken.isdisjoint(itertools.combinations(kept, 2))
    ]
    assert largest_connected(hosts, sorted(broken)) == sets[0]


def test_the_memory_of_drops_is_bounded_and_keeps_the_last() -> None:
    gone: tuple[tuple[str, int], ...] = ()
    for number in range(100):
        gone = remembered(gone, ((f"h{number % 80}", number),))
    assert len(gone) == GONE_MAX and gone[-1] == ("h19", 99)
    assert dict(gone)["h5"] == 85


def test_a_ring_of_cuts_connects_no_majority_and_one_link_more_does() -> None:
    """a-b-c-d-e-a are all cut: each hears the two opposite; with a-b mended {a, b, d} all hear each other."""
    words = {"a": {"c", "d"}, "b": {"d", "e"}, "c": {"a", "e"}, "d": {"a", "b"}, "e": {"b", "c"}}
    assert len(connected("abcde", words)) == 2
    words["a"].add("b")
    words["b"].add("a")
    assert connected("abcde", words) == ("a", "b", "d")
    assert connected("ab", {}) == ("a", "b"), "who said nothing is asked no question"
