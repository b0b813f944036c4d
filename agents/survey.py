"""The survey: all members as placement sees them, from what this host knows.

What others tell of themselves (heartbeats) is looked at a few times a second,
what the directory tells at once; between two looks only the hosts that
something has changed for are made anew. So a look costs little however many
hosts there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agents.household import Household
from agents.machines import Shared, cpu_seen, machine_of, machines
from agents.messages.membership import Load
from agents.views import Member, Status, View
from placement.attraction import FILL_GOOD
from placement.balance import Means, fair_weight
from placement.resources import Candidate, spare
from placement.sampling import sampled
from placement.settle import carriers

FRESH_S = 0.25  # heartbeats tell of loads about once a second


class Field:
    """All members at one moment, and what is known of them together.

    Attributes:
        hosts: In order of seniority.
        means: What those that accept copies carry.
    """

    def __init__(self, hosts: list[Candidate], before: Means | None = None) -> None:
        self.hosts = hosts
        self.place_of = {host.id: place for place, host in enumerate(hosts)}
        self.means = Means.of(hosts, before)

    def around(self, colony: int, holders: tuple[str, ...], turn: int = 0) -> list[Candidate]:
        """Return the hosts that a colony looks at: see `placement.sampling`."""
        found = sampled(self.hosts, self.place_of, colony, holders, turn=turn)
        return found if isinstance(found, list) else list(found)

    def put(self, host: Candidate) -> None:
        """Take a newer figure of a member."""
        place = self.place_of.get(host.id)
        if place is not None:
            self.hosts[place] = host

    def of(self, host: str) -> Candidate | None:
        """Return a member as it is seen; None = it is none."""
        place = self.place_of.get(host)
        return self.hosts[place] if place is not None else None

    def those(self, hosts: Iterable[str]) -> list[Candidate]:
        """Return these hosts as they are seen, but for those that are no members."""
        return [host for host in map(self.of, hosts) if host is not None]


class Survey:
    """One host's picture of all members."""

    def __init__(self, host: Household) -> None:
        self.host = host
        self._field = Field([])
        self._view = 0
        self._made_s = 0.0
        self._machines: dict[str, Shared] = {}
        self._kept: dict[str, tuple[tuple[object, ...], Candidate]] = {}  # what each was made of, and it
        self.in_wave = False  # who is crowded or hungry half-way says nothing of who will be
        self._given: set[str] = set()  # hosts whose figures say what they will have, once it is done

    def candidates(self) -> list[Candidate]:
        """Return all members as they are known this moment, most senior first."""
        view = self.host.view
        if view is None:
            return []
        self._machines = machines(view.members, self.host.membership.loads)
        return [self._candidate(member) for member in view.members]

    def look(self, now_s: float) -> Field:
        """Return all members, as fresh as decisions need them."""
        view, directory = self.host.view, self.host.directory
        if view is None:
            return Field([])
        if view.id != self._view or not 0 <= now_s - self._made_s < FRESH_S:
            self._view, self._made_s = view.id, now_s
            if len(self._kept) > 2 * len(view.members):  # hosts that have gone
                self._kept.clear()
            self._field = Field(self.candidates(), self._before())
        elif directory.touched or self._given:
            self._renew(view, directory.touched | self._given)
        directory.touched.clear()
        self._given.clear()
        return self._field

    def _renew(self, view: View, changed: set[str]) -> None:
        for member in map(view.member, changed):
            if member is not None:
                self._field.put(self._candidate(member))
        self._field.means = Means.of(self._field.hosts, self._before())

    def _before(self) -> Means | None:
        return None if self.in_wave else self._field.means

    def give(
        self,
        host_id: str,
        *,
        copies: int = 0,
        bytes_used: int = 0,
        bytes_going: int = 0,
        primaries: int = 0,
    ) -> None:
        """Count from now on, and until the directory does, what a host is to have."""
        seen = self._field.of(host_id)
        if seen is not None:
            self._given.add(host_id)
            self._field.put(
                replace(
                    seen,
                    copies=max(0, seen.copies + copies),
                    bytes_used=max(0, seen.bytes_used + bytes_used),
                    bytes_going=seen.bytes_going + bytes_going,
                    primaries=max(0, seen.primaries + primaries),
                )
            )

    def fair_weight(self, settled: int) -> float:
        """Return what each host carries once all colonies have so many peers, evenly."""
        directory = self.host.directory
        hosts = carriers(self._field.hosts)
        return fair_weight(hosts, directory.set_bytes, len(directory.entries), settled)

    def _bytes_used(self, member: Member, load: Load) -> int:
        """Return what a host carries; near its limit by its own, fresh word, if that is more.

        Sizes in the directory are means over seconds, with what is to come: by these a host would
        be full before anybody made room on it.
        """
        used = self.host.directory.bytes_used[member.id]
        near = bool(member.bytes_max) and load.bytes_used > FILL_GOOD * member.bytes_max
        return max(used, load.bytes_used) if near else used

    def listed(self, view: View) -> list[Candidate]:
        """Return all members with nothing but what a view says of them."""
        return [_candidate_of(member, Load(), (0.0, 0.0), 0, 0, 0, 0, 0, 0) for member in view.members]

    def _candidate(self, member: Member) -> Candidate:
        directory = self.host.directory
        load = self.host.membership.loads.get(member.id) or Load()
        made_of = (
            member,
            load,
            cpu_seen(load, self._machines.get(machine_of(member))),
            self._bytes_used(member, load),
            directory.bytes_going[member.id],
            directory.copies[member.id],
            directory.primaries[member.id],
            *self.host.membership.reputation.figures(member, self._made_s),
        )
        kept = self._kept.get(member.id)
        if kept is None or kept[0] != made_of:
            kept = self._kept[member.id] = made_of, _candidate_of(*made_of)
        return kept[1]


def _candidate_of(
    member: Member,
    load: Load,
    cpu: tuple[float, float],
    bytes_used: int,
    bytes_going: int,
    copies: int,
    primaries: int,
    flaps: int,
    box_flaps: int,
) -> Candidate:
    full = bool(member.bytes_max) and load.bytes_used >= member.bytes_max
    free = load.steady_free if load.steady_free >= 0 else load.memory_free
    leaving = member.status is Status.LEAVING
    return Candidate(
        id=member.id,
        name=member.name,
        labels=member.labels,
        memory_free=spare(free, load.memory_total) if load.memory_total else None,
        bytes_max=member.bytes_max,
        bytes_used=bytes_used,
        bytes_going=bytes_going,
        cpu=cpu[0],
        cpu_others=cpu[1],
        copies=copies,
        primaries=primaries,
        accepts=not (leaving or member.witness or full),
        joining=member.status is Status.JOINING,
        leaving=leaving,
        witness=member.witness,
        flaps=flaps,
        box_flaps=box_flaps,
        traffic=load.traffic,
        because="is full" if full else "",
    )
