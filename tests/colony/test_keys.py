"""Keys: what is one, and which colony it belongs to."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from agents.keys import colony_of
from colony.keys import key_bytes, key_shown, prefix_bytes


def test_the_colony_of_a_key_never_changes_between_releases() -> None:
    assert [colony_of(key, 64) for key in (b"k", b"session:1", b"\x00", "é".encode())] == [29, 56, 13, 62]


def test_keys_that_differ_in_few_bits_spread_evenly() -> None:
    counts = Counter(colony_of(b"session:%08d" % number, 64) for number in range(64_000))
    assert len(counts) == 64
    assert min(counts.values()) > 800 and max(counts.values()) < 1200


def test_text_and_its_utf8_are_one_key() -> None:
    assert key_bytes("clé") == key_bytes("clé".encode())


@pytest.mark.parametrize("key", ["k", "k" * 1024, b"\xff\x00"])
def test_a_key_has_1_to_1024_bytes(key: Any) -> None:
    assert 1 <= len(key_bytes(key)) <= 1024


@pytest.mark.parametrize("key", ["", b"", "k" * 1025, "é" * 513, "\ud800"])
def test_other_lengths_and_broken_text_are_refused(key: Any) -> None:
    with pytest.raises(ValueError):
        key_bytes(key)


@pytest.mark.parametrize("key", [None, 1, ["k"], bytearray(b"k")])
def test_other_types_are_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        key_bytes(key)


def test_an_empty_prefix_stands_for_all_keys() -> None:
    assert prefix_bytes("") == prefix_bytes(b"") == b""
    assert prefix_bytes("a") == b"a"


def test_keys_are_shown_as_text_where_they_are_text() -> None:
    assert key_shown("clé".encode()) == "clé"
    assert key_shown(b"\xff") == b"\xff"
