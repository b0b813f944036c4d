"""The barrier of a whole-cluster stop, as the one sees it who leads the stop.

FREEZE until all peers of every colony are at the same seq; WRITE until all
have written; END. Who doesn't get there in time gives the reason to give up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agents.messages.replication import CensusPeer
from agents.messages.stopping import END, FREEZE, WRITE, StopAnswer
from agents.views import View

FREEZE_S = 10.0  # ten times what a hand-over may wait for its last acks
WRITE_S = 600.0  # 60 GB at 100 MB/s
SILENT_S = 5.0  # the leader repeats itself 25 times in it, and is answered as often


def disagreement(colonies: int, told: Mapping[str, tuple[CensusPeer, ...]]) -> str:
    """Return why the peers that all hosts told of are not at one barrier; "" = they are."""
    leads: dict[int, CensusPeer] = {}
    for peer in (peer for peers in told.values() for peer in peers if peer.primary):
        if peer.colony in leads:
            return f"colony {peer.colony} has two primaries"
        leads[peer.colony] = peer
    for peer in (peer for peers in told.values() for peer in peers):
        lead = leads.get(peer.colony)
        if lead is not None and peer.seq != lead.seq:
            return f"a peer of colony {peer.colony} is at {peer.seq}, its primary at {lead.seq}"
    missing = [colony for colony in range(colonies) if colony not in leads]
    return f"colony {missing[0]} has no primary" if missing else ""


@dataclass(slots=True)
class Barrier:
    """How far all members are with one stop.

    Attributes:
        stop: Its id.
        force: Colonies without a primary are given up.
        since_s: When this phase began.
        phase: What all are asked to do now.
        ordered_s: When they were last asked.
        answers: Member -> its last answer in this phase.
        heard_s: Member -> when it last answered.
        odd: Why the peers are not at one barrier though all rest.
    """

    stop: str
    force: bool
    since_s: float
    phase: int = FREEZE
    ordered_s: float = float("-inf")
    answers: dict[str, StopAnswer] = field(default_factory=dict)
    heard_s: dict[str, float] = field(default_factory=dict)
    odd: str = ""

    def took(self, sender: str, answer: StopAnswer, now_s: float) -> bool:
        """Take an answer; return whether it is of this phase."""
        self.heard_s[sender] = now_s
        if answer.phase != self.phase:
            return False
        self.answers[sender] = answer
        return True

    def goes_on(self, view: View, now_s: float) -> bool:
        """Go on to the next phase once all have done what this one asks for; return whether it did."""
        if self.undone(view.ids):
            return False
        if self.phase == WRITE:
            self.phase = END
            return True
        told = {host: answer.peers for host, answer in self.answers.items()}
        self.odd = disagreement(view.charter.colonies, told)
        if self.odd and not (self.force and self.odd.endswith("no primary")):
            return False
        self.phase, self.since_s = WRITE, now_s
        self.answers.clear()
        return True

    def undone(self, hosts: Iterable[str]) -> list[str]:
        """Return which of these hosts have not done what is asked."""
        answers = self.answers
        return [host for host in hosts if host not in answers or not answers[host].done]

    def silent(self, hosts: Iterable[str], now_s: float) -> list[str]:
        """Return which of these hosts have not done what is asked, and say nothing to that for long."""
        return [
            host
            for host in self.undone(hosts)
            if now_s - max(self.heard_s.get(host, 0.0), self.since_s) > 2 * SILENT_S
        ]

    def waits_for(self, host: str) -> str:
        """Return what a host that has not done what is asked says that it waits for."""
        answer = self.answers.get(host)
        return answer.waits if answer is not None else "no answer"

    def is_late(self, now_s: float) -> bool:
        """Return whether this phase takes longer than it may."""
        return now_s - self.since_s > (FREEZE_S if self.phase == FREEZE else WRITE_S)
