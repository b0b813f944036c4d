"""Peers: which hosts hold a colony, as its directory entry says."""

from __future__ import annotations

from dataclasses import dataclass


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
