"""What a host is asked to be, before anything of it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from colony import checked
from placement import probe


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (lambda: checked.period("solitude", 0), ValueError),
        (lambda: checked.period("solitude", 400 * 86_400), ValueError),
        (lambda: checked.period("solitude", True), TypeError),
        (lambda: checked.when_lost("never"), ValueError),
        (lambda: checked.limits(0, 0, 1, 0), ValueError),
        (lambda: checked.limits(0, 1, 1, -1), ValueError),
        (lambda: checked.labels({"planet": "x"}), ValueError),
        (lambda: checked.labels({"rack": "\udc80"}), ValueError),
        (lambda: checked.limits(-1, 1, 1, 0), ValueError),
        (lambda: checked.name("x" * 256), ValueError),
        (lambda: checked.name("\udc80"), ValueError),
        (lambda: checked.name(7), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(refused: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        refused()


def test_what_is_not_said_is_found_out_or_unknown() -> None:
    assert checked.period("solitude", None) is None and checked.period("solitude", 2) == 2.0
    assert checked.name(None) is None and checked.name("é" * 255) == "é" * 255
    assert checked.labels({"zone": "z"}).box == probe.default_labels().box
    assert checked.labels({"box": "b"}).box == "b"
