"""Birth: where the colonies of a new cluster begin.

Every founder knows the same list of hosts, so each works out the same
placement by itself and nobody has to send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from placement.labels import Level
from placement.moves import better_spread, improve
from placement.peers import Peers
from placement.repulsion import penalty_added
from placement.resources import Candidate
from placement.settle import settled_number
from placement.ties import tie_order

# Beyond so many colonies the pattern repeats: 65,536 of them would else take the better part of a minute.
PATTERN_MIN = 2048


def first_placement(
    colonies: int, wanted: int, hosts: Sequence[Candidate], *, hard: Level = Level.HOST
) -> list[Peers]:
    """Return where each colony is born: spread, then even in copies and primaries.

    Pure in ids, labels and flags of the hosts: their loads are not looked at,
    since founders may know different ones.
    """
    able = sorted((host for host in hosts if host.accepts), key=lambda host: host.id)
    blank = [Candidate(id=host.id, labels=host.labels) for host in able]
    number = settled_number(wanted, blank, hard=hard).number
    if not number:
        return [Peers(colony) for colony in range(colonies)]
    # A multiple of the hosts, so that each repeat is even by itself.
    pattern_length = -(-PATTERN_MIN // len(blank)) * len(blank)
    copies = {host.id: 0 for host in blank}
    primaries = dict(copies)
    born: list[Peers] = []
    for colony in range(min(colonies, pattern_length)):
        first, *others = _spread(colony, number, blank, copies, primaries)
        primaries[first] += 1
        for host in (first, *others):
            copies[host] += 1
        born.append(Peers(colony, (first,), tuple(others)))
    _even_out(born, [replace(one, copies=copies[one.id], primaries=primaries[one.id]) for one in blank])
    for colony in range(len(born), colonies):
        like = born[colony % pattern_length]
        born.append(Peers(colony, like.primaries, like.secondaries))
    return born


def _spread(
    colony: int, number: int, hosts: Sequence[Candidate], copies: dict[str, int], primaries: dict[str, int]
) -> list[str]:
    """Return who holds a colony: the host that leads least, then the farthest and emptiest ones."""
    holders = [min(hosts, key=lambda h: (primaries[h.id], copies[h.id], tie_order(colony, h.id)))]
    while len(holders) < number:
        free = [host for host in hosts if host not in holders]
        holders.append(
            min(free, key=lambda h: (penalty_added(h, holders), copies[h.id], tie_order(colony, h.id)))
        )
    ids = [host.id for host in holders]
    # One by one is not always best: move while that sets peers further apart (it ends: see moves.py).
    while move := better_spread(colony, ids, hosts, primary=ids[0]):
        ids[ids.index(move.source)] = move.target
    return ids


def _even_out(born: list[Peers], hosts: list[Candidate]) -> None:
    """Do what primaries would do right after birth, so that nothing is left to do (it ends: see moves.py)."""
    at = {host.id: n for n, host in enumerate(hosts)}
    quiet = 0
    while quiet < len(born):
        for n, peers in enumerate(born):
            move = improve(peers.colony, peers.holders, hosts, primary=peers.primary)
            if move is None:
                quiet += 1
                continue
            quiet = 0
            born[n] = after = peers.after(move)
            for host in {*peers.holders, *after.holders}:
                copies = (host in after.holders) - (host in peers.holders)
                primaries = (host == after.primary) - (host == peers.primary)
                seen = hosts[at[host]]
                hosts[at[host]] = replace(
                    seen, copies=seen.copies + copies, primaries=seen.primaries + primaries
                )
