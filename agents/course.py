"""The course: where the wave of a view takes each colony, and how far all have come.

When hosts come, go or die, every member works out the same wave
(`placement.wave`) from what the census told all alike. Primaries follow it
for their own colonies. It is a preference: who is refused, or finds that it
makes no sense any more, goes by its own rules; and so do all, once the wave
has come to its end or gets no further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.census import Heir, starts_anew
from agents.directory import Directory
from agents.messages.replication import Census, Located
from agents.views import Member, Status, View, number_of
from placement.peers import Peers
from placement.resources import Candidate
from placement.wave import Goal, Wave

STALLED_S = 5.0  # without any step of anybody, and nothing under way: whoever is left decides by itself
COMES_S = 2.0  # the same: a joiner waits for its share no longer; above the calm after a view
# Looks at a host for a colony in one step, some 3 µs each; few at first, unless somebody lacks a peer: all
# begin at about one moment, and where hosts share cores, clients wait behind all of them.
BUDGET_FIRST, BUDGET = 250, 4_000
REFUSALS_MAX = 2  # so often a host may refuse a colony before that goes its own way
LED_AWAY_MAX = 2  # so often a host gives a role away in one wave; two that differ would never come to rest
# Colonies that others led away from where the wave has them: they follow no wave, or another one.
UNDONE_MAX = 3


@dataclass(frozen=True, slots=True)
class Agreed:
    """What every member knows alike once a census is complete.

    Attributes:
        places: Where each colony lives, by number; copies that are on their way included.
        sizes: Bytes of each.
        figures: Host id -> (CPU, memory that is free; None = not told), as it told itself.
        records: Host id -> what speaks against it, and against its box, by the one who saw most.
    """

    places: tuple[Peers, ...]
    sizes: tuple[int, ...]
    figures: dict[str, tuple[float, int | None]]
    records: dict[str, tuple[int, int]]


def agreed(view: View, heirs: Sequence[Heir], heard: Mapping[str, Census]) -> Generator[int, None, Agreed]:
    """Return what the census says of all colonies and hosts, bit by bit; the same on every member."""
    place_of = {host: place for place, host in enumerate(view.ids)}
    told: list[tuple[int, int]] = [(0, 0)] * len(heirs)
    coming: dict[int, set[str]] = {}
    for census in heard.values():
        for line in census.peers:
            if 0 <= line.colony < len(heirs):
                # Its primary knows best; of an orphan all know the same, or about so.
                told[line.colony] = max(told[line.colony], (int(line.primary), line.bytes_used))
                if line.coming:
                    coming.setdefault(line.colony, set()).update(h for h in line.coming if h in place_of)
        yield len(census.peers) // 8 + 1
    places = []
    for heir in heirs:
        if not heir.primary or heir.outcome not in ("kept", "promoted"):
            places.append(Peers(heir.colony))
            continue
        others = {*heir.seqs, *coming.get(heir.colony, ())} if heir.outcome == "kept" else set(heir.seqs)
        others.discard(heir.primary)
        ordered = sorted((host for host in others if host in place_of), key=place_of.__getitem__)
        places.append(Peers(heir.colony, (heir.primary,), tuple(ordered)))
        if heir.colony % 64 == 63:
            yield 25
    figures = {
        host: (census.cpu, census.free if census.free >= 0 else None) for host, census in heard.items()
    }
    records: dict[str, tuple[int, int]] = {}
    seen = set[tuple[tuple[str, int, int], ...]]()  # nearly all say the same
    for census in heard.values():  # who was away saw less: by its own word it would come to another wave
        for host, flaps, box_flaps in census.records if census.records not in seen else ():
            most = records.get(host, (0, 0))
            records[host] = max(most[0], flaps), max(most[1], box_flaps)
        seen.add(census.records)
        yield len(census.records) // 32
    return Agreed(tuple(places), tuple([size for _, size in told]), figures, records)


def is_another(before: View | None, view: View) -> bool:
    """Return whether a view changes who is to hold copies, so that there is a new wave.

    It does not if joiners have their share, or leavers have left.
    """
    if before is None or before.is_frozen != view.is_frozen or before.charter != view.charter:
        return True
    was = {(m.id, m.incarnation): m for m in before.members}
    for member in view.members:
        old = was.pop((member.id, member.incarnation), None)
        if old is None or (member.status is not old.status and not _has_arrived(old, member)):
            return True
    left = set(view.left)
    return any(one not in left for one in was)


def _has_arrived(before: Member, member: Member) -> bool:
    return before.status is Status.JOINING and member.status is Status.ACTIVE


class Course:
    """One host's knowledge of the wave of its view; its governor follows it."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._is_counted = False  # the census that its members' wave follows from is known
        self._said: tuple[View, Sequence[Heir], Mapping[str, Census]] | None = None  # until the wave begins
        self._work: Generator[int, None, None] | None = None  # what is left to work out
        self._budget = BUDGET_FIRST  # looks of the next step of that
        self._wave: Wave | None = None
        self._is_known = False  # all of its goals are the last ones
        self._open: dict[int, list[str]] = {}  # colonies that are not where they are to go: their `steps`
        self._given_up: set[int] = set()
        self._refusals: dict[int, int] = {}
        self._led_away: dict[int, int] = {}
        self._led: set[int] = set()  # colonies that were led by the host that is to lead them
        self._undone = 0
        self._stepped_s = float("nan")
        self.busiest = 0  # steps of the host that takes part in most

    # -- what is told -------------------------------------------------------------------

    def view_installed(self, view: View) -> None:
        """Members may have changed: a new wave, or the old one goes on."""
        if is_another(self._view, view) or not self._is_counted:
            self.end()
            self._is_counted, self._said = False, None
        self._view = view

    def counted(self, view: View, heirs: Sequence[Heir], heard: Mapping[str, Census]) -> None:
        """The census is complete: from it the wave follows, if there is to be one."""
        if self._view is not view or self._is_counted:
            return
        self._is_counted = True
        if number_of(view.id) > 1 and not starts_anew(view):
            self._said = view, heirs, heard

    def end(self) -> None:
        """From here on every colony decides by itself."""
        self._wave = self._work = None
        self._is_known = False
        self._open.clear()
        self._given_up.clear()
        self._refusals.clear()
        self._led_away.clear()
        self._led.clear()
        self._undone = 0
        self._stepped_s = float("nan")

    def located(self, entry: Located) -> None:
        """A colony has moved: a step, if it lacks something else now than before.

        Sizes change all the time, and what nobody takes is offered again and again: who waits for a
        step would wait for ever.
        """
        if self._is_known:
            before = self._open.get(entry.colony)
            self._see(entry)
            if self._open.get(entry.colony) != before:
                self._stepped_s = float("nan")

    def _see(self, entry: Located) -> None:
        colony, goal = entry.colony, self.goal(entry.colony)
        if goal is None or _is_reached(goal, entry):
            self._open.pop(colony, None)
        else:
            self._open[colony] = self.steps(entry)
        if goal is not None and entry.primary == goal.primary:
            self._led.add(colony)
        elif goal is not None and colony in self._led:
            # Somebody has undone it, and would again: to insist would go on until one of them gives in.
            self._undone += 1
            self.give_up(colony)

    def refused(self, colony: int, target: str) -> None:
        """A host did not take what the wave has for it; if it goes on like that, the wave is not followed."""
        goal = self.goal(colony)
        if goal is not None and target in goal.holders:
            self._refusals[colony] = self._refusals.get(colony, 0) + 1
            if self._refusals[colony] >= REFUSALS_MAX:
                self.give_up(colony)

    def may_lead_away(self, colony: int) -> bool:
        """Return whether this host may give the role away for the wave's sake once more; else it is given up.

        The wave is the same everywhere only if the census was, and peers may have died since.
        """
        self._led_away[colony] = self._led_away.get(colony, 0) + 1
        if self._led_away[colony] > LED_AWAY_MAX:
            self.give_up(colony)
            return False
        return True

    def give_up(self, colony: int) -> None:
        """This colony goes its own way."""
        self._given_up.add(colony)
        self._open.pop(colony, None)

    # -- what is asked ------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether there is a wave that has not come to its end."""
        return self._wave is not None or self.is_planning

    @property
    def is_planning(self) -> bool:
        """Whether there is to be a wave that is not known as a whole yet."""
        return self.is_due or self._work is not None

    @property
    def open(self) -> Collection[int]:
        """Colonies that are not where they are to go."""
        return self._open.keys()

    def goal(self, colony: int) -> Goal | None:
        """Return where a colony is to go; None = it decides by itself."""
        if self._wave is None or colony in self._given_up:
            return None
        return self._wave.goals.get(colony)

    def steps(self, entry: Located | None) -> list[str]:
        """Return who is still to get something of a colony: for each copy, and for the role, a host."""
        goal = self.goal(entry.colony) if entry is not None else None
        if entry is None or goal is None:
            return []
        have = {entry.primary, *entry.peers}
        comes = [host for host in goal.holders if host not in have]
        return comes if entry.primary == goal.primary else [*comes, goal.primary]

    def has_come(self, host: str, directory: Directory, now_s: float) -> bool:
        """Return whether a host has all that the wave has for it, or gets no more of it."""
        if self.is_planning:
            return False
        if self._stands_still(directory, now_s, COMES_S):
            return True
        return not any(host in self.steps(directory.entries[colony]) for colony in self._open)

    def peak(self, host: str) -> int:
        """Return what a host may weigh on the way; 0 = anything."""
        return self._wave.peak(host) if self._wave is not None else 0

    # -- the wave -----------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether the census has said what a wave follows from, and it has not begun."""
        return self._said is not None

    @property
    def due(self) -> View | None:
        """The view of that census, whose members are the same for all; a later one some may not have yet."""
        return self._said[0] if self._said is not None else None

    def begin(self, hosts: Sequence[Candidate], settled: int, view: View, directory: Directory) -> None:
        """Begin a wave; `hosts`: the members, with all but what they carry."""
        assert self._said is not None, "the wave is not due"
        self._work = self._planned(self._said, hosts, settled, view, directory)
        self._said, self._budget = None, BUDGET_FIRST

    def _planned(
        self,
        said: tuple[View, Sequence[Heir], Mapping[str, Census]],
        hosts: Sequence[Candidate],
        settled: int,
        view: View,
        directory: Directory,
    ) -> Generator[int, None, None]:
        """Work the wave out, and find out who has a way to go; yields about how many looks that took."""
        known = yield from agreed(*said)
        members = []
        for number, host in enumerate(hosts):
            members.append(_with(host, known))
            if number % 64 == 63:
                yield 100
        wave = self._wave = Wave(
            known.places, known.sizes, members, settled, hard=view.charter.hard, frozen=view.is_frozen
        )
        yield from wave.work
        self._is_known = True
        self._open.clear()
        steps = Counter[str]()
        for number, colony in enumerate(wave.goals):
            entry = directory.entries[colony]
            if entry is not None:
                self._see(entry)
                steps.update(self.steps(entry))
            if number % 64 == 63:
                yield 60
        self.busiest = max(steps.values(), default=0)

    def advance(self, directory: Directory, now_s: float, *, is_urgent: bool = True) -> str:
        """Work the wave out, as far as one step goes, or see whether it has come to its end.

        Returns:
            Why it is given up, for people; "" = it is not.
        """
        if self._work is not None:
            left = BUDGET if is_urgent else self._budget
            self._budget = min(BUDGET, 2 * self._budget)
            while left > 0:
                spent = next(self._work, None)
                if spent is None:
                    self._work = None
                    break
                left -= spent
            return ""
        if self._wave is None:
            return ""
        why = self._trouble(directory, now_s) if self._open else ""
        if why or not self._open:
            self.end()
        return why

    def _trouble(self, directory: Directory, now_s: float) -> str:
        """Return why those that are not there yet decide by themselves from now on; "" = they don't."""
        if self._undone >= UNDONE_MAX:
            return f"others have led {self._undone} colonies away from where this host's wave has them"
        if self._stands_still(directory, now_s, STALLED_S):
            return f"nobody has got further for {STALLED_S:.0f} s, with {len(self._open)} colonies left"
        return ""

    def _stands_still(self, directory: Directory, now_s: float, for_s: float) -> bool:
        if self._stepped_s != self._stepped_s:
            self._stepped_s = now_s
        if now_s - self._stepped_s < for_s:
            return False
        entries: list[Any] = [directory.entries[colony] for colony in self._open]
        return not any(entry is not None and entry.learners for entry in entries)


def _with(host: Candidate, known: Agreed) -> Candidate:
    """Return a host with the figures that all know: its own word, or nothing of one that has just come."""
    cpu, free = known.figures.get(host.id, (0.0, None))
    flaps, box_flaps = known.records.get(host.id, (0, 0))
    return replace(host, cpu=min(1.0, max(0.0, cpu)), memory_free=free, flaps=flaps, box_flaps=box_flaps)


def _is_reached(goal: Goal, entry: Located) -> bool:
    peers = {entry.primary, *entry.peers}
    return (
        entry.primary == goal.primary and peers == set(goal.holders) and not (entry.learners or entry.going)
    )
