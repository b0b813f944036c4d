"""Advice: what to change so that less is lost, and how many peers a wish needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from placement.birth import first_placement
from placement.hazard.graph import Graph
from placement.hazard.models import DAY_S
from placement.hazard.survival import survival
from placement.hazard.walk import labels_of
from placement.resources import Candidate

MOVES_TRIED_MAX = 400
PEERS_MAX = 9


@dataclass(frozen=True, slots=True)
class BetterMove:
    """The move of one peer that helps most.

    Attributes:
        before: Expected losses of this colony per second, now.
        after: ... once it has moved.
    """

    colony: str
    source: str
    target: str
    before: float
    after: float


def best_move(graph: Graph, *, window_s: float) -> BetterMove | None:
    """Return the move that lowers the frequency of loss most; None = none lowers it.

    The colonies in most danger are tried first; at most `MOVES_TRIED_MAX` moves are.
    """
    at_risk = survival(graph, window_s=window_s).by_colony
    best: BetterMove | None = None
    tried = 0
    seen: set[frozenset[str]] = set()
    for colony in sorted(at_risk, key=lambda name: (-at_risk[name], name)):
        peers = graph.colonies[colony]
        if frozenset(peers) in seen:
            continue  # on the same hosts as one that was tried
        seen.add(frozenset(peers))
        for source in peers:
            for target in graph.hosts:
                if target in peers:
                    continue
                tried += 1
                if tried > MOVES_TRIED_MAX:
                    return best
                moved = tuple(target if peer == source else peer for peer in peers)
                after = survival(graph.placed({colony: moved}), window_s=window_s).frequency
                gain = at_risk[colony] - after
                if gain > 1e-3 * at_risk[colony] and (best is None or gain > best.before - best.after):
                    best = BetterMove(colony, source, target, at_risk[colony], after)
    return best


def spread_out(graph: Graph, peers: int) -> Mapping[str, tuple[str, ...]]:
    """Return where the colonies would live with so many peers each, placed as a new cluster places them."""
    hosts = [Candidate(name, labels=labels_of(graph, name)) for name in graph.hosts]
    names = list(graph.colonies)
    born = first_placement(len(names), peers, hosts)
    return {name: place.holders for name, place in zip(names, born, strict=True)}


def peers_needed(
    graph: Graph, wish: float, *, window_s: float, horizon_s: float = DAY_S
) -> tuple[int | None, dict[int, float]]:
    """Return the fewest peers per colony that survive as wished, and what each number gives.

    Args:
        wish: Probability that nothing is lost in the horizon; > 0 and < 1.

    Returns:
        (peers, or None if no number will do; survival by number of peers).
    """
    if not 0 < wish < 1:
        raise ValueError("the wish is a probability above 0 and below 1")
    found: dict[int, float] = {}
    for peers in range(1, min(PEERS_MAX, len(graph.hosts)) + 1):
        placed = graph.placed(spread_out(graph, peers))
        found[peers] = survival(placed, window_s=window_s, horizon_s=horizon_s).survives
        if found[peers] >= wish:
            return peers, found
    return None, found
