"""A linearizability checker for histories of cell operations.

A history is what clients did and saw, whoever ran the cluster: it may come
from the simulator or, as JSON lines, from real processes. Each key is a
register of its own, so each key is checked alone. The search is that of Wing
and Gong with the memo of Lowe (a configuration, i.e. the set of operations
placed so far and the state after them, is looked at once), bounded in work:
a search that gives up counts as a failure.

Values put are best unique; then a search hardly ever has to turn back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["get", "put", "delete", "append", "patch"]
Condition = Literal["any", "absent", "present", "version"]
Outcome = Literal["ok", "failed", "unknown"]
Code = Literal["ok", "absent", "conflict"]

FOREVER_S = float("inf")
CONFIGURATIONS_MAX = 100_000  # some 0.3 s of search; a sound history of 100 operations needs some 200


class Operation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one client did with one key, and what it was told.

    Attributes:
        client: Whoever called; only for people.
        key: The cell.
        kind: `get`; `put` (the whole value); `delete`; `append` (add the
            token `argument` to the comma-separated tokens in the cell);
            `patch` (the same, but the tokens are a set, read in order).
        call_s: When it was called, on one clock for the whole history.
        return_s: When it returned.
        outcome: `ok` = answered; `failed` = surely not applied; `unknown` =
            may be applied, even later than `return_s`, or never.
        argument: The value put, or the token appended.
        only_if: Condition of a put or a delete.
        expected: The version that `only_if="version"` wants; 0 = no cell.
        ttl_s: Time to live that a put gave; 0 = for ever.
        code: The answer: `ok`, `absent` (no live cell), `conflict`.
        value: The value that a get returned.
        version: The version that was returned; 0 = not told.
    """

    client: str = ""
    key: str
    kind: Kind
    call_s: float
    return_s: float
    outcome: Outcome = "ok"
    argument: str = ""
    only_if: Condition = "any"
    expected: int = 0
    ttl_s: float = 0.0
    code: Code = "ok"
    value: str | None = None
    version: int = 0


class State(NamedTuple):
    """A register between two operations.

    Attributes:
        value: None = no cell.
        version: Its version if `exact`, else a bound it lies above. Of an
            absent cell: the highest version known to have been used.
        exact: Whether `version` is known.
        expiry_from_s: The cell may be absent from here on.
        expiry_until_s: The cell is absent from here on.
    """

    value: str | None = None
    version: int = 0
    exact: bool = True
    expiry_from_s: float = FOREVER_S
    expiry_until_s: float = FOREVER_S


EMPTY = State()


class Verdict(Enum):
    """How a check ended."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    GAVE_UP = "gave up"


class Finding(NamedTuple):
    """The verdict on one key, with the longest order that was found."""

    key: str
    verdict: Verdict
    reason: str
    order: tuple[Operation, ...]
    stuck: tuple[Operation, ...]

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.verdict.value}: {self.reason}", "  longest order found:"]
        lines += [f"    {describe(op)}" for op in self.order[-12:]]
        lines += ["  none of these can come next:"]
        lines += [f"    {describe(op)}" for op in self.stuck[:12]]
        return "\n".join(lines)


def describe(op: Operation) -> str:
    """Return an operation on one line, for people."""
    condition = "" if op.only_if == "any" else f" if {op.only_if} {op.expected or ''}".rstrip()
    asked = f"{op.kind}({op.argument}){condition}" if op.argument or condition else op.kind
    told = op.outcome if op.outcome != "ok" else f"{op.code} {op.value or ''} v{op.version}"
    return f"{op.call_s:9.4f} to {op.return_s:9.4f} {op.client:>4} {asked} -> {told}"


# -- the model -----------------------------------------------------------------


def successors(state: State, op: Operation, slack_s: float) -> Iterator[State]:
    """Yield every state in which `op`, as answered, can leave the register.

    Of an operation with an unknown outcome only those are yielded in which
    it changed something: one that changes nothing need not be placed.
    """
    if state.value is None:
        yield from _on_absent(state, op, slack_s)
        return
    if op.call_s <= state.expiry_until_s:
        yield from _on_present(state, op, slack_s)
    may_expire = state.expiry_from_s < FOREVER_S
    if may_expire and (op.return_s >= state.expiry_from_s or op.outcome == "unknown"):
        yield from _on_absent(State(None, state.version, state.exact), op, slack_s)


def _on_absent(state: State, op: Operation, slack_s: float) -> Iterator[State]:
    unknown = op.outcome == "unknown"
    if op.kind == "get":
        if op.code == "absent":
            yield state
    elif op.kind == "delete":
        if not unknown and op.code in ("absent", "conflict"):
            yield state
    elif op.only_if == "present" or (op.only_if == "version" and op.expected > 0):
        if not unknown and op.code in ("conflict", "absent"):
            yield state
    elif unknown or op.code == "ok":
        yield from _written(state, op, op.argument, slack_s)


def _on_present(state: State, op: Operation, slack_s: float) -> Iterator[State]:
    unknown = op.outcome == "unknown"
    if op.kind == "get":
        if op.code == "ok" and op.value == state.value:
            yield from _seen(state, op.version)
        return
    if op.only_if == "absent":
        refused: bool | None = True
    elif op.only_if == "version":
        refused = state.version != op.expected if state.exact else None
        if not state.exact and op.expected <= state.version:
            refused = True
    else:
        refused = False
    if refused is not False and not unknown and op.code == "conflict":
        yield from _seen(state, op.version)
    if refused or not (unknown or op.code == "ok"):
        return
    if refused is None:
        state = state._replace(version=op.expected, exact=True)
    if op.kind == "delete":
        yield from _deleted(state, op)
    elif op.kind in ("append", "patch"):
        kept = state.expiry_from_s, state.expiry_until_s
        for after in _written(state, op, _with_token(state.value or "", op), slack_s):
            yield after._replace(expiry_from_s=kept[0], expiry_until_s=kept[1])
    else:
        yield from _written(state, op, op.argument, slack_s)


def _with_token(value: str, op: Operation) -> str:
    if op.kind == "append":
        return f"{value},{op.argument}"
    return ",".join(sorted({*value.split(","), op.argument}))


def _seen(state: State, version: int) -> Iterator[State]:
    """A live cell's version was told: it must fit what is known."""
    if version == 0:
        yield state
    elif state.exact:
        if version == state.version:
            yield state
    elif version > state.version:
        yield state._replace(version=version, exact=True)


def _written(state: State, op: Operation, value: str, slack_s: float) -> Iterator[State]:
    known = op.outcome == "ok" and op.version > 0
    if known and op.version <= state.version:
        return  # versions only grow
    expiry = FOREVER_S, FOREVER_S
    if op.ttl_s > 0:
        until_s = FOREVER_S if op.outcome == "unknown" else op.return_s + op.ttl_s + slack_s
        expiry = op.call_s + op.ttl_s - slack_s, until_s
    if known:
        yield State(value, op.version, True, *expiry)
    else:
        yield State(value, state.version, False, *expiry)


def _deleted(state: State, op: Operation) -> Iterator[State]:
    version = op.version if op.outcome == "ok" else 0
    yield State(None, max(version, state.version), state.exact)


# -- the search ------------------------------------------------------------------


class _Search:
    """Looks for one order of the operations of one key."""

    def __init__(self, operations: list[Operation], slack_s: float) -> None:
        sure = [op for op in operations if op.outcome == "ok"]
        unknown = [op for op in operations if op.outcome == "unknown" and op.kind != "get"]
        self.sure = sorted(sure, key=lambda op: (op.call_s, op.return_s))
        self.unknown = sorted(unknown, key=lambda op: op.call_s)
        self.slack_s = slack_s
        # A cell that is only appended to begins for ever with what it was: what was read of it later says
        # which of many open appends came first, so that not all orders of them need be tried.
        grows = all(op.kind in ("get", "append") for op in operations)
        read = [(1 << place, op.value) for place, op in enumerate(self.sure) if op.kind == "get" and grows]
        self.read = [(bit, f"{value},") for bit, value in read if value is not None]
        self.best = 0
        self.best_order: tuple[int, ...] = ()

    def run(self, state: State, configurations_max: int) -> Verdict:
        """Depth first; sure operations before unknown ones, early returns first."""
        everything = (1 << len(self.sure)) - 1
        seen: set[tuple[int, State]] = set()
        # Each step of the path: a generator of next (mask, state, operation).
        path: list[tuple[Iterator[tuple[int, State, int]], int]] = []
        mask, chosen = 0, -1
        while True:
            if mask & everything == everything:
                return Verdict.LINEARIZABLE
            if (mask, state) not in seen:
                if len(seen) >= configurations_max:
                    return Verdict.GAVE_UP
                seen.add((mask, state))
                path.append((self._next(mask, state), chosen))
                self._remember(mask, path)
            while path:
                step = next(path[-1][0], None)
                if step is not None:
                    mask, state, chosen = step
                    break
                path.pop()
            else:
                return Verdict.VIOLATION

    def _remember(self, mask: int, path: list[tuple[Iterator[tuple[int, State, int]], int]]) -> None:
        placed = (mask & ((1 << len(self.sure)) - 1)).bit_count()
        if placed > self.best:
            self.best = placed
            self.best_order = tuple(chosen for _, chosen in path if chosen >= 0)

    def candidates(self, mask: int) -> tuple[list[int], float]:
        """Return the sure operations that may come next, and the bound on their calls."""
        sure = self.sure
        bound_s = FOREVER_S
        found = []
        index = (~mask & (mask + 1)).bit_length() - 1  # the first that is not placed
        while index < len(sure):
            if not mask >> index & 1:
                op = sure[index]
                if op.call_s > bound_s:
                    break
                found.append(index)
                bound_s = min(bound_s, op.return_s)
            index += 1
        found = [index for index in found if sure[index].call_s <= bound_s]
        if len(found) > 1:
            found.sort(key=lambda index: sure[index].return_s)
        return found, bound_s

    def _next(self, mask: int, state: State) -> Iterator[tuple[int, State, int]]:
        found, bound_s = self.candidates(mask)
        later = [value for bit, value in self.read if not mask & bit]

        def may_be(after: State) -> bool:
            return after.value is None or all(value.startswith(f"{after.value},") for value in later)

        for index in found:
            for after in filter(may_be, successors(state, self.sure[index], self.slack_s)):
                yield mask | 1 << index, after, index
        size = len(self.sure)
        for place, op in enumerate(self.unknown):
            if op.call_s > bound_s:
                break
            bit = 1 << (size + place)
            if not mask & bit:
                for after in filter(may_be, successors(state, op, self.slack_s)):
                    yield mask | bit, after, size + place

    def operation(self, index: int) -> Operation:
        size = len(self.sure)
        return self.sure[index] if index < size else self.unknown[index - size]

    def finding(self, key: str, verdict: Verdict) -> Finding:
        order = tuple(self.operation(index) for index in self.best_order)
        mask = 0
        for index in self.best_order:
            mask |= 1 << index
        stuck = tuple(self.operation(index) for index in self.candidates(mask)[0])
        reason = {
            Verdict.LINEARIZABLE: "",
            Verdict.VIOLATION: "no order of the operations explains the answers",
            Verdict.GAVE_UP: "too many orders to look at: shorten the history",
        }[verdict]
        return Finding(key, verdict, reason, order, stuck)


def check_key(
    key: str,
    operations: Iterable[Operation],
    *,
    slack_s: float = 0.0,
    start: State = EMPTY,
    configurations_max: int = CONFIGURATIONS_MAX,
) -> Finding:
    """Return whether the operations of one key are linearizable.

    Args:
        slack_s: By how much expiry may be early or late (drift of clocks).
        start: The register before the first operation.
        configurations_max: Bound on the work; beyond it the answer is `GAVE_UP`.
    """
    search = _Search(list(operations), slack_s)
    return search.finding(key, search.run(start, configurations_max))


def check(
    history: Iterable[Operation], *, slack_s: float = 0.0, configurations_max: int = CONFIGURATIONS_MAX
) -> list[Finding]:
    """Return the findings on all keys that are not shown to be linearizable."""
    keys: dict[str, list[Operation]] = {}
    for op in history:
        keys.setdefault(op.key, []).append(op)
    findings = (
        check_key(key, ops, slack_s=slack_s, configurations_max=configurations_max)
        for key, ops in sorted(keys.items())
    )
    return [finding for finding in findings if finding.verdict is not Verdict.LINEARIZABLE]


# -- at most once ------------------------------------------------------------------


def check_at_most_once(history: Iterable[Operation]) -> list[str]:
    """Return complaints about appended tokens, from every value that was read.

    A token that was appended appears at most once in any value, and never if
    its append surely failed. In a key that is only ever appended to and read,
    each read also shows, exactly once, every token acknowledged before it.
    """
    keys: dict[str, list[Operation]] = {}
    for op in history:
        keys.setdefault(op.key, []).append(op)
    complaints: list[str] = []
    for key, operations in sorted(keys.items()):
        complaints.extend(_token_complaints(key, operations))
    return complaints


def _token_complaints(key: str, operations: list[Operation]) -> Iterator[str]:
    appends = {op.argument: op for op in operations if op.kind in ("append", "patch")}
    only_appended = all(op.kind in ("get", "append", "patch") for op in operations)
    for read in operations:
        if read.kind != "get" or read.outcome != "ok":
            continue
        tokens = (read.value or "").split(",")
        for token, append in appends.items():
            count = tokens.count(token)
            if count > 1:
                yield f"{key}: {token} was applied {count} times ({describe(read)})"
            elif count and append.outcome == "failed":
                yield f"{key}: {token} was applied though its caller was told it failed"
            elif not count and only_appended and append.outcome == "ok" and append.return_s < read.call_s:
                yield f"{key}: {token} was acknowledged and is gone ({describe(read)})"


# -- JSON lines --------------------------------------------------------------------


def to_lines(history: Iterable[Operation]) -> str:
    """Return a history as JSON lines."""
    return "".join(msgspec.json.encode(op).decode() + "\n" for op in history)


def from_lines(text: str) -> list[Operation]:
    """Return the history in JSON lines; raises `ValueError` if it is none."""
    return [msgspec.json.decode(line, type=Operation) for line in text.splitlines() if line.strip()]


def load(path: Path) -> list[Operation]:
    """Return the history in a file of JSON lines."""
    return from_lines(path.read_text())


if __name__ == "__main__":
    import sys

    for argument in sys.argv[1:]:
        operations = load(Path(argument))
        found = [str(finding) for finding in check(operations)] + check_at_most_once(operations)
        print(json.dumps({"file": argument, "operations": len(operations), "complaints": found}))
