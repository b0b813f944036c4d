"""The share: what a host asks of others until it carries about as much as they do.

A joiner, or a host that carries far too little, works out what is its due,
looks for colonies whose hosts carry more than it does, the most loaded first,
and asks their primaries for them. A host that carries too much asks the
primaries of some of its secondaries to move these: as few, and as large, as
make up for what is too much. The primaries agree or don't.

Many agree at once, each without knowing of the others: what was asked for
counts as done, or too much moves, and most of it goes back.
"""

from __future__ import annotations

from collections import deque
from itertools import zip_longest
from typing import Any, Protocol

from agents.course import Course
from agents.effects import Effect, Send
from agents.messages.replication import Invite, InviteAnswer
from agents.survey import Field, Survey
from agents.views import Status
from placement.balance import EVEN, fair_weight
from placement.moves import claims
from placement.reasons import Move
from placement.resources import COPY_BYTES
from placement.settle import Settled, carriers, fair_share
from placement.ties import tie_order

INVITES_MAX = 8
# At a time, some 20 times a second: so many, or one of so many that are due.
INVITES_STEP, INVITES_SHARE = 1, 50
CLAIM_S = 0.25
CLAIM_WINDOW = 256  # colonies looked at each time: some 40 µs each
INVITE_S = 1.0  # an invitation that is not answered by then is forgotten
DECLINED_S = 0.25  # one that was declined: its primary was busy with another, or knew later figures
STALLED_S = 1.0  # a joiner whom nobody gives more has its share
RELIEVE = "relieve"
CALM_S = 3.0  # after a change of view, population and joiners come first
RELIEF_S = 0.5  # between two looks at what may go
RELIEFS_MAX = 4  # copies that are asked to go at a time
ASKED_S = 10.0  # a colony that could not move is not asked again so soon


class Governor(Protocol):
    """What a joiner's share needs of the governor."""

    course: Course
    survey: Survey
    settled: Settled
    host: Any


class Share:
    """One host's way to its share."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._invites: dict[int, tuple[str, float, int]] = {}  # colony -> (kind, "" = declined; when; weight)
        self._claims: deque[Move] = deque()
        self._claimed_s = float("-inf")
        self._at = 0  # the next window of colonies begins there
        self._found_nothing = 0  # colonies in a row that offer nothing
        self._grown = (-1, 0.0)
        self._view_s = 0.0
        self._looked_s = float("-inf")
        self._asked_s: dict[int, float] = {}  # colonies that were asked to leave this host

    @property
    def is_joining(self) -> bool:
        """Whether this host is to be given a share."""
        host = self._governor.host
        view = host.view
        me = view.member(host.me) if view is not None else None
        return me is not None and me.status is Status.JOINING

    @property
    def is_idle(self) -> bool:
        """Whether this host has nothing to ask others for, and waits for nothing that it asked for."""
        return not (self.is_joining or self._invites or self._claims)

    def view_installed(self) -> None:
        """Others may have come: look again at everything."""
        self._invites.clear()
        self._claims.clear()
        self._claimed_s = float("-inf")
        self._found_nothing = 0
        self._asked_s.clear()
        self._view_s = float("nan")  # known when it is asked next

    def is_reached(self, now_s: float) -> bool:
        """Return whether this joiner carries its share, or is offered no more."""
        host = self._governor.host
        view, directory, waiting = host.view, host.directory, host.restoring.waiting
        if view is None or any(e is None and c not in waiting for c, e in enumerate(directory.entries)):
            return False
        me = view.member(host.me)
        if me is None or me.witness or view.is_frozen:
            return me is not None
        course = self._governor.course
        if course.is_active:  # its share comes by the wave
            return course.has_come(me.id, directory, now_s)
        have = directory.copies[me.id] + directory.primaries[me.id]
        if self._grown[0] != have:
            self._grown = (have, now_s)
        if self._claimed_s == float("-inf") or self._found_nothing < len(directory.entries):
            # It has not looked around in this view yet.
            return self._claimed_s > float("-inf") and now_s - self._grown[1] > STALLED_S
        if any(me.id in entry.learners for entry in directory.entries if entry is not None):
            return False  # what still comes may yet fail
        return not (self._claims or self._invites) or now_s - self._grown[1] > STALLED_S

    def is_patient(self, now_s: float) -> bool:
        """Return whether this host asked for relief that did not come yet: it will ask again."""
        return any(now_s - at_s < ASKED_S + 2 * RELIEF_S for at_s in self._asked_s.values())

    def _claim(self, now_s: float) -> None:
        """Find out, now and then, what this host may ask others for."""
        if now_s - self._claimed_s < CLAIM_S:
            return
        self._claimed_s = now_s
        host, count = self._governor.host, len(self._governor.host.directory.entries)
        window = [(self._at + n) % count for n in range(min(CLAIM_WINDOW, count))]
        entries = [host.directory.entries[colony] for colony in window]
        sizes = {e.colony: e.bytes_used for e in entries if e is not None}
        members = set(host.view.ids)
        free = [
            host.directory.place(colony, members)
            for colony in window
            if colony not in self._invites and not self._comes(colony)
        ]
        due, field = self._due(now_s), self._governor.survey.look(now_s)
        found = claims(
            host.me, free, field.hosts, bytes_by_colony=sizes, limit=CLAIM_WINDOW, means=field.means
        )
        self._claims = deque(self._fitting([move for move in found if due[move.kind] > 0], due, sizes))
        self._found_nothing = 0 if self._claims else self._found_nothing + len(window)
        if due["copy"] <= 0 and due["role"] <= 0:
            self._found_nothing = count
        self._at = (self._at + len(window)) % max(1, count)

    def _fitting(self, moves: list[Move], due: dict[str, int], sizes: dict[int, int]) -> list[Move]:
        """Return some copies, in turn one of each giver, the most loaded first; of the size that is due.

        As many as may be under way at a time: with just one of each giver a joiner takes seconds, or minutes.
        """
        wanted = max(0, due["weight"]) / max(1, due["copy"])
        of_giver: dict[str, list[tuple[float, int, Move]]] = {}
        for place, move in enumerate(moves):
            if move.kind == "copy":
                off = abs(sizes.get(move.colony, 0) + COPY_BYTES - wanted)
                of_giver.setdefault(move.source, []).append((off, place, move))
        rounds = zip_longest(*(sorted(offered) for offered in of_giver.values()))
        copies = [found[2] for turn in rounds for found in turn if found is not None]
        roles = [move for move in moves if move.kind != "copy"]
        return [*copies[:INVITES_MAX], *roles]

    def _comes(self, colony: int) -> bool:
        host = self._governor.host
        entry = host.directory.entries[colony]
        return entry is not None and host.me in entry.learners

    def _due(self, now_s: float) -> dict[str, int]:
        """Return how many copies and roles, and what weight, this host may still ask for."""
        host, directory, settled = self._governor.host, self._governor.host.directory, self._governor.settled
        hosts = carriers(self._governor.survey.look(now_s).hosts)
        colonies = len(directory.entries)
        share = fair_share(max(1, len(hosts)), colonies, settled.number)
        weight = fair_weight(hosts, directory.set_bytes, colonies, settled.number)
        mine = directory.bytes_used[host.me] + directory.copies[host.me] * COPY_BYTES
        asked = [kind for kind, _, _ in self._invites.values()]
        coming = sum(size for kind, _, size in self._invites.values() if kind == "copy")
        return {
            "copy": share.copies - directory.copies[host.me] - asked.count("copy"),
            "role": share.primaries - directory.primaries[host.me] - asked.count("role"),
            "weight": int(weight) - mine - coming,
        }

    def _is_here(self, colony: int, kind: str) -> bool:
        """Return whether the directory counts already what was asked for."""
        entry, me = self._governor.host.directory.entries[colony], self._governor.host.me
        if entry is None or not kind:
            return False
        return entry.primary == me if kind == "role" else me in entry.peers or me in entry.learners

    def ask(self, now_s: float, out: list[Effect]) -> None:
        """Ask for what is due, or for relief, if anything is."""
        if self.is_joining:
            self._ask_for_more(now_s, out)
            return
        if self._view_s != self._view_s:
            self._view_s = now_s
        if now_s - self._looked_s < RELIEF_S or now_s - self._view_s < CALM_S:
            return
        self._looked_s = now_s
        host, field = self._governor.host, self._governor.survey.look(now_s)
        if any(m.status is not Status.ACTIVE for m in host.view.members):
            return  # who joins asks for what is too much here, and who leaves brings more
        if host.me in field.means.crowded:
            self._ask_for_relief(field, now_s, out)
        elif host.me in field.means.hungry:
            self._ask_for_more(now_s, out)

    def _ask_for_relief(self, field: Field, now_s: float, out: list[Effect]) -> None:
        """Ask the primaries of some secondaries here to move them to hosts that carry less."""
        host, me = self._governor.host, field.of(self._governor.host.me)
        if me is None:
            return
        self._asked_s = {c: at_s for c, at_s in self._asked_s.items() if now_s - at_s < ASKED_S}
        excess = me.weight - field.means.weight
        movable = []
        for colony, machine in host.colonies.items():
            entry = host.directory.entries[colony]
            if entry is None or host.me not in entry.peers or entry.primary == host.me or entry.learners:
                continue
            if machine.primary is None and colony not in self._asked_s and host.me not in entry.going:
                movable.append((entry.bytes_used + COPY_BYTES, colony))
        for _ in range(RELIEFS_MAX):
            found = self._first_to_go(movable, excess + EVEN * field.means.weight)
            if found is None or excess <= EVEN * field.means.weight:
                return
            movable.remove(found)
            weight, colony = found
            excess -= weight
            self._asked_s[colony] = now_s
            out.append(Send(host.directory.primary(colony), Invite(colony, RELIEVE)))

    def _first_to_go(self, movable: list[tuple[int, int]], excess: float) -> tuple[int, int] | None:
        """Return the largest copy (weight, colony) that is not too large for what is too much, if any."""
        me = self._governor.host.me
        fitting = [(weight, colony) for weight, colony in movable if weight <= excess]
        return min(fitting, key=lambda one: (-one[0], tie_order(one[1], me), one[1]), default=None)

    def _ask_for_more(self, now_s: float, out: list[Effect]) -> None:
        """Ask the primaries of crowded hosts to move something here."""
        host = self._governor.host
        for colony, (kind, at_s, _) in list(self._invites.items()):
            if now_s - at_s > (INVITE_S if kind else DECLINED_S) or self._is_here(colony, kind):
                del self._invites[colony]
        self._claim(now_s)
        due = self._due(now_s)
        open_now = sum(bool(kind) for kind, _, _ in self._invites.values())
        left = max(INVITES_STEP, (due["copy"] + due["role"]) // INVITES_SHARE)
        while self._claims and open_now < INVITES_MAX and left > 0:
            move = self._claims.popleft()
            primary, entry = host.directory.primary(move.colony), host.directory.entries[move.colony]
            if not primary or primary == host.me or entry is None or due[move.kind] <= 0:
                continue
            weight = entry.bytes_used + COPY_BYTES if move.kind == "copy" else 0
            if weight > 2 * max(0, due["weight"]):
                continue  # it would carry more than others then
            open_now += 1
            left -= 1
            due[move.kind] -= 1
            due["weight"] -= weight
            self._invites[move.colony] = (move.kind, now_s, weight)
            out.append(Send(primary, Invite(move.colony, move.kind)))

    def answered(self, message: InviteAnswer, now_s: float) -> None:
        """A primary agreed, and the clone comes; or it did not: another is asked."""
        asked = self._invites.get(message.colony)
        if message.agreed:
            self._asked_s.pop(message.colony, None)
        if asked is not None and not message.agreed:
            self._invites[message.colony] = ("", asked[1], 0)  # not this one again so soon
