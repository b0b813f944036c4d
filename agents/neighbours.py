"""Neighbours: what supervisors hear of each other on their control link.

A supervisor says twice a second that it is there. Of one on the same machine
its process is watched, too, and it is started again when that ends; of one on
another machine nothing can be done from here but to say so, loudly.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

BEAT_S = 0.5
SILENT_S = 5.0  # ten beats; a busy machine delays a process by a second or two
NEIGHBOURS_MAX = 64


@dataclass(frozen=True, slots=True)
class Beat:
    """What a supervisor says of itself.

    Attributes:
        machine: Identity of its machine and process namespace; "" = unknown.
        life: Names one run of it; later ones are greater.
        number: Counts its beats: an old one said again is no sign of life.
        folder: Its state directory, where a neighbour on the same machine learns how to start it.
        hosts: Names of the hosts that it runs.
        gave_up: Names of those that it gave up.
        is_last: It ends now, in good order.
    """

    name: str
    machine: str
    pid: int
    started_s: float
    life: int
    number: int
    folder: str = ""
    hosts: tuple[str, ...] = ()
    gave_up: tuple[str, ...] = ()
    is_last: bool = False


@dataclass(slots=True)
class Neighbour:
    """One supervisor as it is known here."""

    beat: Beat
    heard_s: float
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """A beat is news: of a new life, or of one that was silent."""

    beat: Beat
    is_new: bool
    silent_s: float


class Neighbours:
    """All other supervisors that this one has heard of."""

    def __init__(self, me: str, machine: str) -> None:
        self._me, self._machine = me, machine
        self.known: dict[str, Neighbour] = {}

    def is_near(self, beat: Beat) -> bool:
        """Return whether its process can be seen, and started again, from here."""
        return bool(self._machine) and beat.machine == self._machine and bool(beat.folder)

    def heard(self, beat: Beat, now_s: float) -> Heard | None:
        """Take a beat; return None if it is none, or nothing new."""
        old = self.known.get(beat.name)
        if beat.name == self._me or (old is None and len(self.known) >= NEIGHBOURS_MAX):
            return None
        if old is not None and (beat.life, beat.number) <= (old.beat.life, old.beat.number):
            return None  # late, or somebody says again what was said
        is_new = old is None or old.beat.life != beat.life
        silent_s = now_s - old.heard_s if old is not None and old.is_silent and not old.beat.is_last else 0.0
        # One that ended stays known: else an old beat, said again, would bring it back.
        self.known[beat.name] = Neighbour(beat, now_s, is_silent=beat.is_last)
        return Heard(beat, is_new, silent_s) if is_new or silent_s or beat.is_last else None

    def gone_silent(self, now_s: float) -> list[Beat]:
        """Return the last beats of those that have just been silent for too long."""
        found = []
        for neighbour in self.known.values():
            if not neighbour.is_silent and now_s - neighbour.heard_s >= SILENT_S:
                neighbour.is_silent = True
                found.append(neighbour.beat)
        return found

    def next_s(self) -> float:
        """Return when the next one may be silent for too long."""
        return min((n.heard_s + SILENT_S for n in self.known.values() if not n.is_silent), default=inf)
