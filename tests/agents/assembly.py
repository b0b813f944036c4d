"""A tiny deterministic world of membership machines, to be hurt by tests.

True time is `now_s`; each host's clock drifts by up to 5 %. Links form where
both ends dial, are FIFO, and break with all that is in flight. What must
never happen is asserted at every effect; `settled` says what must in the end.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.effects import (
    Dial,
    DropEverything,
    Emptied,
    Halt,
    HangUp,
    HelloSeen,
    InitOrdered,
    InstallView,
    LeaveOrdered,
    LinkCameUp,
    LinkWentDown,
    Note,
    Persist,
    ProbeProcess,
    ProcessGone,
    Received,
    SeedFound,
    Send,
    ShareReached,
    Ticked,
)
from agents.membership import Membership, Settings, Stage
from agents.messages.membership import Accept, Accepted, Grant, Prepare, Promise
from agents.record import Record
from agents.succession import seniority
from agents.views import Charter, Member, Status, View

CHARTER = Charter(colonies=1, heartbeat_s=0.1, lease_s=0.5, suspect_s=1.0)


@dataclass(eq=False)
class Link:
    """One link incarnation between two hosts."""

    a: str
    b: str
    alive: bool = True
    cut: bool = False  # a message was lost: nothing later may arrive
    arrives_s: dict[str, float] = field(default_factory=dict)


class Site:
    """One host's machine, disk, clock and dialled links."""

    def __init__(self, name: str, machine: str, rate: float, offset_s: float) -> None:
        self.letter = self.name = name  # a test may give it another name
        self.id = name * 4
        self.machine_id = machine
        self.rate, self.offset_s = rate, offset_s
        self.disk: Record | None = None
        self.starts = 0
        self.machine: Membership | None = None
        self.settings = Settings()
        self.stalled = False
        self.waiting: list[Any] = []
        self.dialled: set[str] = set()
        self.status: int | None = None
        self.drops = 0

    @property
    def lives(self) -> bool:
        """Whether its process runs."""
        return self.machine is not None

    def member(self, incarnation: int) -> Member:
        """Return this host as it starts."""
        return Member(
            self.id,
            incarnation,
            self.name,
            f"tcp://{self.name}:1",
            f"tcp://{self.name}:2",
            machine=self.machine_id,
            pid=incarnation,
        )


class Assembly:
    """Hosts, links, faults, and the rules that nothing may break."""

    def __init__(self, names: Iterable[str], seed: int = 0, *, drift: bool = True, machines: int = 0) -> None:
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.tick_s = 0.025
        self.sharing = True
        self.forks = False  # a forced generation need not agree with the one that it left
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.blocked: set[tuple[str, str]] = set()
        self.links: dict[frozenset[str], Link] = {}
        self.installs: dict[tuple[str, int], View] = {}
        self.dropped: dict[tuple[str, int], int] = {}
        self.proposals: dict[Any, View] = {}
        self.prepared: dict[Any, int] = {}
        self.notes: list[tuple[float, str, Note]] = []
        self.crash_at: Callable[[Site, Any], bool] = lambda site, effect: False
        self.sites: dict[str, Site] = {}
        for place, name in enumerate(names):
            rate = self.random.choice((0.95, 1.0, 1.05)) if drift else 1.0
            machine = f"m{place % machines}" if machines else ""
            site = Site(name, machine, rate, self.random.uniform(0, 1000))
            self.sites[site.id] = site

    # -- time --------------------------------------------------------------------

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; stops early, and says True, once `until` holds."""
        end_s = self.now_s + seconds
        while self._queue and self._queue[0][0] <= end_s:
            self.now_s, _, action = heapq.heappop(self._queue)
            action()
            if until is not None and until():
                return True
        self.now_s = end_s
        return until is not None and until()

    def clock(self, site: Site) -> float:
        """Return a host's own clock."""
        return site.offset_s + site.rate * self.now_s

    # -- hosts -------------------------------------------------------------------

    def site(self, name: str) -> Site:
        """Return a host by its name."""
        return self.sites[name * 4]

    def start(self, name: str, settings: Settings | None = None, seeds: str = "") -> None:
        """Start a host, from its disk if it has one."""
        site = self.site(name)
        assert site.machine is None
        for link in list(self.links.values()):
            if site.id in (link.a, link.b):
                self._break(link, "its other end restarted")
        site.starts += 1
        if settings is not None:
            site.settings = settings
        old = site.disk
        incarnation = old.incarnation + 1 if old else 1
        site.disk = msgspec.structs.replace(old, incarnation=incarnation) if old else Record(site.id, 1)
        site.machine = Membership(site.member(incarnation), site.settings, site.disk, self.clock(site))
        site.dialled = set()
        site.waiting = []
        site.stalled = False
        site.status = None
        start = site.starts
        self.at(0.0, lambda: self._tick(site, start))
        for seed in seeds or [other.name for other in self.sites.values() if other is not site]:
            known = self.site(seed)
            member = known.machine.me if known.machine else known.member(1)
            self.tell(name, SeedFound(member))

    def _tick(self, site: Site, start: int) -> None:
        if site.machine is None or site.starts != start:
            return
        self._redial(site)
        if not site.stalled:
            self._handle(site, Ticked())
        self.at(self.tick_s * self.random.uniform(0.9, 1.2), lambda: self._tick(site, start))

    def tell(self, name: str, event: Any) -> None:
        """Hand a host an event at once."""
        self._handle(self.site(name), event)

    def crash(self, name: str, *, silent: bool = False) -> None:
        """Kill a host; `silent`: as if its machine lost power, so no link breaks."""
        site = self.site(name)
        site.machine = None
        for link in list(self.links.values()):
            if site.id in (link.a, link.b):
                if silent:
                    self._lose(link)
                else:
                    self._break(link, "reset")

    def stall(self, name: str) -> None:
        """SIGSTOP."""
        self.site(name).stalled = True

    def resume(self, name: str) -> None:
        """SIGCONT: what came meanwhile is read now."""
        site = self.site(name)
        if not site.stalled:
            return
        site.stalled = False
        waiting, site.waiting = site.waiting, []
        for event in waiting:
            if site.machine is not None:
                event()

    def block(self, one: str, other: str, *, both: bool = True) -> None:
        """Let nothing pass from one host to another."""
        self.blocked.add((one * 4, other * 4))
        if both:
            self.blocked.add((other * 4, one * 4))

    def split(self, *sides: str) -> None:
        """Let nothing pass between sides, each a string of names."""
        self.heal()
        for side in sides:
            for other in sides:
                if other is not side:
                    for one in side:
                        for two in other:
                            self.block(one, two)

    def heal(self) -> None:
        """Let everything pass."""
        self.blocked.clear()

    # -- links -------------------------------------------------------------------

    def _redial(self, site: Site) -> None:
        """Try the links that this host wants and that don't stand."""
        for other_id in sorted(site.dialled):
            other = self.sites[other_id]
            key = frozenset((site.id, other_id))
            if key in self.links or (site.id, other_id) in self.blocked:
                continue
            if other.machine is None or other.stalled or site.stalled or site.machine is None:
                continue
            if self.random.random() < 0.5:
                continue
            machine = site.machine
            if site.id not in other.dialled:
                self._handle(other, HelloSeen(machine.me, *machine.stamp()))
            if not (site.lives and other.lives):
                continue  # one died of what it heard
            if site.id in other.dialled and (other_id, site.id) not in self.blocked and key not in self.links:
                self._pair(site, other, key)

    def _pair(self, site: Site, other: Site, key: frozenset[str]) -> None:
        link = self.links[key] = Link(site.id, other.id)
        for one, two in ((site, other), (other, site)):
            machine = two.machine
            assert machine is not None
            hello = HelloSeen(machine.me, *machine.stamp())
            self._deliver(link, two.id, one, hello)
            self._deliver(link, two.id, one, LinkCameUp(two.id, 1))

    def _deliver(self, link: Link, sender: str, site: Site, event: Any) -> None:
        """Deliver an event in the order of its direction of the link."""
        delay_s = self.random.choice((0.0005, 0.001, 0.003, 0.02))
        last_s = link.arrives_s.get(site.id, 0.0)
        arrives_s = link.arrives_s[site.id] = max(self.now_s + delay_s, last_s)
        start = site.starts

        def arrive() -> None:
            if not link.alive or site.machine is None or site.starts != start:
                return
            if (sender, site.id) in self.blocked:
                self._lose(link)
            elif not link.cut:
                self._handle(site, event)

        self.at(arrives_s - self.now_s, lambda: self._unless_stalled(site, arrive))

    def _unless_stalled(self, site: Site, action: Callable[[], None]) -> None:
        if site.stalled:
            site.waiting.append(action)
        else:
            action()

    def _lose(self, link: Link) -> None:
        """A message was lost: the link is useless, and breaks sooner or later."""
        if not link.cut:
            link.cut = True
            self.at(self.random.choice((0.01, 0.3, 1.5, 4.0)), lambda: self._break(link, "lost"))

    def _break(self, link: Link, reason: str) -> None:
        if not link.alive:
            return
        link.alive = False
        key = frozenset((link.a, link.b))
        self.at(0.012, lambda: self._forget(key))  # the next link comes after the news of this one
        for one, two in ((link.a, link.b), (link.b, link.a)):
            site = self.sites[one]
            start = site.starts

            def down(site: Site = site, two: str = two, start: int = start) -> None:
                if site.machine is not None and site.starts == start:
                    self._handle(site, LinkWentDown(two, reason))

            delay_s = self.random.choice((0.001, 0.01))
            self.at(delay_s, lambda site=site, down=down: self._unless_stalled(site, down))  # type: ignore[misc]

    def _forget(self, key: frozenset[str]) -> None:
        del self.links[key]

    # -- effects -----------------------------------------------------------------

    def _handle(self, site: Site, event: Any) -> None:
        machine = site.machine
        if machine is None:
            return
        effects = machine.handle(event, self.clock(site))
        for effect in effects:
            self._perform(site, machine, effect)
            if site.machine is not machine:
                return
            if self.crash_at(site, effect):
                self.crash(site.letter)
                return
        self._check_lease(site)

    def _perform(self, site: Site, machine: Membership, effect: Any) -> None:
        if isinstance(effect, Send):
            self._check_vote(site, machine, effect.message)
            link = self.links.get(frozenset((site.id, effect.to)))
            if link is not None:
                self._deliver(link, site.id, self.sites[effect.to], Received(site.id, effect.message))
        elif isinstance(effect, Persist):
            site.disk = effect.record
        elif isinstance(effect, InstallView):
            self._check_install(site, effect.view)
        elif isinstance(effect, DropEverything):
            site.drops += 1
        elif isinstance(effect, Dial):
            site.dialled.add(effect.member.id)
        elif isinstance(effect, HangUp):
            site.dialled.discard(effect.host)
            link = self.links.get(frozenset((site.id, effect.host)))
            if link is not None:
                self._break(link, "hung up")
        elif isinstance(effect, ProbeProcess):
            other = self.sites[effect.member.id]
            running = other.machine.me.pid if other.machine else None
            if running != effect.member.pid:
                self.at(0.002, lambda: self._handle(site, ProcessGone(other.id, effect.member.incarnation)))
        elif isinstance(effect, Note):
            self.notes.append((self.now_s, site.name, effect))
        elif isinstance(effect, Halt):
            site.status = effect.status
            self.crash(site.letter)

    # -- what must never happen ----------------------------------------------------

    def _check_install(self, site: Site, view: View) -> None:
        key = (view.tag, view.id)
        assert self.installs.setdefault(key, view) == view, f"two views with one id: {view}"
        assert site.disk is not None and site.disk.view == view, "installed before it was recorded"
        flaps = dict(view.flaps)
        assert list(view.members) == sorted(view.members, key=lambda m: seniority(m, flaps))
        assert len({m.name for m in view.members}) == len(view.members), "two members with one name"
        for member in view.members:
            gone = self.dropped.get((member.id, member.incarnation), view.id)
            assert gone >= view.id or self.forks, (
                f"a dropped incarnation came back: {member.name} {member.incarnation}"
            )
        for dropped in (*view.left, *view.dead):
            self.dropped.setdefault(dropped, view.id)
        for other in self.sites.values():
            self._check_lease(other)

    def _check_lease(self, site: Site) -> None:
        """Whoever holds quorum is listed by every view that anybody installed later."""
        machine = site.machine
        if machine is None or self.forks or not machine.quorum.held(self.clock(site)):
            return
        assert machine.view is not None, "quorum without a view"
        for (tag, number), view in self.installs.items():
            if tag == machine.tag and number > machine.view.id:
                assert view.lists(site.id, machine.me.incarnation), (
                    f"{site.name} holds quorum in {machine.view.id:x}, and {number:x} dropped it"
                )

    def _check_vote(self, site: Site, machine: Membership, message: Any) -> None:
        record = site.disk
        assert record is not None
        if isinstance(message, Promise | Accepted):
            assert record.promised is not None and record.promised >= message.ballot, "promise not recorded"
        if isinstance(message, Accepted):
            assert record.accepted_ballot == message.ballot, "acceptance not recorded"
        if isinstance(message, Prepare | Accept):
            assert record.promised == message.ballot, "own ballot not recorded"
            key = (machine.tag, message.view, message.ballot)
            assert self.prepared.setdefault(key, site.starts) == site.starts, "a ballot was used again"
        if isinstance(message, Accept):
            key = (machine.tag, message.view, message.ballot)
            assert self.proposals.setdefault(key, message.proposal) == message.proposal
        if isinstance(message, Grant):
            assert record.accepted is None, "granted behind the fence"

    # -- what must happen in the end -------------------------------------------------

    def running(self) -> list[Site]:
        """Return the hosts that run."""
        return [site for site in self.sites.values() if site.machine is not None]

    def member(self, name: str) -> Membership:
        """Return the machine of a running host."""
        machine = self.site(name).machine
        assert machine is not None
        return machine

    def held(self, name: str) -> bool:
        """Return whether a host runs and holds quorum now."""
        site = self.site(name)
        return site.machine is not None and site.machine.quorum.held(self.clock(site))

    def settled(self, names: str = "") -> bool:
        """Return whether these hosts (all that run) are one view, ACTIVE, with quorum."""
        sites = [self.site(name) for name in names] if names else self.running()
        ids = sorted(site.id for site in sites)
        for site in sites:
            machine = site.machine
            if machine is None or machine.view is None or sorted(machine.view.ids) != ids:
                return False
            if not machine.quorum.held(self.clock(site)) or machine.stage is not Stage.COMMIT:
                return False
            if any(member.status is not Status.ACTIVE for member in machine.view.members):
                return False
        return (
            len(
                {
                    (site.machine.tag, site.machine.view.id)
                    for site in sites
                    if site.machine and site.machine.view
                }
            )
            == 1
        )

    def share(self) -> None:
        """Let every joiner have its share, and every leaver be empty, at once."""
        for site in self.running():
            assert site.machine is not None
            if site.stalled or not site.machine.is_member:
                continue
            if site.machine.me.status is Status.JOINING:
                self._handle(site, ShareReached())
            elif site.machine.me.status is Status.LEAVING:
                self._handle(site, Emptied())

    def keep_sharing(self, every_s: float = 0.1) -> None:
        """Do `share` again and again, while `sharing` is on."""
        if self.sharing:
            self.share()
        self.at(every_s, lambda: self.keep_sharing(every_s))

    def views(self) -> list[View]:
        """Return all views that were installed, in order."""
        return [self.installs[key] for key in sorted(self.installs, key=lambda key: key[1])]

    def said(self, kind: str) -> list[tuple[float, str, Note]]:
        """Return the notes of one kind."""
        return [note for note in self.notes if note[2].kind == kind]

    def story(self, last: int = 60) -> str:
        """Return the last notes, for the message of a failed test."""
        lines = [
            f"{at_s:8.3f} {name} {note.kind}: {note.reason} {(note.host or '')[:4]} {note.details or ''}"
            for at_s, name, note in self.notes[-last:]
        ]
        state = []
        for site in self.running():
            machine = site.machine
            assert machine is not None
            links = sorted(self.sites[other].name for other in machine.contacts.all_up())
            state.append(
                f"{site.name}: {machine.stage.value} view {machine.stamp()[1]:x} member {machine.is_member} "
                f"held {self.held(site.name)} me {machine.me.incarnation} links {links}"
            )
        return "\n".join(lines + state + [str(Counter(note.kind for _, _, note in self.notes))])


def founded(names: str, seed: int = 0, spare: str = "", **options: Any) -> Assembly:
    """Return a world in which these hosts are a settled cluster; `spare` ones are not started."""
    world = Assembly(names + spare, seed, **options)
    for name in names:
        world.start(name)
    world.run(0.4)
    world.tell(names[0], InitOrdered(CHARTER))
    world.keep_sharing()
    assert world.run(5.0, lambda: world.settled(names)), world.story()
    return world


def leave(world: Assembly, name: str) -> None:
    """Order a host to leave."""
    world.tell(name, LeaveOrdered())
