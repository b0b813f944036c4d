"""Every bug that the protocol warns of is caught when it is planted.

Each test also plays the run that caught the bug without it: what was caught
is the bug, and not the plan.
"""

from __future__ import annotations

import pytest

from tests.sim.planted import BUGS

pytestmark = [pytest.mark.sim, pytest.mark.timeout(180)]


@pytest.mark.parametrize("name", BUGS)
def test_bug_is_caught(name: str) -> None:
    bug = BUGS[name]
    for seed in range(bug.seeds):
        if bug.play(seed).complaints:
            sound = bug.play(seed, sound=True)
            command = f"python -m tests.sim.replay --seed {seed} --bug {name!r} --sound"
            assert not sound.complaints, f"without the bug too:\n{command}\n{sound}"
            return
    pytest.fail(f"none of {bug.seeds} seeds caught: {name}")
