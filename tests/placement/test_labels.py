"""Labels: near and far, known and unknown, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.labels import (
    Labels,
    Level,
    distance,
    distance_between,
    format_labels,
    in_domain,
    parse_domain,
    parse_labels,
)

HERE = Labels("z", "r", "b")
names = st.sampled_from(["", "a", "b"])
labels = st.builds(Labels, names, names, names)


@pytest.mark.parametrize(
    ("other", "level"),
    [
        (Labels("z", "r", "b"), Level.BOX),
        (Labels("z", "r", "b2"), Level.RACK),
        (Labels("z", "r2", "b2"), Level.ZONE),
        (Labels("z2", "r2", "b2"), Level.APART),
        (Labels("z2", "r", "b"), Level.APART),  # one name, two zones: two boxes
        (Labels("z", "r", ""), Level.BOX),
        (Labels("", "", "b2"), Level.RACK),
        (Labels("", "r2", "b2"), Level.ZONE),
        (Labels(), Level.BOX),
    ],
)
def test_distance_is_the_nearest_domain_that_may_be_shared(other: Labels, level: Level) -> None:
    assert distance(HERE, other) is level
    assert distance(other, HERE) is level


@given(labels, labels)
def test_forgetting_a_label_never_brings_hosts_apart(a: Labels, b: Labels) -> None:
    for blind in (Labels("", b.rack, b.box), Labels(b.zone, "", b.box), Labels(b.zone, b.rack, "")):
        assert distance(a, blind) <= distance(a, b)


def test_one_host_is_nearest_whatever_its_labels() -> None:
    assert distance_between("h", HERE, "h", Labels("elsewhere")) is Level.HOST
    assert distance_between("h", HERE, "g", HERE) is Level.BOX


@given(labels)
def test_labels_are_read_as_they_are_written(some: Labels) -> None:
    assert parse_labels(format_labels(some)) == some


def test_labels_are_read_in_any_order_and_with_blanks() -> None:
    assert parse_labels(" box=b , zone=z") == Labels("z", "", "b")


@pytest.mark.parametrize("text", ["box", "box=", "=b", "room=1", "box=a,box=b"])
def test_what_is_no_label_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match="label"):
        parse_labels(text)


def test_a_domain_is_matched_to_the_letter() -> None:
    name, value = parse_domain("box=b")
    assert in_domain(HERE, name, value)
    assert not in_domain(Labels(), name, value)
