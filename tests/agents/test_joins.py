"""Who asks whom to be let in: every pair of states, what is said, and what comes of it.

The joiner is j. It is empty, or bears the tag of the one that it asks (one
that bears another: test_strangers.py); that one is a zombie, serves, holds, looks for its cluster
itself, or leaves; and the joiner's view is older than its view, the same, or newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from agents.effects import Emptied, InitOrdered, LeaveOrdered, RecoverOrdered
from agents.membership import Settings, Stage
from agents.views import Status, generation_of
from tests.agents.assembly import CHARTER, Assembly, founded

NO_QUORUM = "not yet: no quorum there now: its missing members have to come back"
LOOKING = "not yet: it is itself looking for its cluster"
COME_IN = "come in: by the next view"
LEAVES = "not yet: this host leaves: ask another"


@dataclass
class Meeting:
    """A joiner that is about to ask.

    Attributes:
        asked: Whom.
        told: What it must be told by it before the obstacle goes; "" = it is enough that it gets in.
        mend: Takes the obstacle away.
        members: Who must be the one settled view in the end.
        start: Whether the joiner is still to be started.
    """

    world: Assembly
    asked: str
    told: str
    mend: Callable[[], object]
    members: str
    start: bool = True


def nothing() -> None:
    """There is no obstacle."""


def start_all(world: Assembly, names: str) -> Callable[[], object]:
    """Return what starts hosts again."""

    def start() -> None:
        for name in names:
            world.start(name)

    return start


def wait(world: Assembly, names: str) -> None:
    """Run until these hosts are a settled view."""
    assert world.run(8.0, lambda: world.settled(names)), world.story()


def crash(world: Assembly, names: str) -> None:
    """Kill hosts at once."""
    for name in names:
        world.crash(name)


def without_j(names: str = "abc") -> Assembly:
    """Return a world that went on without j, whose view is older."""
    world = founded(names + "j")
    world.crash("j")
    wait(world, names)
    return world


def went_on_without(asked: str, others: str) -> Assembly:
    """Return a world that went on without the asked one, and then crashed: j's view is newer."""
    world = founded("abcj")
    world.stall(asked)
    wait(world, others + "j")
    crash(world, others + "j")
    world.run(0.05)
    world.resume(asked)
    return world


# -- an empty joiner -----------------------------------------------------------------


def empty_asks_zombie() -> Meeting:
    world = Assembly("aj")
    world.start("a")
    told = "not yet: no cluster here yet: waiting for init"
    return Meeting(world, "a", told, lambda: world.tell("a", InitOrdered(CHARTER)), "aj")


def empty_asks_quorum() -> Meeting:
    world = founded("abc", spare="j")
    return Meeting(world, "c", COME_IN, nothing, "abcj")


def empty_asks_holding() -> Meeting:
    world = founded("abc", spare="j")
    crash(world, "bc")
    world.run(3.0, lambda: world.member("a").stage is Stage.HOLD)
    return Meeting(world, "a", NO_QUORUM, start_all(world, "bc"), "abcj")


def empty_asks_joining() -> Meeting:
    world = founded("abc", spare="dj")
    crash(world, "bc")
    world.start("d", seeds="a")
    world.run(3.0)
    assert world.member("d").stage is Stage.DISCOVERY
    return Meeting(world, "d", LOOKING, start_all(world, "bc"), "abcdj")


def empty_asks_new_member() -> Meeting:
    world = founded("abc", spare="dj")
    world.sharing = False
    world.start("d", seeds="a")
    assert world.run(3.0, lambda: world.member("d").me.status is Status.JOINING and world.held("d"))
    world.sharing = True
    world.keep_sharing()
    return Meeting(world, "d", COME_IN, nothing, "abcdj")


def empty_asks_leaving() -> Meeting:
    world = founded("abc", spare="j")
    world.sharing = False
    world.tell("c", LeaveOrdered())
    assert world.run(2.0, lambda: world.member("c").me.status is Status.LEAVING)

    def empty() -> None:
        world.tell("c", Emptied())
        world.sharing = True
        world.keep_sharing()

    return Meeting(world, "c", COME_IN, empty, "abj")


def empty_asks_gone() -> Meeting:
    """The one asked is empty, and waits to be dropped: nobody else lets it go for a while."""
    world = founded("abc", spare="j")
    world.sharing = False
    world.tell("c", LeaveOrdered())
    assert world.run(2.0, lambda: world.member("c").me.status is Status.LEAVING)
    world.stall("a")
    world.stall("b")
    world.tell("c", Emptied())

    def resume() -> None:
        world.resume("a")
        world.resume("b")
        world.sharing = True
        world.keep_sharing()

    return Meeting(world, "c", LEAVES, resume, "abj")


# -- one that bears the same tag -------------------------------------------------------


def same_asks_zombie() -> Meeting:
    world = founded("abj", spare="z")
    crash(world, "abj")
    world.start("z", seeds="j")
    return Meeting(world, "z", LOOKING, start_all(world, "ab"), "abjz")


def same_asks_quorum_older() -> Meeting:
    return Meeting(without_j(), "a", COME_IN, nothing, "abcj")


def same_asks_quorum_equal() -> Meeting:
    world = founded("abcj")
    world.crash("j")
    return Meeting(world, "a", COME_IN, nothing, "abcj")


def same_asks_quorum_newer() -> Meeting:
    """Two of one tag serve at a time only after an operator's force: the higher generation is right."""
    world = founded("abcj")
    world.forks = True
    world.split("abc", "j")
    wait(world, "abc")
    world.run(3.0, lambda: world.member("j").stage is Stage.HOLD)
    world.tell("j", RecoverOrdered())
    wait(world, "j")
    return Meeting(world, "a", "", world.heal, "abcj", start=False)


def same_asks_holding_older() -> Meeting:
    world = without_j()
    crash(world, "bc")
    world.run(3.0, lambda: world.member("a").stage is Stage.HOLD)
    return Meeting(world, "a", NO_QUORUM, start_all(world, "bc"), "abcj")


def same_asks_holding_equal() -> Meeting:
    world = founded("abcj")
    crash(world, "bcj")
    world.run(3.0, lambda: world.member("a").stage is Stage.HOLD)
    return Meeting(world, "a", NO_QUORUM, start_all(world, "bc"), "abcj")


def same_asks_holding_newer() -> Meeting:
    world = went_on_without("a", "bc")
    world.run(3.0, lambda: world.member("a").stage is Stage.HOLD)
    return Meeting(world, "a", LOOKING, start_all(world, "bc"), "abcj")


def same_asks_joining_older() -> Meeting:
    world = without_j()
    crash(world, "abc")
    world.start("b")
    return Meeting(world, "b", LOOKING, start_all(world, "ac"), "abcj")


def same_asks_joining_equal() -> Meeting:
    world = founded("abcj")
    crash(world, "abcj")
    world.start("b")
    return Meeting(world, "b", LOOKING, start_all(world, "ac"), "abcj")


def same_asks_joining_newer() -> Meeting:
    world = went_on_without("b", "ac")
    world.crash("b")
    world.start("b")
    return Meeting(world, "b", LOOKING, start_all(world, "ac"), "abcj")


def _leaving(world: Assembly, name: str) -> Callable[[], object]:
    """Have a host be LEAVING, with all that it carries, until what is returned is called."""
    world.sharing = False
    world.tell(name, LeaveOrdered())
    assert world.run(2.0, lambda: world.member(name).me.status is Status.LEAVING), world.story()

    def empty() -> None:
        world.tell(name, Emptied())
        world.sharing = True
        world.keep_sharing()

    return empty


def same_asks_leaving_older() -> Meeting:
    world = without_j()
    return Meeting(world, "c", COME_IN, _leaving(world, "c"), "abj")


def same_asks_leaving_equal() -> Meeting:
    world = founded("abcj")
    empty = _leaving(world, "c")
    world.crash("j")
    return Meeting(world, "c", COME_IN, empty, "abj")


def same_asks_leaving_newer() -> Meeting:
    """A leaver that was given up meanwhile learns it from the joiner, and ends."""
    world = founded("abcj")
    _leaving(world, "c")
    world.stall("c")
    world.sharing = True
    world.keep_sharing()
    wait(world, "abj")
    crash(world, "abj")
    world.run(0.05)
    world.resume("c")
    return Meeting(world, "c", "", start_all(world, "ab"), "abj")


ROWS: dict[str, Callable[[], Meeting]] = {
    "003-9,20:empty-asks-zombie": empty_asks_zombie,
    "003-10,19:empty-asks-initialised": empty_asks_quorum,
    "003-10:empty-asks-holding": empty_asks_holding,
    "003-21:empty-asks-joining": empty_asks_joining,
    "003-21:empty-asks-member-that-joins": empty_asks_new_member,
    "003-10:empty-asks-leaving": empty_asks_leaving,
    "003-21:empty-asks-one-that-waits-to-be-dropped": empty_asks_gone,
    "003-11,24:initialised-asks-zombie": same_asks_zombie,
    "003-12,22:initialised-asks-initialised:older": same_asks_quorum_older,
    "003-12:initialised-asks-initialised:equal": same_asks_quorum_equal,
    "003-12,23:initialised-asks-initialised:newer": same_asks_quorum_newer,
    "003-22:initialised-asks-holding:older": same_asks_holding_older,
    "003-12:initialised-asks-holding:equal": same_asks_holding_equal,
    "003-23:initialised-asks-holding:newer": same_asks_holding_newer,
    "003-25:initialised-asks-joining:older": same_asks_joining_older,
    "003-25:initialised-asks-joining:equal": same_asks_joining_equal,
    "003-25:initialised-asks-joining:newer": same_asks_joining_newer,
    "003-22:initialised-asks-leaving:older": same_asks_leaving_older,
    "003-12:initialised-asks-leaving:equal": same_asks_leaving_equal,
    "003-23:initialised-asks-leaving:newer": same_asks_leaving_newer,
}


def said_by(world: Assembly, asked: str) -> list[str]:
    """Return what j was told by one host, in order."""
    host = world.site(asked).id
    notes = [note for _, name, note in world.notes if name == "j" and note.host == host]
    return [note.reason.partition(": ")[2] for note in notes if note.kind in ("knock", "refused")]


@pytest.mark.parametrize("row", ROWS)
def test_a_joiner_is_answered_and_gets_in_once_that_is_possible(row: str) -> None:
    meeting = ROWS[row]()
    world, incarnations = meeting.world, 0
    world.notes.clear()
    if meeting.start:
        world.start("j", seeds=meeting.asked)
        incarnations = world.member("j").me.incarnation
    world.run(2.0, lambda: bool(said_by(world, meeting.asked)) and world.member("j").is_member)
    if meeting.told:
        assert meeting.told in said_by(world, meeting.asked), (said_by(world, meeting.asked), world.story())
    blocked = meeting.told in (NO_QUORUM, LOOKING, LEAVES) or "waiting for init" in meeting.told
    if blocked:
        assert not world.member("j").is_member
        assert world.member("j").waiting, "it says what it waits for"
        assert not world.held("j") and not world.held(meeting.asked)
    meeting.mend()
    assert world.run(15.0, lambda: world.settled(meeting.members)), world.story()
    tags = {world.member(name).tag for name in meeting.members}
    assert len(tags) == 1 and "" not in tags
    assert world.member("j").me.incarnation >= incarnations and world.member("j").waiting == ""
    assert generation_of(world.views()[-1].id) == (row.startswith("003-12,23"))


def test_of_all_rows_each_pair_of_states_and_each_order_of_views_is_there() -> None:
    asked = {"zombie", "initialised", "holding", "joining", "leaving"}
    pairs = {row.partition(":")[2] for row in ROWS}
    assert {f"empty-asks-{one}" for one in asked} <= pairs
    ordered = asked - {"zombie"}
    orders = ("older", "equal", "newer")
    assert {f"initialised-asks-{one}:{order}" for one in ordered for order in orders} <= pairs


# -- several at once ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 8])
def test_003_18_joiners_that_race_through_different_seeds_all_get_in(count: int) -> None:
    names = "qrstuvwx"[:count]
    world = founded("abc", spare=names, seed=count)
    for place, name in enumerate(names):
        world.start(name, seeds="abc"[place % 3])
    wait(world, "abc" + names)
    assert len(world.views()) <= 7, "several enter by one view"


@pytest.mark.parametrize("seed", range(4))
def test_003_18_racing_inits_on_different_zombies_make_one_cluster(seed: int) -> None:
    world = Assembly("abcde", seed)
    for name in "abcde":
        world.start(name)
    world.run(0.4)
    for name in "bd":
        world.tell(name, InitOrdered(CHARTER))
    world.keep_sharing()
    wait(world, "abcde")
    assert len({tag for tag, _ in world.installs}) == 1


@pytest.mark.parametrize("seed", range(3))
def test_003_28_hosts_that_all_expect_the_same_number_found_once(seed: int) -> None:
    world = Assembly("abcd", seed)
    for place, name in enumerate("abcd"):
        world.at(0.3 * place, lambda name=name: world.start(name, Settings(expect=3, charter=CHARTER)))  # type: ignore[misc]
    world.keep_sharing()
    assert world.run(10.0, lambda: len(world.running()) == 4 and world.settled()), world.story()
    assert len({tag for tag, _ in world.installs}) == 1


def test_003_2_an_init_while_joining_or_while_another_is_under_way_is_refused() -> None:
    world = founded("abc", spare="d")
    world.start("d", seeds="a")
    world.run(2.0, lambda: world.member("d").stage is Stage.DISCOVERY)
    assert world.member("d").init_refusal().startswith("already initialised, cluster tag")
    world.tell("d", InitOrdered(CHARTER))
    assert world.said("refused")[-1][2].reason.startswith("init: already initialised")
    wait(world, "abcd")
    other = Assembly("ab")
    for name in "ab":
        other.start(name)
    other.run(0.4)
    other.tell("a", InitOrdered(CHARTER))
    assert other.member("a").init_refusal() == "a founding is under way"


# -- names ---------------------------------------------------------------------------------


def refused_j(world: Assembly) -> Settings:
    """Return the settings of a joiner that knows the first host's address only."""
    return Settings(seeds=(world.site("a").member(1).address,), refused_s=3.0)


def test_003_18_a_name_that_a_live_host_bears_is_refused_and_the_joiner_ends() -> None:
    world = founded("abc", spare="j")
    site = world.site("j")
    site.name = "b"
    world.start("j", refused_j(world), seeds="a")
    world.run(8.0, lambda: site.status is not None)
    assert site.status == 1 and world.settled("abc")
    refusals = [note.reason for _, name, note in world.notes if note.kind == "refused" and name == "b"]
    assert refusals[0] == "asked a at tcp://a:1: no: the name b is taken by a live host"
    assert len(refusals) == 3, "each member says so, and each is noted once"


def test_003_18_a_name_of_a_dead_host_is_free_again_before_the_joiner_gives_up() -> None:
    world = founded("abc", spare="j", drift=False)
    site = world.site("j")
    world.crash("b", silent=True)
    site.name = "b"
    world.start("j", refused_j(world), seeds="a")
    assert world.run(8.0, lambda: world.held("a") and len(world.views()[-1].members) == 3), world.story()
    assert world.run(5.0, lambda: bool(site.machine and site.machine.is_member)), world.story()
    assert site.status is None
    told = [note.reason for _, name, note in world.notes if name == "b" and note.kind == "knock"]
    assert any("that of a silent host, until that is held dead" in reason for reason in told)


def test_003_18_the_same_host_restarted_is_no_clash_of_names() -> None:
    world = founded("abc")
    world.crash("b")
    world.start("b", refused_j(world), seeds="a")
    wait(world, "abc")
    assert not world.said("refused")


def test_003_18_of_two_zombies_with_one_name_one_is_let_in() -> None:
    world = Assembly("abcj")
    world.site("j").name = "b"
    for name in "abcj":
        world.start(name)
    world.run(0.6)
    world.tell("a", InitOrdered(CHARTER))
    world.keep_sharing()
    wait(world, "abc")
    world.run(2.0)
    assert world.settled("abc") and not world.site("j").machine.is_member  # type: ignore[union-attr]


# -- a joiner that dies ----------------------------------------------------------------------


def dies_at(world: Assembly, letter: str, step: int) -> bool:
    """Start a joiner, and kill it after its n-th deed; return whether it came so far."""
    deeds = 0

    def dies(site: object, effect: object) -> bool:
        nonlocal deeds
        deeds += site is world.site(letter)
        return site is world.site(letter) and deeds == step

    world.crash_at = dies
    world.start(letter, seeds="b")
    world.run(3.0, lambda: world.site(letter).machine is None or world.settled("abc" + letter))
    world.crash_at = lambda site, effect: False
    return world.site(letter).machine is None


STEPS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 28, 37)


def test_003_17_a_joiner_that_dies_at_any_step_harms_nobody() -> None:
    world = founded("abc", spare="j")
    died = 0
    for step in STEPS:
        died += dies_at(world, "j", step)
        if world.site("j").machine is not None:
            world.crash("j")
        wait(world, "abc")
    assert died >= len(STEPS) - 2
    world.run(65.0)  # it flapped, and has to wait
    world.start("j", seeds="b")
    wait(world, "abcj")


def test_003_17_joiners_of_one_name_that_die_at_any_step_do_not_bar_the_next_one() -> None:
    """As a host without a state directory does: each life has an id of its own."""
    letters = "defghijklmno"[: len(STEPS)]
    world = founded("abc", spare=letters + "z")
    for letter in letters + "z":
        world.site(letter).name = "joiner"
    for letter, step in zip(letters, STEPS, strict=True):
        dies_at(world, letter, step)
        if world.site(letter).machine is not None:
            world.crash(letter)
    world.start("z", seeds="b")
    wait(world, "abcz")
