"""Agreement on the next view: one Paxos instance per view.

Acceptors are the members of view `v`, by host id; the value is the whole
next view. What an `Acceptor` promised or accepted is in the durable record
before anybody hears of it. An `Attempt` is one ballot of one proposer.

Source: Lamport, "Paxos Made Simple"; Vertical Paxos for the reconfiguration.
"""

from __future__ import annotations

from collections.abc import Collection

from agents.messages.membership import Ballot, Promise
from agents.views import View, generation_of

NOBODY = Ballot(0, "")


class Acceptor:
    """One host's vote on the successor of one view."""

    __slots__ = ("accepted", "accepted_ballot", "promised")

    def __init__(
        self,
        promised: Ballot | None = None,
        accepted_ballot: Ballot | None = None,
        accepted: View | None = None,
    ) -> None:
        self.promised = promised
        self.accepted_ballot = accepted_ballot
        self.accepted = accepted

    def prepare(self, ballot: Ballot) -> bool:
        """Promise to answer no lower ballot; False: already promised a higher."""
        if self.promised is not None and ballot < self.promised:
            return False
        self.promised = ballot
        return True

    def accept(self, ballot: Ballot, proposal: View) -> bool:
        """Accept a proposal; False: already promised a higher ballot."""
        if not self.prepare(ballot):
            return False
        if self.accepted_ballot == ballot:
            assert self.accepted == proposal, "one ballot proposes one value"
        self.accepted_ballot = ballot
        self.accepted = proposal
        return True

    def next_ballot(self, host: str, seen: int = 0) -> Ballot:
        """Return a ballot above all that were promised and above round `seen`.

        The proposer promises it to itself, durably, before it sends it: so a
        round is never used twice, not even after a restart.
        """
        return Ballot(max(seen, (self.promised or NOBODY).round) + 1, host)


def follows(proposal: View, view: View) -> bool:
    """Return whether a proposal's tag, generation and number may follow a view.

    The next number, or (an operator's `recover --force`) the next generation
    with a higher number. What the proposal contains is never a reason to
    refuse it: a later proposer may have to adopt it.
    """
    if proposal.tag != view.tag:
        return False
    if proposal.id == view.id + 1:
        return True
    # A whole generation apart, number included: never an overflow of the number.
    return generation_of(proposal.id) == generation_of(view.id) + 1


def dropped(view: View, successor: View) -> tuple[tuple[str, int], ...]:
    """Return the (host id, incarnation) of members that a successor lists no more."""
    return tuple(
        (member.id, member.incarnation)
        for member in view.members
        if not successor.lists(member.id, member.incarnation)
    )


class Attempt:
    """One ballot: promises, then a proposal, then its acceptances.

    Args:
        view: The view whose successor is sought.
        needed: How many acceptors make it chosen.
    """

    def __init__(self, view: View, ballot: Ballot, needed: int, now_s: float) -> None:
        self.view = view
        self.ballot = ballot
        self.needed = needed
        self.since_s = now_s
        self.promises: dict[str, Promise] = {}
        self.prepared_s: float | None = None
        self.proposal: View | None = None
        self._left: dict[str, tuple[float, dict[str, float]]] = {}

    def promise(self, host: str, promise: Promise, now_s: float) -> None:
        """Count a promise of a member of the view."""
        if promise.ballot != self.ballot or self.view.member(host) is None:
            return
        self.promises[host] = promise
        if self.prepared_s is None and len(self.promises) >= self.needed:
            self.prepared_s = now_s

    def adopted(self) -> View | None:
        """Return the value that must be proposed; None: the proposer is free."""
        best: Promise | None = None
        for promise in self.promises.values():
            if self.is_forced(promise.accepted):
                continue  # another side's beginning: it binds nobody who goes on in this generation
            if promise.accepted_ballot is not None and (
                best is None or promise.accepted_ballot > (best.accepted_ballot or NOBODY)
            ):
                best = promise
        return best.accepted if best else None

    def is_forced(self, accepted: View | None) -> bool:
        """Return whether an accepted value is of the next generation, where sides may go on alone."""
        if accepted is None or not self.view.charter.is_available:
            return False
        return generation_of(accepted.id) != generation_of(self.view.id)

    def propose(self, proposal: View, now_s: float) -> None:
        """Settle what this ballot proposes, once and for all."""
        assert self.proposal is None, "one ballot proposes one value"
        self.proposal = proposal
        self.since_s = now_s

    def accepted(self, host: str, left_s: dict[str, float], now_s: float) -> None:
        """Count an acceptance, and what leases it says may still run."""
        if self.proposal is not None and self.view.member(host) is not None and host not in self._left:
            self._left[host] = (now_s, dict(left_s))

    def acceptors(self) -> Collection[str]:
        """Return who has accepted."""
        return self._left.keys()

    @property
    def chosen(self) -> bool:
        """Whether a majority accepted: nothing else can be chosen any more."""
        return len(self._left) >= self.needed

    def free_at_s(self, harmless: Collection[str]) -> float:
        """Return when the leases of dropped members have surely run out.

        Any majority of acceptors will do, so it is the one whose longest
        lease ends first.

        Args:
            harmless: Dropped members that need no wait: their death is
                attested, or they gave up their quorum when they left.
        """
        assert self.proposal is not None and self.chosen
        waits = [host for host, _ in dropped(self.view, self.proposal) if host not in harmless]
        ends = sorted(
            at_s + max((left_s.get(host, 0.0) for host in waits), default=0.0)
            for at_s, left_s in self._left.values()
        )
        return ends[self.needed - 1]
