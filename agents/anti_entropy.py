"""Anti-entropy: who seems to know something else of where colonies are is asked what it is.

Digests of the directory travel in heartbeats. One that differs for a while
means that a message was lost; while much moves they all differ, so only a
few are asked at a time, whoever waits longest first.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.directory import Directory
from agents.effects import Effect, Send
from agents.messages.replication import WantLocations
from agents.views import View

DIGEST_EVERY_S = 1.0
ASKED_MAX = 4  # in that time: while much moves all hosts differ, and each question names all colonies


class AntiEntropy:
    """Whose directories differ from this host's, and who was asked of late."""

    def __init__(self) -> None:
        self._differ_s: dict[str, float] = {}  # host -> since when, or when it was asked last
        self._asked_s: list[float] = []

    @property
    def is_under_way(self) -> bool:
        """Whether somebody's digest differs."""
        return bool(self._differ_s)

    def forget(self) -> None:
        """A view was installed: what hosts said before it is old."""
        self._differ_s.clear()

    def compare(
        self, directory: Directory, digests: Mapping[str, int], view: View, now_s: float, out: list[Effect]
    ) -> None:
        """Ask members whose digests have differed for long enough; not too many at once."""
        self._asked_s = [at_s for at_s in self._asked_s if now_s - at_s < DIGEST_EVERY_S]
        due = []
        for host, theirs in digests.items():
            if theirs == directory.digest or view.member(host) is None:
                self._differ_s.pop(host, None)
                continue
            since = self._differ_s.setdefault(host, now_s)
            # What is known of theirs is as old as their last heartbeat.
            if now_s - since >= max(DIGEST_EVERY_S, 2 * view.charter.heartbeat_s):
                due.append((since, host))
        for _, host in sorted(due)[: ASKED_MAX - len(self._asked_s)]:
            self._asked_s.append(now_s)
            self._differ_s[host] = now_s
            out.append(Send(host, WantLocations(directory.known())))
