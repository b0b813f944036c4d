"""Merging at the winning primary, step by step."""

from __future__ import annotations

import pytest

from agents import merging
from agents.effects import ClosureRan, Effect, Note, RunMerge
from agents.messages.merging import MergeAsk, MergeCell, MergeCells
from agents.messages.replication import Dna
from tests.agents.test_primary import NOW_S, a_primary, ask, put

LANE = b"\0merge"


@pytest.mark.parametrize(
    ("made", "said"),
    [(b"x" * 101, "101 bytes; the limit is 100"), ((("\udc80", b""),), "no text"), (b"fits", "")],
)
def test_what_a_function_makes_is_held_to_what_clients_are(made: Dna, said: str) -> None:
    """No host would have taken it: it would have been sent again for ever, on links that it breaks."""
    primary = a_primary(value_bytes_max=100)
    primary.peer.host.policy = "function"
    ask(primary, put(1))
    out: list[Effect] = []
    merging.asked(primary, "L", MergeAsk(0, LANE, 1, 0, 0, False), NOW_S, out)
    batch = MergeCells(0, LANE, 1, 1, (MergeCell(b"k", 5, 1.0, 0.0, b"theirs"),), True)
    merging.came(primary, "L", batch, NOW_S, out)
    (asked,) = [effect for effect in out if isinstance(effect, RunMerge)]
    before = primary.peer.cells.live[b"k"]
    assert merging.ran(primary, ClosureRan(asked.ticket, made), NOW_S, out)
    failed = [effect.reason for effect in out if isinstance(effect, Note) and effect.kind == "merge_failed"]
    if said:
        assert primary.peer.cells.live[b"k"] == before and said in failed[0]
    else:
        assert primary.peer.cells.live[b"k"][2] == made and not failed
