"""Planted bugs of cells that move to another colony."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import agents.migration
import agents.moving
import agents.primary
from agents.cells import Cells
from agents.messages.replication import ARRIVING, AWAY, DROP, LEAVING, RECALLING, LaneState
from agents.moving import Primary, is_departing
from tests.sim.bugs import TWO, Bug, nothing
from tests.sim.clients import Habits
from tests.sim.plans import Maker, crash, migrate, move, only, pause, reset, slow

BUGS: dict[str, Bug] = {}

MIGRATIONS: Maker = only(migrate, count=(40, 80))
WITH_MOVES: Maker = only(migrate, migrate, migrate, move, slow, count=(60, 90))
WITH_FAULTS: Maker = only(migrate, migrate, migrate, migrate, reset, slow, crash, count=(30, 60))
WITH_DEATHS: Maker = only(migrate, migrate, migrate, migrate, crash, pause, count=(30, 50))
CELLS = {**TWO, "keys": ("a0", "k0", "k1", "s0"), "clients": 6}
HASTY = {**CELLS, "habits": Habits(think_s=0.03)}
RETRIES = {**CELLS, "habits": Habits(think_s=0.02, attempt_s=0.05, mix=(("append", 3), ("get", 1)))}
DYING = {**CELLS, "habits": Habits(think_s=0.02, mix=(("put", 3), ("delete", 3), ("get", 2)))}

_step = agents.migration._step


def _hands_over_at_once(primary: Primary, key: bytes, now_s: float, out: list[Any]) -> None:
    _step(primary, key, now_s, out)
    place = primary.peer.cells.places.get(key)
    if place is not None and is_departing(place):
        agents.moving.say(primary, DROP, key, AWAY, place.colony, place.stamp, now_s, out)


BUGS["home hands a cell over before the other colony has committed it"] = Bug(
    [(agents.migration, "_step", _hands_over_at_once)], WITH_DEATHS, options=CELLS
)

_opened = agents.migration.opened


def _forgets_departing(primary: Primary, now_s: float, out: list[Any]) -> None:
    with patch.object(agents.migration, "hold", nothing):
        _opened(primary, now_s, out)


BUGS["a promoted primary forgets that a cell departs"] = Bug(
    [(agents.migration, "opened", _forgets_departing)], WITH_MOVES, options=HASTY, seeds=40
)

_is_elsewhere = agents.migration.is_elsewhere


def _answers_for_what_is_away(primary: Primary, caller: Any, request: Any, *rest: Any) -> bool:
    place = primary.peer.cells.places.get(getattr(request, "key", b""))
    if place is not None and place.state in (AWAY, RECALLING):
        return False
    return _is_elsewhere(primary, caller, request, *rest)


BUGS["home answers for a cell that is away"] = Bug(
    [(agents.migration, "is_elsewhere", _answers_for_what_is_away)], MIGRATIONS, options=CELLS
)


def _knows_no_lane(self: Cells, state: LaneState, now_s: float) -> None:
    """What was answered elsewhere is not known here."""


BUGS["what was done elsewhere is done again"] = Bug(
    [(Cells, "_fence", _knows_no_lane)], WITH_FAULTS, options=RETRIES, seeds=40
)


def _serves_what_moves(primary: Primary, caller: Any, request: Any, now_s: float, out: list[Any]) -> bool:
    place = primary.peer.cells.places.get(getattr(request, "key", b""))
    if place is not None and place.state in (ARRIVING, LEAVING):
        agents.moving.release(primary, request.key, now_s, out)
        return False
    return _is_elsewhere(primary, caller, request, now_s, out)


BUGS["a guest is served while it arrives or leaves"] = Bug(
    [(agents.migration, "is_elsewhere", _serves_what_moves)], WITH_MOVES, options=HASTY, seeds=40
)
BUGS["a colony that takes a cell in does not raise its seq above the cell's version"] = Bug(
    [(agents.moving, "seq_above", lambda last, version: last + 1)], MIGRATIONS, options=CELLS
)
BUGS["a cell is born again where it died as a guest"] = Bug(
    [(agents.primary, "dying", nothing)], MIGRATIONS, options=DYING, seeds=40
)
