"""What requests do to the cell that is sequenced last."""

from __future__ import annotations

import pytest

from agents.cells import Cell
from agents.evaluate import (
    KEY_BYTES_MAX,
    TTL_MS_MAX,
    Refusal,
    evaluate,
    expiry,
    is_live,
    malformed,
    ttl_left_ms,
)
from agents.fields import ATTRIBUTES_MAX
from agents.messages.client import (
    ABSENT,
    BAD,
    CONFLICT,
    IF_ABSENT,
    IF_PRESENT,
    IF_VERSION,
    TOO_LARGE,
    TTL_KEEP,
    TTL_NEVER,
    Delete,
    Patch,
    Put,
    Touch,
)
from agents.messages.replication import DEATH, PATCH, PUT, TOUCH, Entry

CELL: Cell = (3, 0.0, b"old")
MAPPING: Cell = (3, 20.0, (("a", b"1"),))
EXPIRED_CELL: Cell = (3, 9.0, b"old")
NOW_S = 10.0


def asked(request: Put | Delete | Touch | Patch, cell: Cell | None) -> Entry | Refusal:
    """Evaluate as seq 4 at second 10."""
    return evaluate(request, cell, NOW_S, 4, 100)


def a_put(**more: int) -> Put:
    """Return a put of `new`."""
    return Put(1, b"lane", 5, b"k", b"new", **more)


@pytest.mark.parametrize(
    ("condition", "cell", "refused"),
    [
        ({}, None, None),
        ({}, CELL, None),
        ({"only_if": IF_ABSENT}, None, None),
        ({"only_if": IF_ABSENT}, EXPIRED_CELL, None),
        ({"only_if": IF_ABSENT}, CELL, Refusal(CONFLICT, 3)),
        ({"only_if": IF_PRESENT}, CELL, None),
        ({"only_if": IF_PRESENT}, None, Refusal(CONFLICT, 0)),
        ({"only_if": IF_PRESENT}, EXPIRED_CELL, Refusal(CONFLICT, 0)),
        ({"only_if": IF_VERSION, "version": 3}, CELL, None),
        ({"only_if": IF_VERSION, "version": 2}, CELL, Refusal(CONFLICT, 3)),
        ({"only_if": IF_VERSION, "version": 3}, EXPIRED_CELL, Refusal(CONFLICT, 0)),
    ],
)
def test_a_put_is_refused_by_its_condition_alone(
    condition: dict[str, int], cell: Cell | None, refused: Refusal | None
) -> None:
    found = asked(a_put(**condition), cell)
    if refused is not None:
        assert found == refused
    else:
        assert found == Entry(4, PUT, b"k", b"new", (), 0.0, b"lane", 5)


@pytest.mark.parametrize("only_if", [-1, 4, 99])
def test_a_condition_that_does_not_exist_is_refused_not_ignored(only_if: int) -> None:
    found = asked(a_put(only_if=only_if), None)
    assert isinstance(found, Refusal) and found.code == BAD


@pytest.mark.parametrize("cell", [None, EXPIRED_CELL])
def test_what_is_dead_or_expired_can_be_neither_deleted_nor_touched(cell: Cell | None) -> None:
    assert asked(Delete(1, b"lane", 5, b"k"), cell) == Refusal(ABSENT)
    assert asked(Touch(1, b"lane", 5, b"k", 1000), cell) == Refusal(ABSENT)


def test_a_delete_may_ask_for_a_version() -> None:
    assert asked(Delete(1, b"lane", 5, b"k", 2), CELL) == Refusal(CONFLICT, 3)
    found = asked(Delete(1, b"lane", 5, b"k", 3), CELL)
    assert isinstance(found, Entry) and found.kind == DEATH and found.lane == b"lane"


def test_a_touch_carries_the_new_expiry_alone() -> None:
    found = asked(Touch(1, b"lane", 5, b"k", 1500), CELL)
    assert found == Entry(4, TOUCH, b"k", None, (), 11.5, b"lane", 5)


def test_a_patch_is_born_whole_or_changes_what_is_there() -> None:
    born = asked(Patch(1, b"l", 5, b"k", (("b", b"2"), ("a", b"1"))), EXPIRED_CELL)
    assert isinstance(born, Entry)
    assert (born.kind, born.dna) == (PUT, (("a", b"1"), ("b", b"2"))), "an expired base is no base"
    changed = asked(Patch(1, b"l", 5, b"k", (("b", b"2"),), ("a",)), MAPPING)
    assert isinstance(changed, Entry)
    assert (changed.kind, changed.dna, changed.gone) == (PATCH, (("b", b"2"),), ("a",))
    assert changed.expires_s == 20.0, "its time goes on unless told otherwise"


def test_a_patch_is_refused_where_it_makes_no_sense() -> None:
    assert asked(Patch(1, b"l", 5, b"k", (("a", b"1"),), create=False), None) == Refusal(ABSENT)
    assert asked(Patch(1, b"l", 5, b"k", (("a", b"1"),), version=2), None) == Refusal(ABSENT)
    assert asked(Patch(1, b"l", 5, b"k", (("a", b"1"),), version=2), MAPPING) == Refusal(CONFLICT, 3)
    plain = asked(Patch(1, b"l", 5, b"k", (("a", b"1"),)), CELL)
    assert isinstance(plain, Refusal) and plain.code == BAD
    grown = asked(Patch(1, b"l", 5, b"k", (("b", b"x" * 80),)), MAPPING)
    assert isinstance(grown, Refusal) and grown.code == TOO_LARGE
    replaced = asked(Patch(1, b"l", 5, b"k", (("a", b"x" * 80),)), MAPPING)
    assert isinstance(replaced, Entry), "what is replaced does not count twice"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Put(1, b"lane", 5, b"", b"v"), BAD),
        (Put(1, b"lane", 5, b"k" * (KEY_BYTES_MAX + 1), b"v"), BAD),
        (Put(1, b"", 5, b"k", b"v"), BAD),
        (Put(1, b"l" * 33, 5, b"k", b"v"), BAD),
        (Put(1, b"lane", 0, b"k", b"v"), BAD),
        (Put(1, b"lane", 5, b"k", b"v", ttl_ms=-2), BAD),
        (Touch(1, b"lane", 5, b"k", TTL_MS_MAX + 1), BAD),
        (Put(1, b"lane", 5, b"k", b"v" * 101), TOO_LARGE),
        (Patch(1, b"lane", 5, b"k", (("a", b"v" * 101),)), TOO_LARGE),
        (Put(1, b"lane", 5, b"k" * KEY_BYTES_MAX, b"v" * 100), None),
        (Delete(1, b"l" * 32, 1, b"k"), None),
    ],
)
def test_requests_out_of_range_are_named_so(request_: Put | Delete | Touch | Patch, code: int | None) -> None:
    found = malformed(request_, 100)
    assert (found.code if found else None) == code
    if found:
        assert found.text


def test_times_to_live_are_absolute_kept_or_none() -> None:
    assert expiry(TTL_NEVER, MAPPING, NOW_S) == 0.0
    assert expiry(TTL_KEEP, MAPPING, NOW_S) == 20.0
    assert expiry(TTL_KEEP, None, NOW_S) == 0.0
    assert expiry(2500, None, NOW_S) == 12.5


def test_a_cell_lives_until_its_expiry_and_always_shows_some_time_left() -> None:
    assert is_live(MAPPING, 19.999) and not is_live(MAPPING, 20.0)
    assert is_live(CELL, 1e9) and not is_live(None, 0.0)
    assert ttl_left_ms(CELL, NOW_S) == -1
    assert ttl_left_ms(MAPPING, 19.5) == 500 and ttl_left_ms(MAPPING, 19.9999) == 1


def test_attributes_that_no_host_takes_are_refused_before_they_are_sequenced() -> None:
    """Each of two patches fits a frame; what they make of a cell fits none: it broke all learners' links."""
    names = [f"{n:x}" for n in range(ATTRIBUTES_MAX)]
    half: Cell = (3, 0.0, tuple([(name, b"") for name in names[:-1]]))
    most = 1 << 24

    def patch(changed: tuple[str, ...], gone: tuple[str, ...] = ()) -> Entry | Refusal:
        request = Patch(1, b"lane", 5, b"k", tuple((name, b"") for name in changed), gone)
        return malformed(request, most) or evaluate(request, half, NOW_S, 4, most)

    assert isinstance(patch(("one more",)), Entry) and isinstance(patch((names[0], names[1])), Entry)
    assert isinstance(patch(("one", "two"), (names[0],)), Entry)
    refused = patch(("one", "two"))
    assert isinstance(refused, Refusal) and refused.code == TOO_LARGE and "65537 attributes" in refused.text
    for wrong in (patch(("\ud83d",)), patch((), ("a", "\udc80"))):
        assert isinstance(wrong, Refusal) and wrong.code == BAD and "no text" in wrong.text
    many = patch((*names, "x"))
    assert isinstance(many, Refusal) and many.code == BAD
