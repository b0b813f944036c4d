"""The checker catches histories that are wrong, and accepts those that are right."""

from __future__ import annotations

import random
import time

import pytest

from tests.sim.history import (
    Operation,
    Verdict,
    check,
    check_at_most_once,
    check_key,
    from_lines,
    to_lines,
)


def op(kind: str, call_s: float, return_s: float, argument: str = "", **more: object) -> Operation:
    return Operation(key="k", kind=kind, call_s=call_s, return_s=return_s, argument=argument, **more)  # type: ignore[arg-type]


def put(call_s: float, return_s: float, value: str, version: int = 0, **more: object) -> Operation:
    return op("put", call_s, return_s, value, version=version, **more)


def get(call_s: float, return_s: float, value: str | None, version: int = 0) -> Operation:
    code = "ok" if value is not None else "absent"
    return op("get", call_s, return_s, value=value, version=version, code=code)


def append(call_s: float, return_s: float, token: str, **more: object) -> Operation:
    return op("append", call_s, return_s, token, **more)


RIGHT = {
    "nothing": [],
    "read own write": [put(0, 1, "a"), get(2, 3, "a")],
    "absent at first": [get(0, 1, None), put(2, 3, "a")],
    "concurrent write seen": [put(0, 10, "a"), get(1, 2, "a"), get(3, 4, "a")],
    "concurrent write not yet seen": [put(0, 10, "a"), get(1, 2, None), get(3, 4, "a")],
    "unknown write seen late": [
        put(0, 1, "a"),
        put(2, 3, "b", outcome="unknown"),
        get(4, 5, "a"),
        get(6, 7, "b"),
    ],
    "unknown write never seen": [put(0, 1, "a"), put(2, 3, "b", outcome="unknown"), get(9, 10, "a")],
    "failed write never seen": [put(0, 1, "a"), put(2, 3, "b", outcome="failed"), get(9, 10, "a")],
    "add loses to put": [put(0, 1, "a", 5), put(2, 3, "b", only_if="absent", code="conflict", version=5)],
    "cas wins": [put(0, 1, "a", 5), put(2, 3, "b", 6, only_if="version", expected=5), get(4, 5, "b", 6)],
    "cas loses": [put(0, 1, "a", 5), put(2, 3, "b", 5, only_if="version", expected=4, code="conflict")],
    "cas from nothing": [put(0, 1, "a", 5, only_if="version"), get(2, 3, "a", 5)],
    "cas after unknown": [
        put(0, 1, "a", outcome="unknown"),
        put(2, 3, "b", 9, only_if="version", expected=4),
        get(4, 5, "b", 9),
    ],
    "deleted": [put(0, 1, "a"), op("delete", 2, 3), get(4, 5, None), op("delete", 6, 7, code="absent")],
    "appends in any order while concurrent": [append(0, 9, "x"), append(0, 9, "y"), get(10, 11, "y,x")],
    "patches make a set": [
        op("patch", 0, 1, "y"),
        op("patch", 2, 3, "x"),
        op("patch", 4, 5, "y"),
        get(6, 7, "x,y"),
    ],
    "unknown append once": [append(0, 1, "x"), append(2, 3, "y", outcome="unknown"), get(4, 5, "x,y")],
    "expires in time": [put(0, 1, "a", ttl_s=5), get(3, 4, "a"), get(7, 8, None)],
    "expiry is loose by the slack only": [put(0, 1, "a", ttl_s=5), get(5.5, 5.9, "a"), get(5.5, 5.9, None)],
}

WRONG = {
    "stale read": [put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "a")],
    "lost write": [put(0, 1, "a"), get(2, 3, None)],
    "lost update": [append(0, 1, "x"), append(2, 3, "y"), get(4, 5, "y")],
    "dirty read": [put(0, 1, "a"), put(2, 3, "b", outcome="failed"), get(4, 5, "b")],
    "read from the overlay that vanished": [
        put(0, 1, "a"),
        put(2, 9, "b", outcome="unknown"),
        get(3, 4, "b"),
        get(5, 6, "a"),
    ],
    "double apply": [append(0, 1, "x"), append(2, 3, "y"), get(4, 5, "x,y,y")],
    "lost patch": [op("patch", 0, 1, "x"), op("patch", 2, 3, "y"), get(4, 5, "y")],
    "unknown append twice": [append(0, 1, "x", outcome="unknown"), get(4, 5, "x,x")],
    "reads go back in time": [put(0, 9, "a"), get(1, 2, "a"), get(3, 4, None)],
    "both adds win": [
        put(0, 5, "a", only_if="absent"),
        put(0, 5, "b", only_if="absent"),
        get(6, 7, "b"),
    ],
    "cas wins on an old version": [
        put(0, 1, "a", 5),
        put(2, 3, "b", 6),
        put(4, 5, "c", 7, only_if="version", expected=5),
    ],
    "cas refused for no reason": [
        put(0, 1, "a", 5),
        put(2, 3, "b", 5, only_if="version", expected=5, code="conflict"),
    ],
    "add refused because of what never was": [
        put(0, 1, "a", only_if="absent", code="conflict"),
        get(2, 3, None),
    ],
    "version shrinks": [put(0, 1, "a", 5), put(2, 3, "b", 4)],
    "deleted cell comes back": [put(0, 1, "a"), op("delete", 2, 3), get(4, 5, "a")],
    "expired cell is read": [put(0, 1, "a", ttl_s=5), get(9, 10, "a")],
    "cell expires early": [put(0, 1, "a", ttl_s=5), get(2, 3, None)],
    "expired cell comes back": [put(0, 1, "a", ttl_s=5), get(5.5, 5.7, None), get(5.8, 5.9, "a")],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_history_is_accepted(name: str) -> None:
    assert check(RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_wrong_history_is_caught(name: str) -> None:
    findings = check(WRONG[name])
    assert [finding.verdict for finding in findings] == [Verdict.VIOLATION]
    assert "can come next" in str(findings[0])


def test_keys_are_checked_apart() -> None:
    wrong = [put(0, 1, "a"), get(2, 3, None)]
    other = [Operation(key="other", kind="get", call_s=0, return_s=1, code="absent")]
    assert [finding.key for finding in check(wrong + other)] == ["k"]


def test_search_that_gives_up_says_so() -> None:
    history = [put(0, 100, f"v{n}", outcome="unknown") for n in range(30)] + [get(1, 2, "never")]
    finding = check_key("k", history, configurations_max=1000)
    assert finding.verdict is Verdict.GAVE_UP
    assert check(history, configurations_max=1000) == [finding]


def test_what_was_read_last_says_which_of_many_open_appends_came_first() -> None:
    opened = [append(n, n + 0.5, f"u{n}", outcome="unknown") for n in range(9)]
    sure = [append(10 + n, 10.5 + n, f"s{n}", version=n + 5) for n in range(4)]
    tokens = ["u5", "s0", "u1", "u8", "s1", "s2", "u3", "s3"]
    assert check([*opened, *sure, get(90, 91, ",".join(tokens), 8)], configurations_max=1000) == []
    swapped = [{"s1": "s2", "s2": "s1"}.get(token, token) for token in tokens]
    for wrong in (swapped, tokens[:-1], [*tokens, "x"]):
        (finding,) = check([*opened, *sure, get(90, 91, ",".join(wrong))])
        assert finding.verdict is Verdict.VIOLATION


def test_token_applied_twice_is_caught_without_a_search() -> None:
    history = [append(0, 1, "x"), get(2, 3, "x,x")]
    assert "applied 2 times" in check_at_most_once(history)[0]


def test_token_of_a_failed_append_is_caught() -> None:
    history = [append(0, 1, "x", outcome="failed"), get(2, 3, "x")]
    assert "told it failed" in check_at_most_once(history)[0]


def test_acknowledged_token_that_is_gone_is_caught() -> None:
    history = [append(0, 1, "x"), append(2, 3, "y"), get(4, 5, "y")]
    assert "acknowledged and is gone" in check_at_most_once(history)[0]


def test_unknown_token_may_be_there_or_not() -> None:
    history = [append(0, 1, "x", outcome="unknown"), get(2, 3, None), get(4, 5, "x")]
    assert check_at_most_once(history) == []


def test_history_survives_json_lines() -> None:
    history = [put(0, 1, "a", 5), get(2, 3, None), append(4, 5, "t", outcome="unknown")]
    assert from_lines(to_lines(history)) == history


# -- histories made by a register that really is one -------------------------------


def made_history(seed: int, *, operations: int, keys: int, clients: int) -> list[Operation]:
    """Operations of concurrent clients on real registers, each applied at one instant."""
    chance = random.Random(seed)
    cells: dict[str, tuple[str, int]] = {}
    history = []
    free_s = [chance.random() for _ in range(clients)]
    for number in range(operations):
        client = min(range(clients), key=free_s.__getitem__)
        call_s = free_s[client]
        history.append((call_s + chance.random() * 0.2, call_s, client, number))
        free_s[client] = call_s + 0.2 + chance.random() * 0.2
    made = []
    for seq, (_, call_s, client, number) in enumerate(sorted(history), 1):
        key = f"k{chance.randrange(keys)}"
        kind = chance.choice(("get", "put", "append", "delete", "cas"))
        value, version = cells.get(key, (None, 0))
        outcome = "unknown" if kind != "get" and chance.random() < 0.1 else "ok"
        done = Operation(
            client=str(client), key=key, kind="put" if kind == "cas" else kind, outcome=outcome,  # type: ignore[arg-type]
            call_s=call_s, return_s=call_s + 0.2, argument=f"v{number}" if kind != "get" else "",
        )  # fmt: skip
        if kind == "get":
            done.value, done.version, done.code = value, version, "ok" if value is not None else "absent"
        elif kind == "cas":
            done.only_if, done.expected = "version", max(0, version - chance.randrange(2))
            if done.expected == version:
                cells[key], done.version = (done.argument, seq), seq
            else:
                done.code, done.version = "conflict", version
        elif kind == "delete":
            done.code = "ok" if cells.pop(key, None) else "absent"
        elif outcome == "ok" or chance.random() < 0.5:
            new = done.argument if kind == "put" or value is None else f"{value},{done.argument}"
            cells[key], done.version = (new, seq), seq
        if outcome == "unknown":
            done.version, done.code = 0, "ok"
        made.append(done)
    return made


@pytest.mark.parametrize("seed", range(30))
def test_made_history_is_accepted(seed: int) -> None:
    assert check(made_history(seed, operations=200, keys=8, clients=6)) == []


@pytest.mark.parametrize("seed", range(30))
def test_made_history_with_one_read_changed_is_caught(seed: int) -> None:
    history = made_history(seed, operations=200, keys=8, clients=6)
    reads = [op for op in history if op.kind == "get" and op.value is not None]
    reads[len(reads) // 2].value = "never put"
    assert len(check(history)) == 1


def test_two_hundred_operations_take_milliseconds() -> None:
    history = made_history(1, operations=200, keys=8, clients=6)
    began_s = time.perf_counter()
    assert check(history) == []
    assert time.perf_counter() - began_s < 0.25  # about 5 ms alone; the machine may be busy
