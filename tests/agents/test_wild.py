"""Thousands of short random histories of one colony; and bugs that they must find.

A harness that finds nothing proves nothing: each planted bug breaks one rule
of the protocol, and some history must show it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from agents import closures, transfers
from agents.cells import Cells
from agents.cloning import Clone
from agents.colony import Colony
from agents.effects import Answer, Send
from agents.messages.replication import Activate, HandOver
from agents.peer import Peer, PeerStatus
from agents.primary import Primary, read_cell
from tests.agents import wild
from tests.agents.wild import play

HISTORIES = 200
SEARCHED_MAX = 3000
# One history in some 8,000 shows it: so the search begins near one that does.
FIRST = {"a hand-over is taken twice": 7_000}

Plant = Callable[[], AbstractContextManager[Any]]


@pytest.mark.parametrize("first", range(0, 4 * HISTORIES, HISTORIES))
def test_no_random_history_breaks_a_promise(first: int) -> None:
    acknowledged = sum(play(seed).acknowledged for seed in range(first, first + HISTORIES))
    assert acknowledged > HISTORIES, "histories in which nothing is done show nothing"


@pytest.mark.sim
@pytest.mark.parametrize("first", range(10_000, 15_000, 1_000))
def test_no_long_random_history_breaks_a_promise(first: int) -> None:
    assert sum(play(seed, steps=400).acknowledged for seed in range(first, first + 250)) > 1000


# -- planted bugs ------------------------------------------------------------------


def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Plant:
    """Return a plant that replaces a function by what `make` returns for it."""
    return lambda: patch.object(owner, name, make(getattr(owner, name)))


def _activate_first(original: Any) -> Any:
    def finish(primary: Primary, out: list[Any]) -> None:
        for target, clone in primary.transfers.clones.items():
            if clone.started and clone.is_complete(primary.peer.committed):
                out.append(Send(target, Activate(primary.peer.colony, primary.peer.epoch, clone.number)))
        if out and primary.pending:
            return  # not yet in the ack set
        original(primary, out)

    return finish


def _retire_at_once(original: Any) -> Any:
    def order(primary: Primary, target: str, *more: Any) -> None:
        original(primary, target, *more)
        primary.ack_set.pop(target, None)

    return order


def _commit_by_majority(original: Any) -> Any:
    def commit(primary: Primary, now_s: float, out: list[Any]) -> None:
        acked = primary.ack_set
        if len(acked) > 1 and primary.is_open:
            primary.ack_set = dict.fromkeys(acked, sorted(acked.values())[len(acked) // 2])
            original(primary, now_s, out)
            primary.ack_set = {host: acked.get(host, seq) for host, seq in primary.ack_set.items()}
        else:
            original(primary, now_s, out)

    return commit


def _without_quorum(original: Any) -> Any:
    class Always:
        def held(self, now_s: float) -> bool:
            return True

    def commit(primary: Primary, now_s: float, out: list[Any]) -> None:
        home: Any = primary.peer.host
        quorum, home.quorum = home.quorum, Always()
        try:
            original(primary, now_s, out)
        finally:
            home.quorum = quorum

    return commit


def _read_overlay(original: Any) -> Any:
    def read(primary: Primary, caller: Any, request: Any, now_s: float, out: list[Any]) -> None:
        seq, cell = primary._latest(request.key)
        reply = read_cell(primary.peer, request, now_s)
        if seq and cell is not None:
            reply = msgspec.structs.replace(reply, code=0, version=cell[0])
        out.append(Answer(caller, reply))

    return read


def _lowest_seq(original: Any) -> Any:
    def elect(view: Any, heard: Any) -> Any:
        heirs = original(view, heard)
        heir = heirs[0]
        if heir.outcome == "promoted":
            lowest = min(heir.seqs, key=lambda host: heir.seqs[host])
            heirs[0] = replace(heir, primary=lowest)
        return heirs

    return elect


def _throw_tail(original: Any) -> Any:
    def init(primary: Primary, peer: Peer, ack_set: dict[str, int]) -> None:
        peer.log.clear()
        peer.last = peer.committed
        original(primary, peer, ack_set)

    return init


def _open_at_once(original: Any) -> Any:
    def init(primary: Primary, peer: Peer, ack_set: dict[str, int]) -> None:
        original(primary, peer, ack_set)
        primary.is_open = True

    return init


def _open_at_view(original: Any) -> Any:
    def installed(primary: Primary, *more: Any) -> None:
        primary.is_open = True
        original(primary, *more)

    return installed


def _keep_dropped(original: Any) -> Any:
    def installed(primary: Primary, members: frozenset[str], *more: Any) -> None:
        original(primary, members | set(primary.ack_set), *more)

    return installed


def _hand_over_undrained(original: Any) -> Any:
    def drained(primary: Primary, *more: Any) -> Any:
        pending, primary.pending = primary.pending, type(primary.pending)()
        message = original(primary, *more)
        primary.pending = pending
        return message

    return drained


def _hand_over_without_me(original: Any) -> Any:
    def drained(primary: Primary, view: int, now_s: float, out: list[Any]) -> Any:
        message = original(primary, view, now_s, out)
        if message is not None:
            sent = out.pop()
            others = tuple(h for h in message.ack_set if h != primary.peer.host.me)
            out.append(Send(sent.to, msgspec.structs.replace(message, ack_set=others)))
        return message

    return drained


def _hand_over_across_views(original: Any) -> Any:
    def installed(colony: Colony, event: Any, now_s: float, out: list[Any]) -> None:
        handed = colony.handed
        original(colony, event, now_s, out)
        if handed is not None and event.view.member(handed.target) is not None:
            colony.handed = handed
            out.append(Send(handed.target, handed.message))

    return installed


def _take_hand_over_twice(original: Any) -> Any:
    def take(colony: Colony, sender: str, message: HandOver, *more: Any) -> None:
        if colony.primary is None and colony.peer.epoch == message.epoch:
            colony.peer.epoch -= 1
        original(colony, sender, message, *more)

    return take


def _skip_overlay(original: Any) -> Any:
    def is_repeat(primary: Primary, *more: Any) -> Any:
        lanes, primary._lanes = primary._lanes, {}
        try:
            return original(primary, *more)
        finally:
            primary._lanes = lanes

    return is_repeat


def _refuse_early(original: Any) -> Any:
    def refuse(primary: Primary, caller: Any, request: Any, reply: Any, now_s: float, out: list[Any]) -> None:
        out.append(Answer(caller, reply))

    return refuse


def _learners_count(original: Any) -> Any:
    def installed(colony: Colony, event: Any, now_s: float, out: list[Any]) -> None:
        if colony.learner is not None and colony.learner.source not in event.view.ids:
            colony.learner = None
            colony.peer.become(PeerStatus.ACTIVE)
            colony.peer.cells.end_learning()
        original(colony, event, now_s, out)

    return installed


def _no_tombs(original: Any) -> Any:
    def clear(cells: Cells, *, learning: bool = False) -> None:
        original(cells)

    return clear


def _deltas(original: Any) -> Any:
    return lambda entry, cell: entry


def _nothing(original: Any) -> Any:
    return lambda *more: None


def _is_complete_when_sent(original: Any) -> Any:
    return lambda clone, committed: clone._ended


def _late_closures(original: Any) -> Any:
    def ran(primary: Primary, ticket: int, *more: Any) -> None:
        running = primary.closures.running.get(ticket)
        if running is not None:
            lane = running.request.lane
            pending, known = primary._lanes.pop(lane, None), primary.peer.cells.lanes.pop(lane, None)
            original(primary, ticket, *more)
            if pending is not None:
                primary._lanes.setdefault(lane, pending)
            if known is not None:
                primary.peer.cells.lanes.setdefault(lane, known)

    return ran


PLANTED: dict[str, Plant] = {
    "activate before the ack set holds the learner": _replaced(transfers, "finish_clones", _activate_first),
    "out of the ack set before `retired`": _replaced(transfers, "order_retire", _retire_at_once),
    "activate before all is acked": _replaced(Clone, "is_complete", _is_complete_when_sent),
    "a majority of the ack set is enough": _replaced(Primary, "commit", _commit_by_majority),
    "commit without quorum": _replaced(Primary, "commit", _without_quorum),
    "reads from the overlay": _replaced(Primary, "read", _read_overlay),
    "promotion of a lower seq": _replaced(wild, "elect", _lowest_seq),
    "a promoted peer throws its tail away": _replaced(Primary, "__init__", _throw_tail),
    "a promoted peer serves at once": _replaced(Primary, "__init__", _open_at_once),
    "a closed primary opens at the next view": _replaced(transfers, "view_installed", _open_at_view),
    "dropped hosts stay in the ack set": _replaced(transfers, "view_installed", _keep_dropped),
    "a hand-over does not wait for acks": _replaced(transfers, "hand_over_if_drained", _hand_over_undrained),
    "a hand-over forgets the old primary": _replaced(
        transfers, "hand_over_if_drained", _hand_over_without_me
    ),
    "a hand-over is repeated across a view": _replaced(Colony, "_view_installed", _hand_over_across_views),
    "a hand-over is taken twice": _replaced(Colony, "_hand_over", _take_hand_over_twice),
    "retries skip the overlay": _replaced(Primary, "is_repeat", _skip_overlay),
    "refusals are answered early": _replaced(Primary, "refuse", _refuse_early),
    "learners count as ACTIVE later": _replaced(Colony, "_view_installed", _learners_count),
    "a clone without tombstones": _replaced(Cells, "clear", _no_tombs),
    "deltas to learners": _replaced(transfers, "whole", _deltas),
    "a link comes back without re-sending": _replaced(transfers, "link_up", _nothing),
    "late closures turn a lane back": _replaced(closures, "ran", _late_closures),
}


@pytest.mark.sim
@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str) -> None:
    with PLANTED[bug]():
        for seed in range(FIRST.get(bug, 0), FIRST.get(bug, 0) + SEARCHED_MAX):
            try:
                play(seed)
            except AssertionError:
                return
    raise AssertionError(f"{SEARCHED_MAX} histories have not shown: {bug}")


def test_a_failing_history_says_how_to_replay_it() -> None:
    with PLANTED["a promoted peer throws its tail away"](), pytest.raises(AssertionError) as caught:
        for seed in range(SEARCHED_MAX):
            play(seed)
    assert "replay: python -m tests.agents.wild" in str(caught.value)
