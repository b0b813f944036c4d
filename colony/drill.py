"""The drill: kill the hosts of a box, on purpose, and measure what that does.

It writes cells of its own all the time, in every colony that it can reach,
under keys that nobody else uses; kills; waits until all copies are there
again; and reads everything that was acknowledged. Only processes of this
very machine are killed, each by its pid, after a look that it is the one
that the view speaks of.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.keys import colony_of
from colony.commands.base import Exit
from colony.errors import ColonyError, OutcomeUnknown
from placement import probe

PREFIX = "colony:drill:"  # keys of drills begin so; nobody else's should
COLONIES_MAX = 256  # written to; one cell in each
WRITERS = 4
PACE_S = 0.002  # between two writes of a writer: a cluster at work is not to be crowded out
WARM_S = 1.0  # of writing before the kill
SETTLED_S = 0.5  # all must be well for so long
POLL_S = 0.05
CALL_S = 10.0
READ_S = 20.0  # for what was written to be read at the end

Json = Mapping[str, Any]


class Refused(Exception):
    """The drill can't be held; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Victim:
    """One host process, as the view lists it."""

    name: str
    id: str
    incarnation: int
    pid: int
    started_s: float


def victims(status: Json, names: Sequence[str]) -> list[Victim]:
    """Return the processes of these hosts; raises `Refused` unless all are theirs, and on this machine."""
    members = [m for m in (status.get("view") or {}).get("members") or () if m.get("name") in names]
    here, remote, doubtful = probe.machine_identity(), [], []
    found = []
    for member in members:
        victim = Victim(
            str(member["name"]),
            str(member["id"]),
            int(member["incarnation"]),
            int(member.get("pid") or 0),
            float(member.get("started_s") or 0.0),
        )
        if not here or member.get("machine") != here:
            remote.append(victim.name)
        elif victim.pid <= 0 or victim.pid == os.getpid() or not victim.started_s or not is_there(victim):
            doubtful.append(f"{victim.name} (pid {victim.pid})")
        found.append(victim)
    if remote:
        raise Refused(
            f"{', '.join(remote)} can't be killed from here: not a process of this machine. Run the drill "
            "there, or kill it there yourself (kill -9, or power off) and watch with colony events --follow"
        )
    if doubtful or not found:
        what = ", ".join(doubtful) or "nobody of that name"
        raise Refused(f"{what}: no process that is surely this host's; see colony status")
    return found


def is_there(victim: Victim) -> bool:
    """Return whether the process of this pid is the one that the view speaks of."""
    started_s = probe.process_started_s(victim.pid)
    return started_s > 0 and abs(started_s - victim.started_s) <= probe.SAME_START_S


def kill(doomed: Sequence[Victim]) -> None:
    """SIGKILL processes, all at once; raises `Refused` before the first if one is not what it was.

    By a descriptor of the process where there is such a thing: between the
    look and the signal a pid may come to be another's.
    """
    handles: list[tuple[Victim, int]] = []
    try:
        for victim in doomed:
            handle = os.pidfd_open(victim.pid) if hasattr(os, "pidfd_open") else -1
            handles.append((victim, handle))
            if not is_there(victim):
                raise Refused(f"{victim.name}: its process ended, or is another by now")
        for victim, handle in handles:
            if handle >= 0:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            else:
                os.kill(victim.pid, signal.SIGKILL)
    except ProcessLookupError as error:
        raise Refused(f"a process ended before it was to: {error}") from None
    except PermissionError:
        raise Refused("its process belongs to another user: run the drill as that one, or as root") from None
    finally:
        for _, handle in handles:
            if handle >= 0:
                os.close(handle)


@dataclass(slots=True)
class Cell:
    """One cell of the drill, written by one thread alone."""

    key: str
    tried: int = 0
    acked: int = 0


class Writers:
    """The probe workload: each thread counts up cells of its own, and notes how long each write took.

    Args:
        store: What writes.
        colonies: How many the cluster has.
    """

    def __init__(self, store: Any, colonies: int) -> None:
        self.run = secrets.token_hex(4)
        self.cells = [Cell(key) for key in keys_for(self.run, colonies)]
        self.failed = 0
        self._store = store
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._took: list[
            tuple[float, float]
        ] = []  # when a write that was acknowledged began, and how long it took
        self._threads = [
            threading.Thread(target=self._write, args=(self.cells[place::WRITERS],), daemon=True)
            for place in range(WRITERS)
            if self.cells[place::WRITERS]
        ]

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged."""
        return len(self._took)

    def start(self) -> None:
        """Begin to write."""
        for thread in self._threads:
            thread.start()

    def warm_up(self) -> None:
        """Write for a while; raises `Refused` if a cell can't be written even before anybody dies."""
        end_s = time.monotonic() + CALL_S
        time.sleep(WARM_S)
        while not all(cell.acked for cell in self.cells):
            if time.monotonic() >= end_s:
                raise Refused(
                    "not every colony takes writes now, before anybody was killed; see colony status"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End; waits for writes under way."""
        self._end.set()
        for thread in self._threads:
            thread.join(CALL_S + 2)

    def longest_s(self, since_s: float) -> float:
        """Return the longest that an acknowledged write took which was under way, or began, since then."""
        with self._lock:
            return max((took_s for began_s, took_s in self._took if began_s + took_s >= since_s), default=0.0)

    def _write(self, cells: list[Cell]) -> None:
        place = 0
        while not self._end.wait(PACE_S):
            cell = cells[place % len(cells)]
            began_s = time.monotonic()
            cell.tried += 1
            try:
                self._store.set(cell.key, cell.tried, ttl=3600)
            except OutcomeUnknown:
                continue  # the same cell again, with a higher count: the next one says where it stands
            except ColonyError:
                with self._lock:
                    self.failed += 1
                continue
            cell.acked = cell.tried
            place += 1
            with self._lock:
                self._took.append((began_s, time.monotonic() - began_s))

    def lost(self) -> tuple[int, int]:
        """Read everything back; return how many acknowledged writes are gone, and cells can't be read."""
        end_s = time.monotonic() + READ_S
        gone = unread = 0
        for cell in self.cells:
            while True:
                try:
                    seen = self._store.get(cell.key, 0)
                    gone += max(0, cell.acked - int(seen))
                    break
                except ColonyError:
                    if time.monotonic() >= end_s:
                        unread += 1
                        break
        return gone, unread

    def remove(self) -> int:
        """Remove the drill's cells; return how many could not be (they expire within the hour)."""
        left = 0
        for cell in self.cells:
            try:
                self._store.delete(cell.key)
            except ColonyError:
                left += 1
        return left


def keys_for(run: str, colonies: int) -> list[str]:
    """Return one key for each colony, of `COLONIES_MAX` at most, spread over all."""
    wanted = min(colonies, COLONIES_MAX)
    found: dict[int, str] = {}
    number = 0
    while len(found) < wanted and number < 200 * COLONIES_MAX:
        key = f"{PREFIX}{run}:{number}"
        found.setdefault(colony_of(key.encode(), colonies), key)
        number += 1
    return [found[colony] for colony in sorted(found)][:wanted]


@dataclass(slots=True)
class Outcome:
    """What a drill has found.

    Attributes:
        killed: Names of the hosts.
        acknowledged: Writes, in all.
        longest_pause_s: The longest that an acknowledged write waited.
        repaired_s: Until every colony had its copies again; None = not within the patience.
        settled: (before, after) copies that the hosts can carry of each colony.
        views: (before, after) the kill, as `generation.number`.
        lost_colonies: How many the cluster named as lost meanwhile.
    """

    killed: list[str]
    acknowledged: int = 0
    failed: int = 0
    lost: int = 0
    unread: int = 0
    longest_pause_s: float = 0.0
    repaired_s: float | None = None
    settled: tuple[int, int] = (0, 0)
    views: tuple[str, str] = ("", "")
    lost_colonies: int = 0
    left_behind: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> Exit:
        """The exit status that says the same."""
        if self.lost or self.lost_colonies:
            return Exit.LOST
        if self.unread or not self.acknowledged or self.repaired_s is None:
            return Exit.FAILED
        return Exit.DONE

    def as_json(self) -> dict[str, Any]:
        """Return it as `colony drill --json` prints it."""
        told = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("settled", "views", "notes")
        }
        told |= {"settled_before": self.settled[0], "settled_after": self.settled[1]}
        told |= {"view_before": self.views[0], "view_after": self.views[1]}
        return told | {"passed": self.status is Exit.DONE, "status": int(self.status)}

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        repaired = "not in time" if self.repaired_s is None else f"after {self.repaired_s:.2f} s"
        fewer = (
            f" (of {self.settled[1]} copies: fewer hosts carry no more)"
            if self.settled[1] < self.settled[0]
            else ""
        )
        lines = [
            f"killed               {', '.join(self.killed)}",
            f"acknowledged writes  {self.acknowledged:,}, {self.failed} refused",
            f"lost                 {self.lost}"
            + (f", {self.lost_colonies} colonies" if self.lost_colonies else ""),
            f"longest pause        {self.longest_pause_s:.3f} s",
            f"all copies again     {repaired}{fewer}",
            f"view                 {self.views[0]} to {self.views[1]}",
        ]
        if self.unread:
            lines.append(f"{self.unread} cells of the drill could not be read at the end: not verified")
        if self.left_behind:
            lines.append(
                f"{self.left_behind} cells of the drill are left behind; they expire within the hour"
            )
        verdicts = {Exit.DONE: "passed", Exit.LOST: "FAILED: acknowledged writes were lost"}
        return [*lines, verdicts.get(self.status, "FAILED")]


def hold(
    store: Any,
    doomed: Sequence[Victim],
    within_s: float,
    tell: Callable[[str], None],
) -> Outcome:
    """Hold the drill, and return what came of it; its cells are removed whatever happens.

    Raises:
        Refused: A process is not what it was; nothing was killed.
    """
    before = store.admin("status", {"colonies": False})
    writers = Writers(store, int((before.get("colonies") or {}).get("count") or 0))
    outcome = Outcome([victim.name for victim in doomed])
    writers.start()
    try:
        writers.warm_up()
        fault_s = time.monotonic()
        kill(doomed)
        tell(f"killed {', '.join(outcome.killed)}; waiting until all copies are there again")
        after = _repaired(store, doomed, before, fault_s, within_s, outcome)
        time.sleep(SETTLED_S)
        writers.stop()
        outcome.longest_pause_s = writers.longest_s(fault_s)
        outcome.acknowledged, outcome.failed = writers.acknowledged, writers.failed
        outcome.lost, outcome.unread = writers.lost()
        outcome.views = _view(before), _view(after)
        outcome.settled = _count(before, "settled"), _count(after, "settled")
        outcome.lost_colonies = max(0, _count(after, "lost") - _count(before, "lost"))
    finally:
        writers.stop()
        outcome.left_behind = writers.remove()
    return outcome


def _repaired(
    store: Any, doomed: Sequence[Victim], before: Json, fault_s: float, within_s: float, outcome: Outcome
) -> Json:
    """Wait until the dead are out of the view and every colony is well; return the last state."""
    gone = {(victim.id, victim.incarnation) for victim in doomed}
    status: Json = before
    well_s: float | None = None
    while time.monotonic() < fault_s + within_s:
        try:
            status = store.admin("status", {"colonies": False})
        except ColonyError:
            time.sleep(POLL_S)
            continue
        now_s = time.monotonic()
        members = (status.get("view") or {}).get("members") or ()
        dropped = not gone & {(m.get("id"), m.get("incarnation")) for m in members}
        well = _count(status, "healthy") == _count(status, "count") > 0 and not status.get("moves")
        if not (dropped and well and status.get("quorum")):
            well_s = None
        elif well_s is None:
            well_s = now_s
        elif now_s - well_s >= SETTLED_S:
            outcome.repaired_s = well_s - fault_s
            return status
        time.sleep(POLL_S)
    return status


def _count(status: Json, what: str) -> int:
    return int((status.get("colonies") or {}).get(what) or 0)


def _view(status: Json) -> str:
    view = status.get("view") or {}
    return f"{view.get('generation', 0)}.{view.get('number', 0)}"
