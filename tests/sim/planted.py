"""Planted bugs: each breaks one rule of the protocol, for a test alone."""

from __future__ import annotations

from tests.sim import bugs_cells, bugs_peers, bugs_sides, bugs_views
from tests.sim.bugs import Bug

BUGS: dict[str, Bug] = bugs_views.BUGS | bugs_peers.BUGS | bugs_sides.BUGS | bugs_cells.BUGS
