"""Why: the placement of one colony, host by host, in words."""

from __future__ import annotations

from collections.abc import Sequence

from placement.attraction import attraction_words
from placement.choice import standing, target_vetoes, target_words
from placement.labels import Level
from placement.moves import improve
from placement.peers import Peers
from placement.reasons import Move, Verdict
from placement.repulsion import Penalty, near_words, penalty_of
from placement.resources import Candidate


def explain(
    peers: Peers,
    candidates: Sequence[Candidate],
    *,
    bytes_wanted: int = 0,
    hard: Level = Level.HOST,
) -> tuple[Verdict, ...]:
    """Return, for every member host, why it does or does not hold the colony.

    A holder's terms begin with its role. Another host has vetoes if it can't
    take a copy, or else terms that say what a copy there would be like.
    """
    near = standing(peers.holders, candidates)
    move = improve(peers.colony, peers.holders, candidates, primary=peers.primary, bytes_wanted=bytes_wanted)
    return tuple(
        _holder_verdict(host, peers, near, move)
        if host.id in peers.holders
        else _other_verdict(host, peers, near, move, bytes_wanted, hard)
        for host in candidates
    )


def _holder_verdict(host: Candidate, peers: Peers, near: Sequence[Candidate], move: Move | None) -> Verdict:
    role = "holds the primary" if host.id in peers.primaries else "holds a secondary"
    others = [other for other in near if other.id != host.id]
    terms = [role, near_words(host, others), *attraction_words(host, bytes_wanted=0)]
    if host.leaving:
        terms.insert(1, "is leaving: its copy will move")
    if move is not None and move.source == host.id:
        what = "its copy" if move.kind == "copy" else "its role"
        terms.append(f"would give up {what}: {move.because}")
    return Verdict(host.id, host.called, (), tuple(terms))


def _other_verdict(
    host: Candidate,
    peers: Peers,
    near: Sequence[Candidate],
    move: Move | None,
    bytes_wanted: int,
    hard: Level,
) -> Verdict:
    vetoes = target_vetoes(host, peers.holders, near, bytes_wanted=bytes_wanted)
    if vetoes:
        return Verdict(host.id, host.called, vetoes)
    if move is not None and move.target == host.id:
        return Verdict(host.id, host.called, (), (f"would get a copy: {move.because}",))
    here = penalty_of(near)
    instead = _best_instead(host, near)
    if instead > here:
        last = f"a move to it would be worse for repulsion ({penalty_of(near).words} now)"
    elif hard is not Level.HOST and instead.breaks(hard):
        last = f"a move to it would share a {hard.name.lower()}, which is forbidden"
    else:
        last = "could hold it as well; a move would not gain enough"
    return Verdict(host.id, host.called, (), (*target_words(host, near, bytes_wanted=bytes_wanted), last))


def _best_instead(host: Candidate, near: Sequence[Candidate]) -> Penalty:
    return min(
        (penalty_of([host, *(o for o in near if o is not gone)]) for gone in near), default=penalty_of([host])
    )
