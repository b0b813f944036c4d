"""The ledger: what this host's primaries decided, and all that they knew then.

An entry names a pure function, what it was given, and what came of it: the
function gives the same again, so that terms and vetoes of every candidate are
worked out when somebody asks, and not kept. How the host saw the members is
kept by columns, shared by all decisions that saw the same.

Bounded: so many decisions a colony and a host, so many bytes of what was
seen; the oldest go first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from placement.nearly import Near
from placement.resources import Candidate

PER_COLONY_MAX = 8  # a move takes two or three decisions
ENTRIES_MAX = 2048  # 1.2 KB each: with more colonies than that, the oldest decisions are forgotten
SIGHT_BYTES_MAX = 1024 * 1024  # of what was seen; a thousand members take up to 100 KB at a time
HOST = -1  # stands for the host itself, where an entry names a colony

FIELDS = tuple(field.name for field in fields(Candidate))

Column = tuple[Any, ...]
Patches = tuple[tuple[int, Candidate], ...]


class Seen:
    """Stands among the arguments of a decision for what was seen of the members."""


SEEN = Seen()


class Sight:
    """All members as placement saw them at one moment, one column per field."""

    __slots__ = ("columns",)

    def __init__(self, candidates: Sequence[Candidate], before: Sight | None) -> None:
        columns = []
        for place, name in enumerate(FIELDS):
            column = tuple([getattr(host, name) for host in candidates])
            known = before.columns[place] if before is not None else ()
            columns.append(known if known == column else column)
        self.columns: tuple[Column, ...] = tuple(columns)

    def candidates(self, patches: Patches = ()) -> list[Candidate]:
        """Return the members as they were seen, `patches` in place of some."""
        found = [Candidate(*row) for row in zip(*self.columns, strict=True)]
        for place, host in patches:
            found[place] = host
        return found


@dataclass(slots=True)
class Entry:
    """One decision.

    Attributes:
        number: Counts the decisions of this process.
        at_s: When it was taken, by the host's clock.
        view: Id of the view it was taken in.
        colony: Whose it was; `HOST` = it was about all.
        rule: The pure function that decided.
        arguments: What it was given, by position; `SEEN` stands for the members.
        keywords: What it was given by name.
        sight: What was known of the members.
        patches: What else was known of some of them by then.
        outcome: What it returned; None = to stay.
        near: What nearly moved it, where it stays.
        times: How often the same was decided since, one after the other.
        last_s: When that was last.
    """

    number: int
    at_s: float
    view: int
    colony: int
    rule: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    sight: Sight
    patches: Patches
    outcome: Any
    near: Near | None = None
    times: int = 1
    last_s: float = 0.0

    @property
    def candidates(self) -> list[Candidate]:
        """All members as they were known then."""
        return self.sight.candidates(self.patches)

    def replayed(self) -> Any:
        """Return what the pure function makes of the same inputs now: always the same."""
        seen = self.candidates
        given = [seen if argument is SEEN else argument for argument in self.arguments]
        return self.rule(*given, **dict(self.keywords))


class Ledger:
    """The latest decisions of one host, by colony; on the host's own thread."""

    def __init__(
        self,
        per_colony: int = PER_COLONY_MAX,
        entries_max: int = ENTRIES_MAX,
        sight_bytes_max: int = SIGHT_BYTES_MAX,
    ) -> None:
        self._per_colony, self._entries_max, self._bytes_max = per_colony, entries_max, sight_bytes_max
        self._by_colony: dict[int, list[Entry]] = {}
        self._order: dict[int, Entry] = {}  # by number, the oldest first
        self._number = 0
        self._base: tuple[Candidate, ...] = ()
        self._sight: Sight | None = None
        self._uses: Counter[Sight] = Counter()
        self._columns: Counter[int] = Counter()
        self.sight_bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Entry]:
        """Yield all decisions, the oldest first."""
        return iter(tuple(self._order.values()))

    def of(self, colony: int) -> tuple[Entry, ...]:
        """Return the decisions about a colony (or `HOST`), the oldest first."""
        return tuple(self._by_colony.get(colony, ()))

    def note(
        self,
        now_s: float,
        view: int,
        colony: int,
        rule: Callable[..., Any],
        arguments: Sequence[Any],
        outcome: Any,
        near: Near | None = None,
        **keywords: Any,
    ) -> None:
        """Keep a decision; one that only repeats the last about this colony is counted, not kept again.

        Args:
            arguments: Of `rule`; the list among them is the members.
        """
        known = self._by_colony.get(colony)
        last = known[-1] if known else None
        if last is not None and outcome is None and last.outcome is None and _alike(last.near, near):
            last.times += 1
            last.last_s = now_s
            return
        candidates = next(argument for argument in arguments if isinstance(argument, list))
        sight, patches = self._see(candidates)
        given = tuple(SEEN if argument is candidates else argument for argument in arguments)
        self._number += 1
        entry = Entry(
            self._number, now_s, view, colony, rule, given, tuple(keywords.items()), sight, patches, outcome
        )
        entry.near, entry.last_s = near, now_s
        self._add(entry)

    def _see(self, candidates: list[Candidate]) -> tuple[Sight, Patches]:
        """Return what was seen, as a sight that others may share, and what differs from it."""
        base = self._base
        if self._sight is not None and len(base) == len(candidates):
            patches = tuple([(n, host) for n, host in enumerate(candidates) if host is not base[n]])
            if 4 * len(patches) <= len(base):
                return self._sight, patches
        self._base = tuple(candidates)
        self._sight = Sight(candidates, self._sight)
        return self._sight, ()

    def _add(self, entry: Entry) -> None:
        self._use(entry.sight, 1)
        self._order[entry.number] = entry
        kept = self._by_colony.setdefault(entry.colony, [])
        kept.append(entry)
        if len(kept) > self._per_colony:
            self._forget(kept[0])
        while len(self._order) > self._entries_max or self.sight_bytes > self._bytes_max:
            if len(self._order) == 1:
                break  # what is decided now is kept, however much there was to see
            self._forget(next(iter(self._order.values())))

    def _forget(self, entry: Entry) -> None:
        del self._order[entry.number]
        kept = self._by_colony[entry.colony]
        kept.remove(entry)
        if not kept:
            del self._by_colony[entry.colony]
        self._use(entry.sight, -1)

    def _use(self, sight: Sight, sign: int) -> None:
        """Count who uses a sight, and the bytes of the columns that only its users hold."""
        before = self._uses[sight]
        self._uses[sight] += sign
        if before and self._uses[sight]:
            return
        if not self._uses[sight]:
            del self._uses[sight]
        for column in sight.columns:
            uses = self._columns[id(column)]
            self._columns[id(column)] = uses + sign
            if not uses or not uses + sign:
                self.sight_bytes += sign * _bytes_of(column)
            if not uses + sign:
                del self._columns[id(column)]


def _alike(one: Near | None, other: Near | None) -> bool:
    """Return whether two reasons to stay are the same but for their figures."""
    if one is None or other is None:
        return one is other
    return (one.kind, one.source, one.target, one.held_by) == (
        other.kind,
        other.source,
        other.target,
        other.held_by,
    )


def _bytes_of(column: Column) -> int:
    """Return about how much memory a column takes that nothing else holds."""
    own = sum(isinstance(value, (int, float)) and not -5 <= value <= 256 for value in column)
    return 56 + 8 * len(column) + 32 * own
