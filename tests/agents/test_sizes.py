"""When a colony's weight is news."""

from __future__ import annotations

from agents.sizes import HALF_LIFE_S, LEAST_BYTES, Sizes


def test_what_changes_little_or_for_a_moment_is_no_news_and_what_lasts_is() -> None:
    sizes, told = Sizes(), 10 * LEAST_BYTES
    assert not sizes.has_changed(1, told, told, 0.0)
    assert not sizes.has_changed(1, 2 * told, told, 0.1), "for a moment"
    assert sizes.has_changed(1, 2 * told, told, HALF_LIFE_S), "by half of that, for good"
    assert not sizes.has_changed(2, told + LEAST_BYTES - 1, told, 0.0)
    assert not sizes.has_changed(3, LEAST_BYTES, 0, 0.0) and sizes.has_changed(4, LEAST_BYTES + 1, 0, 0.0)
