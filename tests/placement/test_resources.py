"""Resources: sizes read and written, room and fill of a host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.resources import Candidate, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("17 B", 17),
        ("512MiB", 512 << 20),
        ("512m", 512 << 20),
        ("2G", 2 << 30),
        ("2gb", 2_000_000_000),
        ("1.5KiB", 1536),
    ],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 XB", "1e3", "0x10", "1.2.3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_bytes(text)


@given(st.integers(0, 1 << 60))
def test_sizes_are_written_so_that_they_can_be_read(size_bytes: int) -> None:
    assert parse_bytes(format_bytes(size_bytes)) == pytest.approx(size_bytes, rel=0.06, abs=0.5)


@pytest.mark.parametrize(
    ("figures", "room"),
    [
        ({"memory_free": None, "bytes_max": 0}, None),
        ({"memory_free": 10, "bytes_max": 0, "bytes_used": 90}, 10),
        ({"memory_free": None, "bytes_max": 100, "bytes_used": 30}, 70),
        ({"memory_free": 50, "bytes_max": 100, "bytes_used": 30}, 50),
        ({"memory_free": 500, "bytes_max": 100, "bytes_used": 130}, 0),
        ({"memory_free": -5}, 0),
    ],
)
def test_room_is_the_tighter_of_limit_and_memory(figures: dict[str, int | None], room: int | None) -> None:
    assert Candidate("h", **figures).room == room  # type: ignore[arg-type]


def test_fill_is_the_part_held_of_what_could_be_held() -> None:
    assert Candidate("h", memory_free=10, bytes_used=90).fill() == 0.9
    assert Candidate("h", bytes_max=100, bytes_used=20).fill(30) == 0.5
    assert Candidate("h").fill(1 << 40) == 0.0
    assert Candidate("h", memory_free=0).fill() == 1.0


@pytest.mark.parametrize(
    "wrong", [{"id": ""}, {"cpu": 1.01}, {"cpu": -0.1}, {"copies": -1}, {"leaving": True}, {"witness": True}]
)
def test_a_candidate_that_makes_no_sense_cannot_be_built(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Candidate(**{"id": "h", **wrong})  # type: ignore[arg-type]


def test_a_refusal_has_words() -> None:
    assert Candidate("h").refusal == ""
    assert Candidate("h", accepts=False, leaving=True).refusal == "is leaving"
    assert "witness" in Candidate("h", accepts=False, witness=True).refusal
    assert Candidate("h", accepts=False, because="is in quarantine for 3 s").refusal.endswith("3 s")
