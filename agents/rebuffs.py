"""Rebuffs: which hosts have just refused a colony, and are not asked again so soon."""

from __future__ import annotations

from dataclasses import replace

from placement.resources import Candidate

REFUSED_S = 1.0  # before a refused target is asked again


class Rebuffs:
    """Hosts that refused, by colony."""

    def __init__(self) -> None:
        self._at_s: dict[tuple[int, str], float] = {}

    def note(self, colony: int, host: str, now_s: float, rest_s: float) -> None:
        """A host refused; `rest_s`: it is left alone for so much longer than usual."""
        self._at_s[colony, host] = now_s + rest_s

    def clear(self) -> None:
        """Another view: whoever refused may not refuse again."""
        self._at_s.clear()

    def has(self, colony: int, host: str) -> bool:
        """Return whether a host is among those that were last seen to have refused."""
        return (colony, host) in self._at_s

    def hosts(self, colony: int, now_s: float) -> set[str]:
        """Return the hosts that refused this colony just now."""
        if self._at_s:
            for key in [k for k, at_s in self._at_s.items() if now_s - at_s > REFUSED_S]:
                del self._at_s[key]
        return {host for one, host in self._at_s if one == colony}


def without(refused: set[str], hosts: list[Candidate]) -> list[Candidate]:
    """Return the hosts; those that have just refused don't accept."""
    if not refused:
        return hosts
    return [
        replace(host, accepts=False, because="refused just now") if host.id in refused else host
        for host in hosts
    ]
