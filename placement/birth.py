"""Birth: where the colonies of a new cluster begin.

Every founder knows the same list of hosts, so each works out the same
placement by itself and nobody has to send it.
"""

from __future__ import annotations

from collections.abc import Sequence

from placement.labels import Level
from placement.moves import better_spread
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
        holders = _spread(colony, number, blank, copies)
        first = min(holders, key=lambda host: (primaries[host], tie_order(colony, host)))
        primaries[first] += 1
        for host in holders:
            copies[host] += 1
        born.append(Peers(colony, (first,), tuple(host for host in holders if host != first)))
    for colony in range(len(born), colonies):
        like = born[colony % pattern_length]
        born.append(Peers(colony, like.primaries, like.secondaries))
    return born


def _spread(colony: int, number: int, hosts: Sequence[Candidate], copies: dict[str, int]) -> list[str]:
    holders: list[Candidate] = []
    for _ in range(number):
        taken = {host.id for host in holders}
        holders.append(
            min(
                (host for host in hosts if host.id not in taken),
                key=lambda host: (penalty_added(host, holders), copies[host.id], tie_order(colony, host.id)),
            )
        )
    ids = [host.id for host in holders]
    # One by one is not always best: move while that sets peers further apart (it ends: see moves.py).
    while move := better_spread(colony, ids, hosts):
        ids[ids.index(move.source)] = move.target
    return ids
