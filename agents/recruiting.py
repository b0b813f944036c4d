"""Recruiting: one more host, when the cluster asks for it.

Several supervisors hear the same wish. So that only one of them follows it,
who wants to adds a *claim* first: a cell of the cluster itself, born only if
there is none, with a time to live. The cluster decides about it by quorum, so
the side of a split that could not admit a host can't claim one either.

- The wish must last, so that a host that is just being restarted is not replaced.
- It must be there *after* the claim was won: the wish that led to it may be
  the one that the holder of the claim before has just fulfilled.
- A claim is believed for half of its time, counted from when it was asked for.
- It is kept while the host starts, and for a while after: until what the host
  brings shows in what the cluster asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf

CLAIM_S = 30.0  # a host starts and joins in a few seconds; who died with a claim delays others by no more
COOL_S = 20.0  # governors settle within seconds of a view
STAGGER_S = 1.0  # per host that runs here already: emptier boxes go first


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for the claim to start this host."""

    host: str
    ttl_s: float = CLAIM_S


@dataclass(frozen=True, slots=True)
class Keep:
    """Let the claim last for so long from now on; it is ours."""

    ttl_s: float


@dataclass(frozen=True, slots=True)
class AskCapacity:
    """Ask the cluster at once what it wants."""


@dataclass(frozen=True, slots=True)
class Recruit:
    """Start one more host."""

    host: str
    because: str


@dataclass(frozen=True, slots=True)
class NoRoom:
    """More hosts are wanted, and none has room here."""

    because: str


class Step(Enum):
    """How far this supervisor is with one more host."""

    IDLE = "idle"
    CLAIMING = "claiming"
    CLAIMED = "claimed"
    STARTED = "started"


Order = Claim | Keep | AskCapacity | Recruit | NoRoom


class Recruiter:
    """One supervisor's part in it.

    Args:
        patience_s: How long a wish must last.
    """

    def __init__(self, patience_s: float) -> None:
        self.step = Step.IDLE
        self.host = ""  # the one that is claimed or started
        self._patience_s = patience_s
        self._since_s = inf  # since when more are wanted
        self._because = ""
        self._sent_s = self._claimed_s = -inf
        self._again_s = -inf
        self._told = False

    def wanted(self, hosts: int, because: str, asked_s: float, now_s: float) -> list[Order]:
        """Take the cluster's answer to a question of `asked_s`: how many more hosts it wants."""
        if hosts <= 0:
            self._since_s, self._told = inf, False
            if self.step is Step.CLAIMED and asked_s >= self._claimed_s:
                self._rest(now_s)  # another one was faster
                return [Keep(0.1)]
            return []
        self._since_s, self._because = min(self._since_s, now_s), because
        if self.step is not Step.CLAIMED or asked_s < self._claimed_s:
            return []
        if now_s >= self._sent_s + CLAIM_S / 2:
            self._rest(now_s)  # it may be somebody else's by the time that the host is there
            return []
        self.step, self._since_s = Step.STARTED, inf
        return [Recruit(self.host, because)]

    def tick(self, name: str, running: int, now_s: float, *, is_busy: bool) -> list[Order]:
        """Return what is due.

        Args:
            name: What the next host would be called; "" = there is room for none.
            running: Hosts that run here.
            is_busy: A host here is on its way: what it brings is not known yet.
        """
        if self.step is Step.STARTED and now_s >= self._sent_s + CLAIM_S / 3:
            self._sent_s = now_s
            return [Keep(CLAIM_S)]
        if self.step in (Step.CLAIMING, Step.CLAIMED) and now_s >= self._sent_s + CLAIM_S:
            self._rest(now_s)
        is_due = now_s >= self._since_s + self._patience_s + STAGGER_S * running
        if self.step is not Step.IDLE or is_busy or not is_due or now_s < self._again_s:
            return []
        if not name:
            told, self._told = self._told, True
            return [] if told else [NoRoom(self._because)]
        self.step, self.host, self._sent_s = Step.CLAIMING, name, now_s
        return [Claim(name)]

    def claimed(self, won: bool, now_s: float) -> list[Order]:
        """Take the answer to a claim; False also when nobody knows: it runs out by itself."""
        if self.step is not Step.CLAIMING:
            return []
        if not won:
            self._rest(now_s)
            return []
        self.step, self._claimed_s = Step.CLAIMED, now_s
        return [AskCapacity()]

    def settled(self, now_s: float) -> list[Order]:
        """The host is ACTIVE, or will not be: let the cluster say what it wants now."""
        if self.step is not Step.STARTED:
            return []
        self._rest(now_s, COOL_S)
        return [Keep(COOL_S)]

    def _rest(self, now_s: float, pause_s: float = CLAIM_S / 2) -> None:
        self.step, self.host = Step.IDLE, ""
        self._again_s = now_s + pause_s
