"""Membership as a whole, scenario by scenario, every side looked at."""

from __future__ import annotations

import pytest

from agents.effects import (
    Dial,
    Emptied,
    EvictOrdered,
    HangUp,
    HelloSeen,
    InitOrdered,
    InstallView,
    LeaveOrdered,
    LinkCameUp,
    Received,
    RecountNeeded,
    RecoverOrdered,
    Send,
    Ticked,
)
from agents.membership import EDGES, Membership, Settings, Stage
from agents.messages.membership import Heartbeat, Install, Knock, KnockAnswer, Promise, Wish, YouAreDead
from agents.record import Record
from agents.views import Member, Status
from tests.agents.assembly import CHARTER, Assembly, founded, leave


def until(world: Assembly, seconds: float, names: str = "") -> float:
    """Run until these hosts are one settled view; returns how long it took."""
    begun_s = world.now_s
    assert world.run(seconds, lambda: world.settled(names)), world.story()
    return world.now_s - begun_s


# -- birth ---------------------------------------------------------------------


def test_init_makes_one_cluster_of_all_zombies_that_see_each_other() -> None:
    world = founded("abcde")
    (view,) = world.views()
    assert len(view.members) == 5 and view.id == 1
    assert {member.status for member in view.members} == {Status.ACTIVE}
    assert len({world.member(name).tag for name in "abcde"}) == 1


def test_one_host_alone_is_a_cluster_and_the_others_join_it() -> None:
    world = founded("a", spare="bc")
    assert world.held("a")
    world.start("b")
    world.start("c")
    until(world, 2.0, "abc")


def test_a_second_init_is_refused() -> None:
    world = founded("abc")
    world.tell("b", InitOrdered(CHARTER))
    assert "already initialised" in world.said("refused")[-1][2].reason


def test_as_many_zombies_as_expected_found_a_cluster_by_themselves() -> None:
    world = Assembly("abc")
    for name in "ab":
        world.start(name, Settings(expect=3, charter=CHARTER))
    world.run(3.0)
    assert not world.installs
    world.start("c", Settings(expect=3, charter=CHARTER))
    until(world, 2.0)
    assert len(world.views()[0].members) == 3


def test_zombies_that_only_know_one_seed_come_to_see_each_other() -> None:
    world = Assembly("abcd")
    for name in "abcd":
        world.start(name, Settings(expect=4, charter=CHARTER), seeds="a" if name != "a" else "b")
    until(world, 3.0)
    assert len(world.views()[0].members) == 4


def test_two_clusters_born_side_by_side_never_take_each_others_word() -> None:
    world = Assembly("abcd")
    for name in "abcd":
        world.start(name, seeds="b" if name in "ab" else "d")
    world.run(0.5)
    for name in "ac":
        world.tell(name, InitOrdered(CHARTER))
    world.run(1.0)
    for one in "ab":
        for other in "cd":
            world.tell(one, HelloSeen(world.member(other).me, "", 0, "ZOMBIE"))
            world.tell(other, HelloSeen(world.member(one).me, "", 0, "ZOMBIE"))
    world.run(3.0)
    assert world.settled("ab") and world.settled("cd")
    assert world.member("a").tag != world.member("c").tag


# -- joining ---------------------------------------------------------------------


def test_joiners_that_come_together_enter_by_one_view_while_they_are_fewer_than_the_members() -> None:
    world = founded("abc", spare="wxyz")
    for name in "wx":
        world.start(name, seeds="c")
    until(world, 2.0, "abcwx")
    for name in "yz":
        world.start(name, seeds="a")
    until(world, 2.0, "abcwxyz")
    joined = [view for view in world.views() if any(member.entered == view.id for member in view.members)]
    assert [len([m for m in view.members if m.entered == view.id]) for view in joined] == [3, 2, 2]


def test_joiners_that_all_die_on_arrival_never_outnumber_who_is_left() -> None:
    world = founded("abc", spare="uvwxyz")
    for name in "uvwxyz":
        world.start(name)
    world.run(5.0, lambda: any(len(view.members) > 3 for view in world.views()))
    for name in "uvwxyz":
        world.crash(name, silent=True)
    until(world, 8.0, "abc")


def test_a_joiner_is_joining_until_it_has_its_share() -> None:
    world = founded("ab", spare="x")
    world.start("x")
    world.run(5.0, lambda: world.member("x").is_member)
    view = world.member("x").view
    assert view is not None and view.member(world.site("x").id).status is Status.JOINING  # type: ignore[union-attr]
    until(world, 2.0, "abx")


def test_a_joiner_that_dies_meanwhile_is_dropped_by_the_next_view() -> None:
    world = founded("abc", spare="x")
    world.start("x")
    x = world.site("x").id
    world.run(5.0, lambda: any(view.member(x) for view in world.views()))
    world.crash("x", silent=True)
    until(world, 4.0, "abc")


def test_a_name_that_a_live_host_bears_is_refused() -> None:
    world = founded("abc", spare="x")
    world.site("x").name = "a"
    world.start("x")
    world.run(2.0)
    assert not any(len(view.members) > 3 for view in world.views())
    assert "is taken by a live host" in world.said("refused")[-1][2].reason


def test_a_foreign_tag_is_refused() -> None:
    world = founded("ab", spare="x")
    stranger = world.site("x").member(1)
    world.site("a").dialled.add(stranger.id)
    world.tell("a", HelloSeen(stranger, "another", 7, "COMMIT"))
    assert "foreign cluster tag" in world.said("refused")[-1][2].reason
    effects = world.member("a").handle(
        Received(stranger.id, Knock(stranger, "another", 0, "DISCOVERY")), world.now_s
    )
    (answer,) = (effect.message for effect in effects if isinstance(effect, Send))
    assert isinstance(answer, KnockAnswer) and answer.answer == "no"


def test_one_that_believes_in_an_old_view_is_told_that_it_is_dead_and_not_admitted() -> None:
    world = founded("abc", spare="x")
    ghost = world.site("x").member(1)
    machine, now_s = world.member("a"), world.clock(world.site("a"))
    machine.handle(HelloSeen(ghost, machine.tag, 1, "COMMIT"), now_s)
    machine.handle(LinkCameUp(ghost.id, 1), now_s)
    effects = machine.handle(
        Received(ghost.id, Heartbeat(1, 0.0, b"", incarnation=1, tag=machine.tag)), now_s + 1
    )
    assert YouAreDead(1, machine.view) in [effect.message for effect in effects if isinstance(effect, Send)]  # type: ignore[arg-type]


# -- death -----------------------------------------------------------------------


def test_a_killed_process_on_the_same_machine_is_replaced_at_once_and_without_a_lease_wait() -> None:
    world = founded("abc", machines=1)
    world.run(1.0)
    world.crash("a")
    assert until(world, 2.0, "bc") < 0.25
    assert not world.said("lease_wait")
    assert world.views()[-1].dead == ((world.site("a").id, 1),)


def test_a_killed_process_elsewhere_is_dropped_after_a_second_of_silence() -> None:
    world = founded("abc", drift=False)
    world.run(1.0)
    world.crash("a")
    assert 0.85 < until(world, 3.0, "bc") < 1.5


def test_a_host_whose_link_still_stands_is_dropped_after_two() -> None:
    world = founded("abc", drift=False)
    world.run(1.0)
    world.stall("b")
    assert 1.8 < until(world, 4.0, "ac") < 2.6


def test_all_that_die_together_are_dropped_by_one_view() -> None:
    world = founded("abcde")
    world.crash("a")
    world.crash("d")
    until(world, 3.0, "bce")
    assert len(world.views()[-1].dead) == 2 and len(world.views()) == 2


def test_the_undead_drops_everything_and_joins_as_another() -> None:
    world = founded("abc")
    world.stall("b")
    until(world, 4.0, "ac")
    world.resume("b")
    until(world, 3.0, "abc")
    assert world.site("b").drops == 1 and world.member("b").me.incarnation == 2
    assert not world.held("b") or world.settled("abc")


def test_one_that_stalled_itself_accuses_nobody_of_silence() -> None:
    world = founded("ab", drift=False)
    world.stall("a")
    world.run(0.9)
    world.resume("a")
    world.run(0.2)
    assert not [note for note in world.said("election") if "held dead" in note[2].reason]


def test_a_restarted_host_replaces_its_old_incarnation_in_one_view() -> None:
    world = founded("abc")
    world.crash("c")
    world.run(0.05)
    world.start("c")
    assert until(world, 2.0, "abc") < 1.0
    dropping = next(view for view in world.views() if view.dead)
    assert dropping.member(world.site("c").id).incarnation == 2  # type: ignore[union-attr]
    assert not world.said("lease_wait")


def test_a_host_that_flaps_waits_longer_each_time() -> None:
    world = founded("abc")
    waits = []
    for _ in range(4):
        world.crash("c")
        until(world, 4.0, "ab")
        world.start("c")
        waits.append(until(world, 10.0, "abc"))
    assert waits[0] < 1.0 and waits[1] < 1.0 < waits[3]


def test_a_host_that_flapped_stays_behind_one_that_restarted_once() -> None:
    world = founded("abc")
    for _ in range(2):
        world.crash("a")
        until(world, 4.0, "bc")
        world.start("a")
        until(world, 10.0, "abc")
    world.crash("c")
    until(world, 4.0, "ab")
    world.start("c")
    until(world, 10.0, "abc")
    for name in "abc":
        view = world.member(name).view
        assert view is not None and [member.name for member in view.members] == ["b", "c", "a"]
        assert dict(view.flaps)[world.site("a").id] == 2
    assert any("a goes behind" in note.reason for _, _, note in world.said("seniority"))


# -- splits ------------------------------------------------------------------------


def test_abc_and_de_fall_apart_abc_goes_on_de_holds_and_rejoins_empty() -> None:
    world = founded("abcde")
    world.split("abc", "de")
    until(world, 6.0, "abc")
    assert [world.member(name).stage for name in "de"] == [Stage.HOLD, Stage.HOLD]
    assert not world.held("d") and not world.held("e")
    assert world.site("d").drops == 0
    world.heal()
    until(world, 6.0, "abcde")
    assert [world.site(name).drops for name in "abcde"] == [0, 0, 0, 1, 1]


def test_without_a_majority_anywhere_all_hold_and_come_back_as_they_were() -> None:
    world = founded("abcd")
    world.split("ab", "cd")
    world.run(8.0)
    assert {world.member(name).stage for name in "abcd"} == {Stage.HOLD}
    world.heal()
    until(world, 5.0, "abcd")
    assert [world.site(name).drops for name in "abcd"] == [0, 0, 0, 0]


def test_a_broken_link_between_a_and_b_leaves_the_larger_connected_side() -> None:
    world = founded("abc")
    world.block("a", "b")
    until(world, 9.0, "ac")
    assert not world.held("b")
    assert world.views()[-1].dead[0][0] == world.site("b").id


def test_a_link_that_is_broken_one_way_is_a_broken_link() -> None:
    world = founded("abcd")
    world.block("c", "d", both=False)
    until(world, 9.0, "abc")


def test_solitude_ends_the_process_with_its_own_status() -> None:
    world = founded("abc")
    world.site("a").settings = Settings(solitude_limit_s=5.0)
    world.member("a").settings = Settings(solitude_limit_s=5.0)
    world.split("a", "bc")
    world.run(4.0)
    assert world.site("a").status is None
    world.run(6.0)
    assert world.site("a").status == 5
    assert world.settled("bc")


def test_recover_starts_a_new_generation_and_the_other_side_is_undead_on_contact() -> None:
    world = founded("abcde")
    world.forks = True
    world.split("ab", "cde")
    world.run(4.0)
    world.tell("a", RecoverOrdered())
    until(world, 4.0, "ab")
    assert world.views()[-1].id >> 32 == 1
    world.heal()
    until(world, 8.0, "abcde")
    assert [world.site(name).drops for name in "abcde"] == [0, 0, 1, 1, 1]


def test_recover_is_refused_where_there_is_a_quorum() -> None:
    world = founded("abc")
    world.tell("a", RecoverOrdered())
    assert "nothing to recover" in world.said("refused")[-1][2].reason


def test_the_last_one_left_is_recovered_by_force_even_after_its_restart() -> None:
    world = founded("abc")
    for name in "abc":
        world.crash(name)
    world.start("b")
    world.run(3.0)
    assert world.member("b").stage is Stage.DISCOVERY
    world.forks = True
    world.tell("b", RecoverOrdered())
    until(world, 2.0, "b")


# -- restarts ------------------------------------------------------------------------


def test_a_whole_cluster_that_restarts_goes_on_from_its_newest_view() -> None:
    world = founded("abc")
    tag = world.member("a").tag
    for name in "abc":
        world.crash(name)
    world.start("a")
    world.run(3.0)
    assert world.member("a").stage is Stage.DISCOVERY, "one of three is no majority"
    world.start("c")
    until(world, 4.0, "ac")
    world.start("b")
    until(world, 4.0, "abc")
    assert world.member("b").tag == tag and world.views()[-1].id > 1


def test_one_with_a_record_newer_than_all_others_brings_them_up_to_date() -> None:
    world = founded("abc")
    world.crash_at = lambda site, effect: isinstance(effect, Send) and isinstance(effect.message, Install)
    world.tell("b", RecountNeeded("test"))
    world.run(0.5)
    world.crash_at = lambda site, effect: False
    assert len(world.views()) == 2, "one host alone installed the second view, and died"
    for name in "abc":
        if world.site(name).machine is not None:
            world.crash(name)
    world.run(0.1)
    for name in "abc":
        world.start(name)
    until(world, 5.0, "abc")
    assert world.views()[2].id == 3


def test_a_proposal_that_was_accepted_and_never_installed_is_taken_up_by_others() -> None:
    world = founded("abc")
    world.tell("b", RecountNeeded("test"))
    world.crash_at = lambda site, effect: site.name == "a" and type(effect).__name__ == "InstallView"
    world.run(1.0)
    assert world.site("a").machine is None
    until(world, 6.0, "bc")
    second = next(view for view in world.views() if view.id == 2)
    assert len(second.members) == 3 and not second.dead


# -- leaving ---------------------------------------------------------------------------


def test_a_leaver_leaves_cleanly_without_a_lease_wait_and_forgets_its_cluster() -> None:
    world = founded("abc")
    leave(world, "c")
    until(world, 3.0, "ab")
    world.run(1.0, lambda: world.site("c").status is not None)
    c = world.site("c")
    assert c.status == 0 and c.drops == 0
    assert c.disk == Record(c.id, 1)
    assert [view.left for view in world.views() if view.left] == [((c.id, 1),)]
    assert not any(view.dead for view in world.views()) and not world.said("lease_wait")


def test_several_leave_at_once_the_most_senior_too() -> None:
    world = founded("abcde")
    for name in "abe":
        leave(world, name)
    until(world, 4.0, "cd")
    world.run(1.0)
    assert [world.site(name).status for name in "abe"] == [0, 0, 0]


def test_a_leaver_goes_on_answering_until_a_majority_without_it_has_installed() -> None:
    world = founded("abc")
    gone = world.site("c").id
    world.crash_at = lambda site, effect: (  # before it can say that it has installed it
        site.name == "b" and type(effect) is InstallView and gone not in effect.view.ids
    )
    leave(world, "c")
    world.run(3.0)
    assert world.site("b").machine is None
    assert world.site("c").status is None, "a alone is no majority of {a, b}"
    world.crash_at = lambda site, effect: False
    world.start("b")
    until(world, 6.0, "ab") if world.site("c").status is not None else world.run(6.0)
    assert world.site("c").status == 0
    assert world.settled("ab")


def test_a_leaver_that_nobody_can_confirm_gives_up_and_says_so() -> None:
    world = founded("abc")
    world.member("c").settings = Settings(left_limit_s=2.0)
    leave(world, "c")
    world.run(3.0, lambda: world.member("c").gone_for_good)
    for name in "ab":
        world.block(name, "c")
    if not world.member("c").gone_for_good or world.site("c").status == 0:
        pytest.skip("it was confirmed before the split")
    world.run(4.0)
    assert world.site("c").status == 1


def test_the_last_host_cannot_leave() -> None:
    world = founded("ab")
    leave(world, "a")
    leave(world, "b")
    world.run(3.0)
    assert any("the last host can't leave" in note[2].reason for note in world.said("refused"))
    assert world.site("a").status is None and world.site("b").status == 0


def test_one_that_restarted_as_an_acceptor_enters_again_before_it_leaves() -> None:
    world = founded("abc")
    for name in "abc":
        world.crash(name)
    world.start("a")
    world.run(0.5)
    leave(world, "a")
    assert world.site("a").status is None, "b, alone, would never be a majority"
    world.start("b")
    until(world, 6.0, "b")
    world.run(1.0)
    assert world.site("a").status == 0


def test_a_zombie_leaves_by_ending() -> None:
    world = Assembly("a")
    world.start("a")
    leave(world, "a")
    assert world.site("a").status == 0


def test_a_leaver_claims_no_quorum_once_it_is_empty() -> None:
    world = founded("abc")
    world.sharing = False
    world.tell("c", LeaveOrdered())
    machine = world.member("c")
    assert world.run(2.0, lambda: machine.me.status is Status.LEAVING and world.held("c"))
    world.tell("c", Emptied())
    assert not world.held("c")
    for _ in range(3):
        world.run(0.1)
        assert not world.held("c")


def test_evicted_though_heard_by_all() -> None:
    world = founded("abc")
    world.tell("a", EvictOrdered(world.site("c").id, "broken disk"))
    world.run(3.0)
    assert any(view.dead == ((world.site("c").id, 1),) for view in world.views())
    assert world.site("c").drops == 1
    until(world, 3.0, "abc")


def test_a_recount_is_one_view_of_the_same_members() -> None:
    world = founded("abc")
    for name in "abc":
        world.tell(name, RecountNeeded("test"))
    world.run(1.0)
    assert [len(view.members) for view in world.views()] == [3, 3]


# -- the machine itself ------------------------------------------------------------------


def test_a_wish_to_be_dropped_or_active_counts_from_its_own_host_only() -> None:
    world = founded("abc")
    machine = world.member("a")
    b, c = world.site("b").id, world.site("c").id
    machine.handle(Received(b, Wish("left", c, 1)), world.clock(world.site("a")))
    assert machine.known is not None
    assert machine.wishes.open(machine.known, world.clock(world.site("a")) + 1) == []


def test_a_member_hears_itself_first() -> None:
    world = founded("abc")
    site = world.site("b")
    assert world.member("b").heard(world.clock(site))[0] == site.id


def test_links_to_strangers_that_fall_silent_are_hung_up() -> None:
    me, stranger = Member("a", 1, "a", "", ""), Member("x", 1, "x", "", "")
    machine = Membership(me, Settings(contact_s=2.0), None, 0.0)
    assert Dial(stranger) in machine.handle(HelloSeen(stranger, "", 0, "ZOMBIE"), 0.0)
    effects = [effect for tenth in range(40) for effect in machine.handle(Ticked(), tenth / 10)]
    assert HangUp("x") in effects


def test_a_stage_changes_only_along_the_table() -> None:
    machine = Membership(Member("a", 1, "a", "", ""), Settings(), None, 0.0)
    with pytest.raises(AssertionError, match="no edge ZOMBIE -> VERIFICATION"):
        machine.enter(Stage.VERIFICATION, "test")
    assert set(EDGES) == set(Stage)


def test_a_promise_tells_whom_its_giver_hears() -> None:
    world = founded("abc", drift=False)
    world.crash("a")
    heard: list[tuple[str, ...]] = []

    def note(site: object, effect: object) -> bool:
        if isinstance(effect, Send) and isinstance(effect.message, Promise):
            heard.append(effect.message.hears)
        return False

    world.crash_at = note
    until(world, 3.0, "bc")
    assert heard and all(world.site("a").id not in hears for hears in heard)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="expect"):
        Settings(expect=-1)
    with pytest.raises(ValueError, match="solitude"):
        Settings(solitude_limit_s=0.0)
