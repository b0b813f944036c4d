"""Peers: which hosts hold a colony, as its directory entry says."""

from __future__ import annotations

from dataclasses import dataclass

from placement.reasons import Move


@dataclass(frozen=True, slots=True)
class Peers:
    """Where one colony lives; LEARNING peers are not listed.

    Attributes:
        colony: Its number.
        primaries: Hosts with a primary; one, unless something is wrong.
        secondaries: Hosts with an ACTIVE secondary.
    """

    colony: int
    primaries: tuple[str, ...] = ()
    secondaries: tuple[str, ...] = ()

    @property
    def primary(self) -> str | None:
        """The host of the primary; None = there is none."""
        return self.primaries[0] if self.primaries else None

    @property
    def holders(self) -> tuple[str, ...]:
        """All hosts with an ACTIVE peer, primary first; a host with two is there twice."""
        return self.primaries + self.secondaries

    def after(self, move: Move) -> Peers:
        """Return where the colony lives once a move of it is done."""
        if move.colony != self.colony or move.source not in self.holders:
            raise ValueError(f"{move} is no move of {self}")
        if move.kind == "role":
            swap = {move.source: move.target, move.target: move.source}
        else:
            swap = {move.source: move.target}
        return Peers(
            self.colony,
            tuple(swap.get(host, host) for host in self.primaries),
            tuple(swap.get(host, host) for host in self.secondaries),
        )
