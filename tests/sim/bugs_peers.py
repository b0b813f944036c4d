"""Planted bugs of replication, promotion, hand-over and clones."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import agents.counting
import agents.primary
import agents.transfers
from agents import colony as colony_module
from agents.cells import Cells
from agents.census import CensusRound, Heir, elect
from agents.cloning import Clone
from agents.colony import Colony
from agents.counting import Counting
from agents.effects import Answer, LinkCameUp, Received, Send
from agents.hosting import Container
from agents.messages.client import Get, Reply
from agents.messages.replication import Activate, HandOver
from agents.primary import Primary
from agents.surroundings import Counted, Limits, ViewInstalled
from agents.views import View
from tests.sim.bugs import FEW, FIVE, SEEN, SLOW_BULK, THREE, TWO, Bug, charter
from tests.sim.clients import Habits
from tests.sim.plans import Maker, crash, move, only, pause, reset, slow

BUGS: dict[str, Bug] = {}

# -- replication ---------------------------------------------------------------------

MOVES: Maker = only(move, count=(8, 30))
MOVES_AND_RESETS: Maker = only(move, move, reset, slow, count=(10, 40))
DEATHS: Maker = only(crash, crash, pause, count=(2, 6))
SLOW_DEATHS: Maker = only(slow, slow, slow, slow, crash, crash, pause, count=(6, 16))


def _activates_first(primary: Primary, out: list[Any]) -> None:
    moves, peer = primary.transfers, primary.peer
    for target, clone in list(moves.clones.items()):
        if clone.started and clone.is_complete(peer.committed):
            del moves.clones[target]
            moves.activating[target] = clone.number
            out.append(Send(target, Activate(peer.colony, peer.epoch, clone.number)))


_activated = agents.transfers.activated


def _joins_when_activated(primary: Primary, target: str, number: int, out: list[Any]) -> bool:
    if primary.transfers.activating.get(target) == number:
        primary.ack_set[target] = 0
        primary.resend(target, 0.0, out)
    return _activated(primary, target, number, out)


BUGS["activate before the ack set holds X"] = Bug(
    [
        (agents.transfers, "finish_clones", _activates_first),
        (agents.transfers, "activated", _joins_when_activated),
    ],
    MOVES,
    options=TWO,
)

_order_retire = agents.transfers.order_retire


def _retires_at_once(
    primary: Primary, target: str, reason: str, now_s: float, out: list[Any], cause: Any = None
) -> None:
    _order_retire(primary, target, reason, now_s, out, cause)
    primary.ack_set.pop(target, None)


BUGS["S leaves the ack set before it answered retire"] = Bug(
    [(agents.transfers, "order_retire", _retires_at_once)], MOVES, options=TWO
)
_activate = Colony._activate


def _trusts_activate(self: Colony, sender: str, message: Activate, now_s: float, out: list[Any]) -> None:
    if self.learner is not None:
        self.learner.started = self.learner.is_whole = True
    _activate(self, sender, message, now_s, out)


BUGS["activate before X acked all"] = Bug(
    [
        (Clone, "is_complete", lambda self, committed: self._ended),
        (Colony, "_activate", _trusts_activate),
    ],
    MOVES_AND_RESETS,
    options={**TWO, "shape": SLOW_BULK},
    seeds=40,
)
BUGS["a majority of the ack set is enough"] = Bug(
    [(agents.primary, "min", lambda first, *rest: max(first, *rest) if rest else max(first))],
    "0.5 slow A>B for 6\n0.5 slow B>C for 6\n0.5 slow C>A for 6",
    options=THREE,
)


class _AlwaysHeld:
    @staticmethod
    def held(now_s: float) -> bool:
        return True


BUGS["commit without quorum"] = Bug(
    [(Container, "quorum", property(lambda self: _AlwaysHeld))],
    "0.5 cut A|BC for 5\n6 cut B|AC for 3",
    options=TWO,
)

_request = Primary.request


def _reads_at_once(self: Primary, caller: Any, request: Any, now_s: float, out: list[Any]) -> None:
    if type(request) is Get and self.is_open:
        self.read(caller, request, now_s, out)
    else:
        _request(self, caller, request, now_s, out)


BUGS["read without quorum"] = Bug(
    [(Primary, "request", _reads_at_once)], "0.5 cut p|su for 7", options=FEW, seeds=20
)

_read = Primary.read


def _reads_overlay(self: Primary, caller: Any, request: Get, now_s: float, out: list[Any]) -> None:
    seq, cell = self._latest(request.key)
    if seq and cell is not None and isinstance(cell[2], bytes):
        out.append(Answer(caller, Reply(request.id, 0, cell[0], value=cell[2])))
    else:
        _read(self, caller, request, now_s, out)


# What the primary sequences reaches nobody, and then it is gone.
UNHEARD = "1 cut p>s for 0.7\n1.5 crash p for 0.5\n5 cut s>p for 0.7\n5.5 crash s for 0.5"
BUGS["reads from the overlay"] = Bug([(Primary, "read", _reads_overlay)], UNHEARD, seeds=20, options=FEW)


def _answers_at_once(self: Primary, caller: Any, request: Any, reply: Reply, *rest: Any) -> None:
    rest[-1].append(Answer(caller, reply))


MANY = tuple(f"k{number}" for number in range(12))
RACING = Habits(think_s=0.2, attempt_s=1.5, give_up_s=4.0, mix=(("add", 3), ("get", 2)))
BUGS["a refused conditional is answered early"] = Bug(
    [(Primary, "refuse", _answers_at_once)],
    "0 cut p>s for 1\n0.4 crash p for 0.1",
    seeds=40,
    options={**TWO, "keys": MANY, "clients": 10, "habits": RACING, "charter": charter(2, 1)},
)

_is_repeat = Primary.is_repeat


def _skips_overlay(self: Primary, caller: Any, request: Any, out: list[Any]) -> bool:
    with patch.object(self, "_lanes", {}), patch.object(self, "_asked", {}):
        return _is_repeat(self, caller, request, out)


BUGS["the look-up of retries skips the overlay"] = Bug(
    [(Primary, "is_repeat", _skips_overlay)],
    "0.5 cut A>B for 1\n2 cut B>C for 1\n3 cut C>A for 1\n5 cut A>C for 1",
    options={**TWO, "habits": Habits(think_s=0.1, mix=(("append", 1), ("get", 1)))},
)

# -- promotion ---------------------------------------------------------------------------


def _is_half_complete(self: CensusRound) -> bool:
    return len(self.heard) >= self.view.majority or not self.missing


_add = CensusRound.add


def _half_adds(self: CensusRound, host: str, census: Any) -> bool:
    _add(self, host, census)
    return _is_half_complete(self)


BUGS["promotion without the full census"] = Bug(
    [(CensusRound, "is_complete", property(_is_half_complete)), (CensusRound, "add", _half_adds)],
    DEATHS,
    options=FIVE,
)

_colony_counted = Counting.colony_counted


def _counts_orphans(self: Counting, event: Counted, now_s: float, out: list[Any]) -> None:
    host = self._host
    view = host.view
    if event.peer is not None and view is not None:
        primary = host.directory.primary(event.colony)
        if view.member(primary) is not None:
            event = Counted(event.view, event.colony, None)
    _colony_counted(self, event, now_s, out)


BUGS["a census of orphans only"] = Bug([(Counting, "colony_counted", _counts_orphans)], DEATHS, options=FIVE)


def _elects_lowest(view: View, heard: Any) -> list[Heir]:
    heirs = []
    for heir in elect(view, heard):
        if heir.outcome == "promoted":
            lowest = min(heir.seqs, key=lambda host: heir.seqs[host])
            heir = Heir(heir.colony, heir.outcome, heir.epoch, lowest, heir.seqs)
        heirs.append(heir)
    return heirs


BUGS["promotion of a lower seq"] = Bug(
    [(agents.counting, "elect", _elects_lowest)],
    SLOW_DEATHS,
    seeds=30,
    options={**FIVE, "charter": charter(3)},
)

_primary_init = Primary.__init__


def _throws_tail_away(self: Primary, peer: Any, ack_set: dict[str, int]) -> None:
    peer.log.clear()
    peer.last = peer.committed
    _primary_init(self, peer, ack_set)


BUGS["a promoted peer throws its uncommitted tail away"] = Bug(
    [(Primary, "__init__", _throws_tail_away)], DEATHS, options=TWO
)


def _opens_at_once(self: Primary, upto: int, now_s: float, out: list[Any]) -> None:
    self.is_open = True
    self.take_waiting(now_s, out)


BUGS["a promoted peer serves before its inheritance is acked"] = Bug(
    [(Primary, "_open_if_acked", _opens_at_once)],
    "1 cut p>t for 3\n1.5 cut s>t for 2.5\n1.6 crash p for 3",
    options={**FIVE, **SEEN, "charter": charter(3, 2)},
)

_view_installed = Colony._view_installed


def _opens_at_next_view(self: Colony, event: ViewInstalled, now_s: float, out: list[Any]) -> None:
    if self.primary is not None:
        self.primary.is_open = True
    _view_installed(self, event, now_s, out)


BUGS["a promoted but closed primary opens at the next view"] = Bug(
    [(Colony, "_view_installed", _opens_at_next_view)],
    "1 cut p>t for 3\n1.5 cut s>t for 2.5\n1.6 crash p for 3\n2.2 recount u\n2.6 recount v",
    options={**FIVE, **SEEN, "charter": charter(3, 2)},
    seeds=40,
)

# -- hand-over -------------------------------------------------------------------------


def _hands_over_undrained(primary: Primary, view: int, now_s: float, out: list[Any]) -> HandOver | None:
    with patch.object(primary, "pending", ()):
        return _hand_over_if_drained(primary, view, now_s, out)


_hand_over_if_drained = agents.transfers.hand_over_if_drained
BUGS["a hand-over does not wait for acks"] = Bug(
    [(agents.transfers, "hand_over_if_drained", _hands_over_undrained)],
    only(move, move, move, slow, count=(20, 40)),
    options=THREE,
)


def _hands_over_alone(primary: Primary, view: int, now_s: float, out: list[Any]) -> HandOver | None:
    place = len(out)
    message = _hand_over_if_drained(primary, view, now_s, out)
    if message is not None:
        ack_set = tuple(host for host in message.ack_set if host != primary.peer.host.me)
        message = HandOver(message.colony, message.epoch, message.seq, message.clock_s, ack_set)
        out[place] = Send(out[place].to, message)
    return message


BUGS["a hand-over's ack set lacks the old primary"] = Bug(
    [(agents.transfers, "hand_over_if_drained", _hands_over_alone)], MOVES, options=TWO
)


def _repeats_hand_over(self: Colony, event: ViewInstalled, now_s: float, out: list[Any]) -> None:
    handed = self.handed
    _view_installed(self, event, now_s, out)
    if handed is not None:
        self.handed = handed
        out.append(Send(handed.target, handed.message))


BUGS["a hand-over is repeated across a view"] = Bug(
    [(Colony, "_view_installed", _repeats_hand_over)],
    "1 cut p>s for 0.8\n1 move hand_over 0\n1.3 recount u",
    options={**TWO, "habits": Habits(think_s=0.5)},
    seeds=40,
)
BUGS["a hand-over does not raise the epoch"] = Bug(
    [(agents.transfers, "next_epoch", lambda epoch, view: epoch)], MOVES, options=TWO
)

# s hands on to t before p hears that s took over: p asks again when the link comes back.
HANDED_ON = "\n".join(
    [
        "1 move hand_over 0 s",
        "1 cut s>p for 0.6",
        "1.3 move hand_over 0 t",
        "1.55 reset s>p",
        "1.55 reset p>s",
    ]
)
_hand_over = Colony._hand_over


def _takes_it_twice(self: Colony, sender: str, message: HandOver, now_s: float, out: list[Any]) -> None:
    if self.peer.epoch >= message.epoch and self.primary is None:
        self.peer.epoch = message.epoch - 1
    _hand_over(self, sender, message, now_s, out)


_handle = Colony.handle


def _takes_old_epochs(self: Colony, event: Any, now_s: float) -> list[Any]:
    if type(event) is Received and getattr(event.message, "epoch", 0) < self.peer.epoch:
        out: list[Any] = []
        getattr(self, colony_module._MESSAGES[type(event.message)])(event.sender, event.message, now_s, out)
        return out
    return _handle(self, event, now_s)


BUGS["a lower epoch is not refused"] = Bug(
    [(Colony, "handle", _takes_old_epochs), (Colony, "_hand_over", _takes_it_twice)],
    HANDED_ON,
    options={**THREE, "habits": Habits(think_s=1.0)},
    seeds=20,
)

# -- clones ------------------------------------------------------------------------------------


def _delta(entry: Any, cell: Any) -> Any:
    return entry


BUGS["attribute deltas to a LEARNING peer"] = Bug(
    [(agents.primary, "whole", _delta), (agents.transfers, "whole", _delta)],
    MOVES,
    options={**TWO, "shape": SLOW_BULK, "habits": Habits(think_s=0.05)},
    seeds=20,
)

_clear = Cells.clear


def _clears(self: Cells, *, learning: bool = False) -> None:
    _clear(self)


BUGS["a clone without tombstones"] = Bug(
    [(Cells, "clear", _clears)],
    only(move, count=(30, 60)),
    options={
        **FEW,
        "shape": SLOW_BULK,
        "habits": Habits(think_s=0.05, mix=(("put", 2), ("delete", 2), ("get", 1))),
    },
    seeds=40,
)

_link_up = agents.transfers.link_up


def _goes_on(primary: Primary, host: str, now_s: float, out: list[Any]) -> None:
    clone = primary.transfers.clones.get(host)
    if clone is None or not clone.started:
        _link_up(primary, host, now_s, out)


_link_came_up = Colony._link_came_up


def _learner_goes_on(self: Colony, event: LinkCameUp, now_s: float, out: list[Any]) -> None:
    if self.learner is None:
        _link_came_up(self, event, now_s, out)


BUGS["a log trimmed past a learner that goes on after a reset"] = Bug(
    [(agents.transfers, "link_up", _goes_on), (Colony, "_link_came_up", _learner_goes_on)],
    "1 move clone 0 u\n1.1 reset p>u\n3 move clone 0 u\n3.1 reset p>u\n5 move clone 0 u\n5.1 reset p>u",
    options={**FEW, "shape": SLOW_BULK, "limits": Limits(clone_patience_s=1e6)},
    seeds=20,
)
