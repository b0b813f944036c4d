"""Settling: how many peers all colonies get, and what share a host carries.

The population asked for is the same for all colonies. If the hosts can carry
only N-1 of each, all settle on N-1, and so on down to 1; when hosts or memory
come back, it rises again, with a margin, so that it does not swing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from placement.attraction import FILL_FULL, FILL_HIGH
from placement.labels import Level
from placement.reasons import Shortfall
from placement.repulsion import apart_at_most
from placement.resources import Candidate, format_bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """The population that all colonies aim at.

    Attributes:
        number: Peers of each colony; 0 = no host can hold any.
        shortfall: What it lacks of the number wanted, and why; None = nothing.
    """

    number: int
    shortfall: Shortfall | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one host should carry, rounded down."""

    copies: int
    primaries: int


def carriers(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the hosts that can hold peers: those that accept some, or hold some and stay.

    A host that is merely full is a carrier of what it has.
    """
    return [
        host for host in candidates if host.accepts or (host.copies and not host.leaving and not host.witness)
    ]


def settled_number(
    wanted: int,
    candidates: Sequence[Candidate],
    *,
    colonies: int = 0,
    now: int | None = None,
    hard: Level = Level.HOST,
) -> Settled:
    """Return the population that all colonies can have.

    Args:
        wanted: Peers asked for; >= 1.
        candidates: All member hosts.
        colonies: How many there are; 0 = don't judge by memory.
        now: What was settled before; a higher number needs more spare memory
            than keeping this one. None = there is no before.
        hard: No two peers of a colony share this level or a nearer one.
    """
    if wanted < 1:
        raise ValueError("a colony wants at least one peer")
    hosts = carriers(candidates)
    if not hosts:
        return Settled(0, Shortfall(wanted, 0, "no host can hold peers"))
    apart = apart_at_most(hosts, hard)
    number, because = min(wanted, apart), ""
    if number < wanted:
        many = f"{len(hosts)} host{'s' if len(hosts) > 1 else ''} can hold peers"
        because = many if apart == len(hosts) else f"{many}, {apart} without sharing a {hard.name.lower()}"
    one_set = _bytes_of_one_set(hosts, colonies)
    while number > 1 and not _fits(
        number, hosts, one_set, FILL_FULL if now is None or number <= now else FILL_HIGH
    ):
        number -= 1
        because = (
            f"memory: one copy of everything takes {format_bytes(one_set)}, not {number + 1} times to be had"
        )
    return Settled(number, Shortfall(wanted, number, because) if number < wanted else None)


@dataclass(frozen=True, slots=True)
class Need:
    """How many more hosts the cluster could use now, and why; 0 = none."""

    hosts: int
    because: str = ""


def hosts_wanted(settled: Settled, candidates: Sequence[Candidate]) -> Need:
    """Return how many more hosts would help.

    They are wanted one by one where memory is short: what a host brings is
    known once it is there. The share of memory at which one is wanted is that
    at which a host seeks relief, so that none is added which balance would do
    without.
    """
    hosts = carriers(candidates)
    lack = settled.shortfall
    if not hosts or (settled.number == 0 and lack is None):
        return Need(0)
    if lack is not None:
        is_few = len(hosts) < lack.wanted
        return Need(lack.wanted - len(hosts) if is_few else 1, lack.because)
    used = sum(host.bytes_used for host in hosts)
    could = sum(host.bytes_used + host.room for host in hosts if host.room is not None)
    if any(host.room is None for host in hosts) or used <= could * FILL_HIGH:
        return Need(0)
    return Need(1, f"memory: {format_bytes(used)} of {format_bytes(could)} is used")


def fair_share(hosts: int, colonies: int, settled: int) -> Share:
    """Return what each of `hosts` carriers, joiners included, should carry.

    It is a host's due as far as repulsion and room allow; who gets no more by
    `moves.claims` has its share.
    """
    if hosts < 1:
        raise ValueError("a share needs at least one host")
    return Share(copies=colonies * min(settled, hosts) // hosts, primaries=colonies // hosts)


def _bytes_of_one_set(hosts: Sequence[Candidate], colonies: int) -> int:
    """Return the bytes of one copy of all colonies, by the mean copy there is."""
    copies = sum(host.copies for host in hosts)
    return sum(host.bytes_used for host in hosts) * colonies // copies if copies else 0


def _fits(number: int, hosts: Sequence[Candidate], one_set: int, fill_max: float) -> bool:
    """Return whether so many copies of everything fit: no host takes more than one of each."""
    holdable = 0.0
    for host in hosts:
        room = host.room
        holdable += one_set if room is None else min(one_set, (host.bytes_used + room) * fill_max)
    return holdable >= number * one_set
