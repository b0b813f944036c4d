"""Hosts that don't belong together: another cluster's, another version's, too many; with links and all."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from agents.contacts import Contacts
from agents.effects import Note
from agents.membership import Membership, Settings, Stage
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter, Member, Status, View
from agents.wire import Versions

CHARTER = Charter(colonies=2, peers=2)
MEMBERSHIP = Settings(charter=CHARTER, refused_s=3.0)


class Field(Simulation):
    """Hosts of several clusters, each of which knows only whom it was told of."""

    def __init__(self, names: str, *, machines: int = 0) -> None:
        settings = SimSettings(
            charter=CHARTER, membership=MEMBERSHIP, encoded=True, drift=0.0, machines=machines
        )
        super().__init__(names, random.Random(names), settings, lambda dna, closure: dna)
        self.notes: list[tuple[float, str, Note]] = []
        self.ended: dict[str, str] = {}

    def begin(self, name: str, seeds: str, versions: Versions | None = None) -> None:
        """Start a host that knows these addresses."""
        home = self.homes[name]
        home.seeds = seeds
        home.settings = replace(home.settings or MEMBERSHIP, seeds=tuple(f"tcp://{seed}" for seed in seeds))
        home.versions = versions or home.versions
        self.start(name)

    def found(self, names: str, versions: Versions | None = None) -> None:
        """Make a cluster of these hosts."""
        for name in names:
            self.begin(name, names, versions)
        self.run(0.6)
        self.init(names[0])
        assert self.run(8.0, lambda: self.settled(names)), self.notes[-20:]

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until something holds."""
        end_s = self.timeline.now_s + seconds
        while not until() and self.timeline.now_s < end_s:
            self.timeline.run_until(self.timeline.now_s + 0.1)
        return until()

    def settled(self, names: str) -> bool:
        """Return whether just these hosts are one view, all ACTIVE."""
        views = {
            None if process is None else process.container.view
            for process in (self.homes[name].process for name in names)
        }
        view = views.pop()
        return (
            not views
            and view is not None
            and sorted(member.name for member in view.members) == sorted(names)
            and all(member.status is Status.ACTIVE for member in view.members)
        )

    def noted(self, process: object, note: Note) -> None:
        """Write down how processes end, too."""
        super().noted(process, note)  # type: ignore[arg-type]
        if note.kind == "halt":
            self.ended[self.notes[-1][1]] = f"{note.details['status']}: {note.reason}"

    def told(self, name: str) -> list[str]:
        """Return what a joiner was told, in order."""
        return [
            note.reason for _, who, note in self.notes if who == name and note.kind in ("knock", "refused")
        ]

    def waiting(self, name: str) -> str:
        """Return what a host says that it waits for."""
        return self.membership(name).waiting

    def membership(self, name: str) -> Membership:
        """Return the membership of a running host."""
        process = self.homes[name].process
        assert process is not None
        return process.container.membership

    def tag(self, name: str) -> str:
        """Return a running host's cluster tag."""
        return self.membership(name).tag

    def ends(self, name: str, within_s: float = 12.0) -> str:
        """Wait until a host ends by itself; return its exit status and its reason."""
        self.run(within_s, lambda: name in self.ended)
        if name in self.ended:
            return self.ended[name]
        return f"it runs; told {self.told(name)}; waits for {self.waiting(name)}"


# -- another cluster's --------------------------------------------------------------


def initialised(field: Field, asked: str, order: str) -> str:
    """Bring the cluster to which the joiner is foreign into a state; return whom to ask."""
    field.found("ABC")
    if order == "older":  # the joiner's view has a lower number
        for _ in range(2):
            field.crash("C")
            assert field.run(5.0, lambda: field.settled("AB"))
            field.start("C")
            assert field.run(9.0, lambda: field.settled("ABC"))
    if asked == "holding":
        for name in "BC":
            field.crash(name)
        assert field.run(5.0, lambda: field.membership("A").stage is Stage.HOLD)
    elif asked == "joining":  # a restarted one, alone
        for name in "ABC":
            field.crash(name)
        field.start("A")
    elif asked == "leaving":
        field.leave("A")
        for name in "BC":
            field.pause(name)
    return "A"


@pytest.mark.parametrize("order", ["older", "equal", "newer"])
@pytest.mark.parametrize("asked", ["initialised", "holding", "joining", "leaving"])
def test_003_8_26_a_joiner_of_another_cluster_is_refused_whatever_the_views(asked: str, order: str) -> None:
    field = Field("ABCJK")
    field.found("JK")
    if order == "newer":  # more views than the others ever had
        for _ in range(2):
            field.leave("K")
            assert field.run(5.0, lambda: field.settled("J") and field.homes["K"].process is None)
            field.begin("K", "J")
            assert field.run(5.0, lambda: field.settled("JK"))
    foreign = field.tag("J")
    for name in "JK":
        field.crash(name)
    whom = initialised(field, asked, order)
    ours = field.tag(whom)
    before = field.homes[whom].disk.record
    field.begin("J", whom)
    ended = field.ends("J")
    assert ended.startswith(f"1: refused by all that it asked: {whom} at tcp://{whom}: no: this host belongs")
    assert ours in ended and foreign in ended and "move the state directory away" in ended
    record = field.homes["J"].disk.record
    assert record is not None and record.tag == foreign and record.view is not None, "it forgot nothing"
    after = field.homes[whom].disk.record
    assert before is not None and after is not None and after.tag == before.tag
    noted = [note.reason for _, who, note in field.notes if who == whom and note.kind == "link_refused"]
    assert noted == [f"it belongs to the cluster {foreign}, this host to {ours}"], "and it is said once"


def test_003_24_an_initialised_host_waits_and_zombies_wait_with_it() -> None:
    """Nothing is founded, nothing is wiped; with its majority it goes on, and they are let in."""
    field = Field("ABCZ")
    field.found("ABC")
    tag = field.tag("A")
    for name in "ABC":
        field.crash(name)
    field.begin("Z", "A")
    field.begin("A", "Z")
    field.run(4.0)
    assert field.tag("Z") == tag and not field.settled("AZ")
    assert field.waiting("A").startswith("a majority of the 3 members of its last view")
    assert "A at tcp://A: not yet: it is itself looking for its cluster" in field.waiting("Z")
    field.start("B")
    assert field.run(12.0, lambda: field.settled("ABZ"))
    assert field.tag("Z") == tag


def test_003_18_a_joiner_with_addresses_of_two_clusters_joins_one_and_says_what_is_wrong() -> None:
    field = Field("ABJ")
    field.found("A")
    field.found("B")
    assert field.tag("A") != field.tag("B")
    field.begin("J", "AB")
    assert field.run(8.0, lambda: field.settled("AJ") or field.settled("BJ"))
    assert "J" not in field.ended
    other = "B" if field.settled("AJ") else "A"
    assert field.settled(other)


def test_003_8_a_host_that_was_given_addresses_of_another_cluster_too_keeps_to_its_own() -> None:
    field = Field("ABCX")
    field.found("ABC")
    field.found("X")
    field.crash("C")
    field.begin("C", "X")
    assert field.run(9.0, lambda: field.settled("ABC")), "it knows A and B from its last view"
    assert "C" not in field.ended


# -- another version's -----------------------------------------------------------------


def test_003_15_a_joiner_two_versions_away_is_refused_at_both_ends_and_ends() -> None:
    field = Field("ABJ")
    field.found("AB", Versions(1, 2))
    field.begin("J", "AB", Versions(3, 4))
    ended = field.ends("J")
    assert ended == (
        "1: refused by all that it asked: A at tcp://A, B at tcp://B: "
        "no: this host speaks protocol 1 to 2, not 3 to 4; upgrade one protocol at a time"
    )
    for name in "AB":
        noted = [note.reason for _, who, note in field.notes if who == name and note.kind == "link_refused"]
        assert noted == ["it speaks protocol 3 to 4, this host 1 to 2"]


@pytest.mark.parametrize("newest", [1, 2, 3])
def test_003_15_a_joiner_one_version_away_or_none_is_let_in(newest: int) -> None:
    field = Field("ABJ")
    field.found("AB", Versions(1, 2))
    field.begin("J", "AB", Versions(max(1, newest - 1), newest))
    assert field.run(8.0, lambda: field.settled("ABJ"))
    process = field.homes["A"].process
    assert process is not None
    container = process.container
    assert container.links.version(field.homes["J"].id) == min(2, newest)
    assert container.view is not None and container.view.protocol == min(2, newest)


def test_003_15_of_two_seeds_one_may_be_of_the_wrong_version() -> None:
    """As in the middle of an upgrade: it waits for the one that it can talk to."""
    field = Field("ABJ")
    field.begin("A", "", Versions(1, 1))
    field.begin("B", "", Versions(2, 3))
    field.begin("J", "AB", Versions(2, 3))
    field.run(8.0)
    assert "J" not in field.ended
    field.init("B")
    assert field.run(8.0, lambda: field.settled("BJ"))


# -- nobody, or too many ------------------------------------------------------------------


def test_003_21_with_seeds_that_are_all_dead_it_waits_and_asks_again() -> None:
    field = Field("ABJ")
    field.begin("J", "AB")
    field.run(20.0)
    assert field.told("J") == [f"asked tcp://{name}: no answer: nobody there" for name in "AB"]
    assert field.waiting("J") == (
        "a cluster, or `colony init`; tcp://A, tcp://B: no answer: nobody there; is --join right? trying on"
    )
    field.begin("A", "")
    field.run(2.0)
    assert field.told("J")[2:] == ["asked A at tcp://A: not yet: no cluster here yet: waiting for init"]
    field.init("A")
    assert field.run(8.0, lambda: field.settled("AJ"))


def test_003_16_a_host_that_knows_too_many_says_so_and_members_always_fit() -> None:
    field = Field("ABCDJ")
    for name in "ABC":
        field.homes[name].settings = replace(MEMBERSHIP, contacts_max=3)
    field.found("ABCD")
    field.begin("J", "A")
    field.run(3.0)
    assert field.told("J")[-1] == "asked A at tcp://A: not yet: no room: 3 hosts are known here already"
    assert [note.kind for _, who, note in field.notes if who == "A"].count("full") == 1
    assert "J" not in field.ended and not field.settled("ABCDJ")
    field.homes["J"].seeds = "AD"
    assert field.run(12.0, lambda: field.settled("ABCDJ"))
    joiner = field.homes["J"].id
    assert field.run(5.0, lambda: all(field.membership(name).contacts.up(joiner) for name in "ABCD"))
    field.run(5.0)
    assert not [note for _, _, note in field.notes if note.kind == "suspect"], (
        "all hear it, at once and later"
    )


@pytest.mark.parametrize("founder", "ABJ")
def test_003_18_zombies_of_one_name_found_without_one_of_them(founder: str) -> None:
    """The other one is told so, once there is a cluster, and ends."""
    field = Field("ABJ")
    for name in "ABJ":
        field.begin(name, "ABJ")
        if name == "J":
            membership = field.membership(name)
            membership.me = msgspec.structs.replace(membership.me, name="B")
    field.run(0.8)
    assert "it bears the same name" in " ".join(field.told("J") + field.told("B"))
    field.init(founder)
    assert field.run(12.0, lambda: bool(field.ended)), field.notes[-20:]
    (reason,) = field.ended.values()
    assert "the name B is taken by a live host; choose another --name" in reason
    view = field.membership("A").view
    assert view is not None and [member.name for member in view.members] == ["A", "B"]


def test_003_17_a_member_that_is_known_by_a_view_alone_bears_its_tag() -> None:
    contacts = Contacts("me", 1)
    one, two = Member("1" * 4, 1, "one", "", ""), Member("2" * 4, 1, "two", "", "")
    assert contacts.meet(one, 0.0) is not None and contacts.meet(two, 0.0) is None
    contacts.listed(View("tag", 1, CHARTER, (one, two)), 0.0)
    assert [(contact.member.name, contact.tag) for contact in contacts] == [("one", ""), ("two", "tag")]
