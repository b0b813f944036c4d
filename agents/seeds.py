"""Seeds: addresses given at the start, and which hosts they turn out to be.

Asked again and again while the host needs company (it is in no view, or has
no quorum), since a seed may come later, or come back as another host.
"""

from __future__ import annotations

from agents.effects import SeedFound, SeedSilent
from agents.messages.client import Greeting
from agents.views import Member

EVERY_S = 0.5  # a joiner's first try often comes before its seed listens


class Seeds:
    """The seed addresses of one host; pure.

    Args:
        addresses: Public endpoints, `tcp://…`; one's own may be among them.
    """

    def __init__(self, addresses: tuple[str, ...] = ()) -> None:
        self._addresses = list(dict.fromkeys(addresses))
        self._due_s = 0.0

    def due(self, now_s: float, alone: bool) -> tuple[str, ...]:
        """Return the addresses to greet now; none while the host has company."""
        if not alone or now_s < self._due_s:
            return ()
        self._due_s = now_s + EVERY_S
        return tuple(self._addresses)

    def heard(self, address: str, answer: Greeting | str, me: str) -> SeedFound | SeedSilent:
        """Return what an answer, or why there is none, means; one's own address is asked no more."""
        if isinstance(answer, str):
            return SeedSilent(address, answer)
        if answer.host == me:
            self._addresses = [other for other in self._addresses if other != address]
        return SeedFound(Member(answer.host, answer.incarnation, answer.name, address, answer.link))
