"""A virtual network of pipes: delays, resets, cuts and partitions.

A pipe is what a host opened to another for one link incarnation. It carries
frames one way, on planes that don't wait for each other, as the real links'
sockets do.

Rules kept here:

* FIFO on one plane of a pipe, no other order.
* A pipe that breaks loses what was in flight, except for a first part that
  the network had already swallowed: it may still arrive, late. It is for the
  links to refuse it.
* The opener of a broken pipe notices after a while, or when it sends next;
  the other end is never told.
* A cut direction holds back what is sent over it, as TCP would; when the cut
  heals, what was held arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agents.sim_clock import Chance, Timeline

LAST_WORDS_S = 0.2  # as in the runtime's loop: sockets stay open for so long

Route = tuple[str, str]
PipeKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the network behaves when nothing is broken.

    Attributes:
        delay_s: Shortest and longest one-way delay; each direction of each
            pair of hosts gets its own from this range.
        jitter_s: Longest extra delay of a frame.
        bulk_s: Longest extra delay of a frame on any plane but the first.
        bulk_bytes_s: What a host's bulk planes carry together, bytes per second; 0 = without end.
        notice_s: Longest time until the opener notices a broken pipe.
        late_share: Chance that what a broken pipe had in flight arrives in part.
        late_s: Longest extra delay of what arrives from a broken pipe.
    """

    delay_s: tuple[float, float] = (0.0002, 0.004)
    jitter_s: float = 0.002
    bulk_s: float = 0.0
    bulk_bytes_s: float = 0.0
    notice_s: float = 0.05
    late_share: float = 0.5
    late_s: float = 0.2


class Plane:
    """One connection of a pipe."""

    __slots__ = ("arrived", "held", "last_s", "late_s", "limit", "number", "sent")

    def __init__(self, number: int, ready_s: float) -> None:
        self.number = number
        self.sent = 0
        self.arrived = 0
        self.limit = 1 << 60  # frames after this one never arrive
        self.last_s = ready_s
        self.late_s = 0.0
        self.held: deque[Any] = deque()


class Pipe:
    """What one host opened to another for one link incarnation, one way."""

    __slots__ = ("broken", "closed", "incarnation", "own", "planes", "ready_s", "route")

    def __init__(self, route: Route, incarnation: int, own: Any, ready_s: float) -> None:
        self.route = route
        self.incarnation = incarnation
        self.own = own
        self.ready_s = ready_s
        self.planes: dict[int, Plane] = {}
        self.broken = False
        self.closed = False


class Network:
    """All pipes between the hosts.

    Args:
        timeline: Virtual time.
        chance: Seeded chance.
        shape: Delays.
        deliver: Called with (target, pipe, plane, frame) on arrival.
        lost: Called with the pipe when its opener notices that it is broken.
        is_up: Whether a host's process exists (it may be paused).
    """

    def __init__(
        self,
        timeline: Timeline,
        chance: Chance,
        shape: Shape,
        *,
        deliver: Callable[[str, Pipe, int, Any], None],
        lost: Callable[[Pipe], None],
        is_up: Callable[[str], bool],
    ) -> None:
        self._timeline = timeline
        self._chance = chance
        self._shape = shape
        self._deliver = deliver
        self._lost = lost
        self._is_up = is_up
        self._pipes: dict[PipeKey, Pipe] = {}
        self._delays: dict[Route, float] = {}
        self._cut: dict[Route, int] = {}
        self.slow_s: dict[Route, float] = {}
        self._busy_s: dict[str, float] = {}  # until when a host's bulk planes are full

    # -- pipes ---------------------------------------------------------------

    def open(self, source: str, target: str, incarnation: int, own: Any = None) -> None:
        """Connect; a target that is down refuses, and the opener hears of it.

        Args:
            own: Whatever the receiving end shall find in `Pipe.own`.
        """
        route = source, target
        ready_s = self._timeline.now_s + 2 * self._base_s(route)
        pipe = Pipe(route, incarnation, own, ready_s)
        self._pipes[source, target, incarnation] = pipe
        if not self._is_up(target):
            self._break(pipe, self.delay_s(route))

    def close(self, source: str, target: str, incarnation: int) -> None:
        """Close from the opener's end: it will not be told of anything more."""
        pipe = self._pipes.pop((source, target, incarnation), None)
        if pipe is not None:
            pipe.closed = True
            self._lose_tail(pipe)

    def send(
        self, source: str, target: str, incarnation: int, plane_number: int, frame: Any, size: int = 0
    ) -> None:
        """Send a frame; on a broken pipe the opener notices at once.

        Args:
            size: Its bytes, where bulk planes have no more than so many a second.
        """
        pipe = self._pipes.get((source, target, incarnation))
        if pipe is None:
            return
        if pipe.broken:
            self._timeline.after(0.0, self._notice, pipe)
            return
        plane = pipe.planes.get(plane_number)
        if plane is None:
            plane = pipe.planes[plane_number] = Plane(plane_number, pipe.ready_s)
        plane.sent += 1
        at_s = self._timeline.now_s + self.delay_s(pipe.route)
        if plane_number and self._shape.bulk_s:
            at_s += self._chance.random() * self._shape.bulk_s
        if plane_number and self._shape.bulk_bytes_s:
            began_s = max(self._timeline.now_s, self._busy_s.get(source, 0.0))
            self._busy_s[source] = began_s + size / self._shape.bulk_bytes_s
            at_s += self._busy_s[source] - self._timeline.now_s
        if at_s < plane.last_s:
            at_s = plane.last_s
        plane.last_s = at_s
        self._timeline.at(at_s, self._arrive, pipe, plane, frame)

    def _arrive(self, pipe: Pipe, plane: Plane, frame: Any) -> None:
        if plane.late_s:
            self._timeline.after(plane.late_s, self._arrive_late, pipe, plane, frame)
            return
        if plane.held or pipe.route in self._cut:
            if plane.arrived + len(plane.held) < plane.limit:
                plane.held.append(frame)
            return
        self._hand_over(pipe, plane, frame)

    def _arrive_late(self, pipe: Pipe, plane: Plane, frame: Any) -> None:
        if pipe.route not in self._cut:
            self._hand_over(pipe, plane, frame)

    def _hand_over(self, pipe: Pipe, plane: Plane, frame: Any) -> None:
        plane.arrived += 1
        if plane.arrived <= plane.limit:
            self._deliver(pipe.route[1], pipe, plane.number, frame)

    def _break(self, pipe: Pipe, notice_s: float) -> None:
        if not pipe.broken:
            pipe.broken = True
            self._lose_tail(pipe)
            self._timeline.after(notice_s, self._notice, pipe)

    def _lose_tail(self, pipe: Pipe) -> None:
        for plane in pipe.planes.values():
            in_flight = plane.sent - plane.arrived
            late = 0
            if in_flight and self._chance.random() < self._shape.late_share:
                late = self._chance.randrange(0, in_flight + 1)
                plane.late_s = plane.late_s or self._chance.random() * self._shape.late_s
            plane.limit = min(plane.limit, plane.arrived + late)
            while len(plane.held) > late:
                plane.held.pop()

    def _notice(self, pipe: Pipe) -> None:
        if not pipe.closed:
            pipe.closed = True
            del self._pipes[(*pipe.route, pipe.incarnation)]
            self._lost(pipe)

    def delay_s(self, route: Route) -> float:
        """Return the delay of one frame sent now."""
        return self._base_s(route) + self._chance.random() * self._shape.jitter_s

    def _base_s(self, route: Route) -> float:
        delay_s = self._delays.get(route)
        if delay_s is None:
            delay_s = self._delays[route] = self._chance.uniform(*self._shape.delay_s)
        return delay_s + self.slow_s.get(route, 0.0) if self.slow_s else delay_s

    # -- faults --------------------------------------------------------------

    def reset(self, source: str, target: str) -> None:
        """Break every pipe from `source` to `target`; each is noticed in its own time."""
        for pipe in list(self._pipes.values()):
            if pipe.route == (source, target):
                self._break(pipe, self._chance.random() * self._shape.notice_s)

    def host_died(self, host: str, *, gently: bool = False) -> None:
        """Break every pipe from and to a host whose process ended.

        Args:
            gently: It let what it had said leave first.
        """
        for key, pipe in list(self._pipes.items()):
            if key[0] == host:
                pipe.closed = True
                if not gently:
                    self._lose_tail(pipe)
                del self._pipes[key]
            elif key[1] == host:
                self._break(pipe, self._chance.random() * self._shape.notice_s + gently * LAST_WORDS_S)
                for plane in pipe.planes.values():
                    plane.limit = 0  # nobody is there to take what arrives
                    plane.held.clear()

    def cut(self, source: str, target: str) -> None:
        """Hold back what `source` sends to `target`; cuts of one direction add up."""
        self._cut[source, target] = self._cut.get((source, target), 0) + 1

    def heal(self, source: str, target: str) -> None:
        """Take back one cut; after the last one, what was held arrives."""
        route = source, target
        left = self._cut.get(route, 0) - 1
        if left > 0:
            self._cut[route] = left
        elif left == 0:
            del self._cut[route]
            self._release(route)

    def heal_all(self) -> None:
        """Take back every cut and every slowness."""
        self.slow_s.clear()
        routes = list(self._cut)
        self._cut.clear()
        for route in routes:
            self._release(route)

    def is_cut(self, source: str, target: str) -> bool:
        """Return whether nothing gets from `source` to `target` now."""
        return (source, target) in self._cut

    def _release(self, route: Route) -> None:
        for pipe in list(self._pipes.values()):
            if pipe.route == route:
                for plane in pipe.planes.values():
                    if plane.held:
                        self._timeline.after(self.delay_s(route), self._drain, pipe, plane)

    def _drain(self, pipe: Pipe, plane: Plane) -> None:
        while plane.held and pipe.route not in self._cut:
            self._hand_over(pipe, plane, plane.held.popleft())


def routes_between(groups: Iterable[Iterable[str]]) -> list[Route]:
    """Return every direction between hosts of different groups."""
    sides = [tuple(group) for group in groups]
    return [
        (a, b)
        for number, one in enumerate(sides)
        for other in sides[number + 1 :]
        for x in one
        for y in other
        for a, b in ((x, y), (y, x))
    ]


def routes_named(name: str) -> list[Route]:
    """Return the directions that a fault's name cuts.

    `A|BC` parts A from B and C; `A-B` breaks the link between A and B both
    ways, `A>B` one way. Several may stand side by side: `A>B C-D`. Hosts have
    one letter each.
    """
    routes: list[Route] = []
    for word in name.split():
        if "|" in word:
            routes += routes_between(word.split("|"))
        elif len(word) == 3 and word[1] == "-":
            routes += [(word[0], word[2]), (word[2], word[0])]
        elif len(word) == 3 and word[1] == ">":
            routes.append((word[0], word[2]))
        else:
            raise ValueError(f"no such cut: {word!r}")
    return routes
