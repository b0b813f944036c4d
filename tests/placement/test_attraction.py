"""Attraction: coarse bands, room, and smooth means."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.attraction import attraction, cpu_band, crowd_step, fill_band, has_room, smoothed
from placement.resources import COPY_BYTES, Candidate
from tests.placement.worlds import host


def test_record_outweighs_memory_memory_cpu_and_cpu_the_crowd() -> None:
    calm = host("h", bytes_max=100, copies=10)
    in_order = [
        calm,
        replace(calm, copies=30),
        replace(calm, traffic=200.0),
        replace(calm, cpu=0.6),
        replace(calm, bytes_used=70),
        replace(calm, flaps=1),
        replace(calm, box_flaps=2),
    ]
    few = {"lightest": 10 * COPY_BYTES, "step": 2 * COPY_BYTES}
    scores = [attraction(one, bytes_wanted=0, traffic=100.0, **few) for one in in_order]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


@given(st.floats(0.05, 0.44), st.floats(0.9, 1.1))
def test_noise_inside_a_band_changes_nothing(share: float, noise: float) -> None:
    assert cpu_band(share) == cpu_band(share * noise)
    assert fill_band(share) == fill_band(share * noise)


@pytest.mark.parametrize(("copies", "step"), [([], 2), ([0, 0], 2), ([25, 26], 2.55), ([400, 500], 45)])
def test_a_crowd_counts_in_tenths_of_the_mean(copies: list[int], step: float) -> None:
    assert crowd_step([host(f"h{n}", copies=one) for n, one in enumerate(copies)]) == int(step * COPY_BYTES)


def test_room_is_asked_for_size_and_for_what_stays_free() -> None:
    half = host("h", bytes_max=100, bytes_used=50)
    assert has_room(half, 45)
    assert not has_room(half, 46)  # 96 % full: nothing left to grow
    assert not has_room(half, 25, fill_max=0.7)
    assert has_room(Candidate("unmeasured"), 1 << 40)
    assert not has_room(host("h", memory_free=0), 0)


def test_a_mean_forgets_half_in_a_half_life() -> None:
    assert smoothed(None, 0.7, elapsed_s=0) == 0.7
    assert smoothed(1.0, 0.0, elapsed_s=5, half_life_s=5) == pytest.approx(0.5)
    assert smoothed(1.0, 0.0, elapsed_s=0) == 1.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 60), st.floats(0, 60))
def test_a_mean_does_not_depend_on_how_often_it_is_measured(
    before: float, sample: float, first_s: float, then_s: float
) -> None:
    at_once = smoothed(before, sample, elapsed_s=first_s + then_s)
    in_two = smoothed(smoothed(before, sample, elapsed_s=first_s), sample, elapsed_s=then_s)
    assert in_two == pytest.approx(at_once, abs=1e-9)
    assert min(before, sample) - 1e-9 <= at_once <= max(before, sample) + 1e-9


def test_a_mean_needs_a_half_life() -> None:
    with pytest.raises(ValueError):
        smoothed(0.5, 0.5, elapsed_s=1, half_life_s=0)
