"""The council: one host's votes on the next view, and its own candidacies.

It decides when a change of the view is due and whose turn it is, runs the
ballots, and hands a chosen view to the membership once the leases of those
that it drops have run out.
"""

from __future__ import annotations

import hashlib
from math import inf
from typing import Protocol

from agents import drafting
from agents.agreement import NOBODY, Acceptor, Attempt, dropped, follows
from agents.causes import Cause
from agents.detector import Verdict
from agents.effects import Note, Send
from agents.electorate import KNOCK_FRESH_S, in_reach, is_later, joiners, proposers, returns_soon, side
from agents.encounters import Encounters
from agents.knocking import Knocking
from agents.leases import STRETCH, Grants
from agents.messages.membership import Accept, Accepted, Ballot, Prepare, Promise, Refused
from agents.orders import Orders
from agents.stages import Stage
from agents.succession import EVICTED, connected, demoted
from agents.views import GENERATION_MAX, View, generation_of

DOUBLINGS_MAX = 5  # of the back-off: 50 ms to 1.6 s, times chance
LEFT_OUT_S = 1.0  # one that the rule leaves out proposes nothing for so long
MENDED_S = 2.0  # two attempts to connect, each with its pause before it
MEMBERS_FIRST_S = 5.0  # a restarted host leaves the ballot to members that it hears, for so long
FAILS_MAX = 4  # ballots that no majority answered: those that did go on alone, if they may


class Lookout(Protocol):
    """What is known of other sides: see `agents.sides`."""

    winner: View | None

    def serving(self, now_s: float) -> View | None:
        """Return the view of the best other side that is in contact and serves."""


class Way(Protocol):
    """The way into the next view: see `agents.passage`."""

    def conclude(self, view: View, now_s: float) -> None:
        """A view is chosen and may be installed."""


class Here(drafting.Here, Protocol):
    """What the council asks of a host's membership."""

    encounters: Encounters
    grants: Grants
    knocking: Knocking
    orders: Orders

    @property
    def gone_for_good(self) -> bool:
        """Whether this host has left, and only waits for confirmation."""

    @property
    def sides(self) -> Lookout:
        """What is known of other sides."""

    @property
    def passage(self) -> Way:
        """The way into the next view."""


class Council:
    """Votes and candidacies of one host about the successor of one view."""

    def __init__(self, host: Here, acceptor: Acceptor) -> None:
        self._host = host
        self.acceptor = acceptor
        self.attempt: Attempt | None = None
        self._fails = 0
        self._seen_round = 0
        self._due_s = inf  # since when a change is due
        self._back_off_s = -inf
        self._yield_s = -inf  # somebody else's ballot is under way until then
        self._yield_to = ""
        self._gathered: frozenset[str] = frozenset()
        self._waiting_noted = False
        self._broken = False
        self._torn_s = -inf  # when last no majority was fully connected
        self.halted = False  # no vote and no candidacy: the whole cluster stops
        self.in_doubt = False  # the whole cluster may have stopped: this host must not go on alone
        self.owes = False  # since that somebody else was given a promise, and may count on it

    def renew(self) -> None:
        """A view was installed: its own successor is another matter."""
        self.acceptor = Acceptor()
        self.attempt = None
        self.halted = self.owes = self.in_doubt = False
        self._fails = self._seen_round = 0
        self._due_s = inf
        self._back_off_s = self._yield_s = -inf

    def is_idle(self, now_s: float) -> bool:
        """Return whether nothing is voted on, nothing accepted, and nobody asks to be admitted."""
        knocked_s = self._host.contacts.knocked_s
        return self.attempt is None and self.acceptor.accepted is None and now_s - knocked_s >= KNOCK_FRESH_S

    # -- votes -----------------------------------------------------------------

    def on_prepare(self, sender: str, message: Prepare, now_s: float) -> None:
        """Promise, or say which ballot is to be beaten."""
        view = self._view_asked(sender, message.view, message.ballot, now_s)
        if view is None:
            return
        host = self._host
        if not self.acceptor.prepare(message.ballot):
            promised = self.acceptor.promised or NOBODY
            return host.do(Send(sender, Refused(view.id, message.ballot, promised)))
        self._give_way(sender, host.settings.election_s, now_s)
        self.owes = True
        host.persist()
        host.do(Send(sender, self._promise(view, message.ballot, now_s)))

    def on_accept(self, sender: str, message: Accept, now_s: float) -> None:
        """Accept, and from then on grant no lease in this view."""
        view = self._view_asked(sender, message.view, message.ballot, now_s)
        if view is None:
            return
        host = self._host
        if self._objects(view, message.proposal, now_s):
            return host.do(Send(sender, Refused(view.id, message.ballot, message.ballot)))
        if not follows(message.proposal, view) or not self.acceptor.accept(message.ballot, message.proposal):
            promised = self.acceptor.promised or NOBODY
            return host.do(Send(sender, Refused(view.id, message.ballot, promised)))
        self._give_way(sender, host.settings.election_s + view.charter.lease_s * STRETCH, now_s)
        left_s = self._accepted(view, message.proposal, now_s)
        host.do(Send(sender, Accepted(view.id, message.ballot, left_s)))

    def _objects(self, view: View, proposal: View, now_s: float) -> bool:
        """Return whether we won't go on alone with others, for we hear a majority.

        Nobody ever has to adopt such a proposal, so it may be refused for that.
        """
        if not view.charter.is_available or generation_of(proposal.id) == generation_of(view.id):
            return False
        return not self._host.is_member or len(side(self._host, view, now_s)) >= view.majority

    def _view_asked(self, sender: str, asked: int, ballot: Ballot, now_s: float) -> View | None:
        """Return our view, if this question is about it and we are to answer."""
        if self.halted or self._host.mute:
            return None
        view = self._host.known
        if view is None or asked != view.id:
            self._host.encounters.compare(sender, asked, now_s)
            return None
        if view.member(sender) is None or view.member(self._host.me.id) is None or ballot.host != sender:
            return None
        if self._host.ended_stop and not is_later(self._host.contacts.get(sender), view.member(sender)):
            # It missed the end. With our vote its next view would keep it, and so begin
            # nothing anew: what the others have brought back would be worth nothing.
            self._host.do(Send(sender, self._host.knocking.knock(now_s)))
            return None
        return view

    def give_up(self) -> None:
        """This host is no member any more: it has no candidacy, and votes like one that restarted."""
        self.attempt = None
        self.halted = self.owes = False
        self._due_s = inf

    def _promise(self, view: View, ballot: Ballot, now_s: float) -> Promise:
        """Return our promise: what we accepted, and whom we hear."""
        acceptor = self.acceptor
        hears = self._host.heard(now_s)
        return Promise(view.id, ballot, acceptor.accepted_ballot, acceptor.accepted, hears)

    def _accepted(self, view: View, proposal: View, now_s: float) -> dict[str, float]:
        """Fence, record, and return the leases left to those it drops."""
        host = self._host
        # The fence: had it granted on, a dropped member would never run out.
        host.grants.fence()
        host.quorum.fence()
        host.persist()
        return {gone: host.grants.left_s(gone, now_s) for gone, _ in dropped(view, proposal)}

    def _give_way(self, sender: str, patience_s: float, now_s: float) -> None:
        """Somebody else has the higher ballot: let it finish."""
        self._yield_s = now_s + patience_s
        self._yield_to = sender
        if self.attempt is not None and not self.attempt.chosen:
            self._drop("somebody else goes first", now_s)

    # -- when, and who -----------------------------------------------------------

    def consider(self, now_s: float) -> None:
        """Start a ballot if a change is due and it is our turn; go on with one."""
        if self.halted or self._host.mute or self._host.sides.winner is not None:
            return
        if self.attempt is not None:
            return self._drive(now_s)
        host = self._host
        view = host.known
        if view is None or view.member(host.me.id) is None or host.gone_for_good:
            return
        reasons = self._reasons(view, now_s)
        if not reasons:
            self._due_s = inf
            return
        self._due_s = min(self._due_s, now_s)
        if now_s < self._yield_s and self._lost(self._yield_to, now_s):
            self._yield_s = now_s
        if now_s < self._back_off_s or now_s < self._yield_s:
            return
        order = proposers(self._host, view, now_s)
        short = len(in_reach(self._host, view, now_s)) < view.majority
        if host.me.id not in order or (short and not self._may_go_alone(view, now_s)):
            return
        patience_s = order.index(host.me.id) * host.settings.step_s
        if not host.is_member:
            heard = host.detector.heard(now_s)
            patience_s += MEMBERS_FIRST_S if heard else host.settings.restart_s
        if now_s < max(self._due_s, self._yield_s) + patience_s:
            return
        # Who hears a majority refuses to go on alone: of such hosts none could, however often it failed.
        few = self._fails >= FAILS_MAX and len(side(self._host, view, now_s)) < view.majority
        if short or (few and self._may_go_alone(view, now_s)):
            why = "no majority is left, and availability comes first"
            self._force(view, side(self._host, view, now_s), why, now_s)
        else:
            self._start(view, reasons, now_s)

    def _may_go_alone(self, view: View, now_s: float) -> bool:
        """Return whether those that we hear may go on without a majority: all others are given up."""
        host = self._host
        if not view.charter.is_available or not host.is_member or host.orders.renounced or self.in_doubt:
            return False
        if generation_of(view.id) >= GENERATION_MAX or host.sides.serving(now_s) is not None:
            return False
        heard = side(host, view, now_s)
        given_up = (Verdict.DEAD, Verdict.BROKEN)
        return all(m.id in heard or host.detector.verdict(m.id, now_s) in given_up for m in view.members)

    def _reasons(self, view: View, now_s: float) -> list[str]:
        """Return why the view should change; [] = it should not."""
        host = self._host
        reasons: list[str] = []
        if self.acceptor.accepted is not None:
            reasons.append("a proposal was accepted and never installed")
        if not host.is_member:
            return [*reasons, "this host restarted"]
        self._broken = False
        if not host.detector.is_calm(now_s):
            reasons += self._losses(view, now_s)
        reasons += [f"wish: {wish.kind} {wish.host[:8]}" for wish in host.wishes.open(view, now_s)]
        reasons += [f"{joiner.name} wants to join" for joiner in joiners(self._host, view, now_s)]
        return reasons

    def _losses(self, view: View, now_s: float) -> list[str]:
        """Return who is held dead, and which links are broken; notes of the latter that there are any."""
        host = self._host
        reasons: list[str] = []
        verdicts = [(member, host.detector.verdict(member.id, now_s)) for member in view.members]
        if any(verdict in (Verdict.SUSPECT, Verdict.BROKEN) for _, verdict in verdicts):
            self._note_torn(view, now_s)
        for member, verdict in verdicts:
            if verdict is Verdict.DEAD and not returns_soon(self._host, member, now_s):
                reasons.append(f"{member.name} is held dead")
            elif verdict is Verdict.BROKEN and now_s - self._torn_s >= MENDED_S:
                self._broken = True
                reasons.append(f"the link to {member.name} is broken for long")
        return reasons

    def _note_torn(self, view: View, now_s: float) -> None:
        """Note whether, by all that we know, no majority is fully connected.

        When such a majority comes to be, links are coming back, one by one:
        it must not drop the rest, which may have all copies of some colony.
        """
        detector = self._host.detector
        words = {**detector.said(now_s), self._host.me.id: frozenset(self._host.heard(now_s))}
        if len(connected(view.ids, words)) < view.majority:
            self._torn_s = now_s

    def _cause(self, view: View, now_s: float) -> Cause | None:
        """Return the event for which the view should change: a death first, an order, a joiner."""
        host = self._host
        for member in view.members:
            if host.is_member and host.detector.verdict(member.id, now_s) is Verdict.DEAD:
                kind = "confirmed" if member.id in host.detector.attested() else "suspect"
                return Cause(kind, host=member.id)
        for wish in host.wishes.open(view, now_s):
            return host.wishes.cause(wish.kind, wish.host)
        return None

    def _lost(self, other: str, now_s: float) -> bool:
        """Return whether the proposer that we gave way to is gone."""
        view = self._host.known
        if view is None or view.member(other) is None or not self._host.contacts.up(other):
            return True
        return self._host.is_member and self._host.detector.verdict(other, now_s) is Verdict.DEAD

    # -- a candidacy -------------------------------------------------------------

    def _start(self, view: View, reasons: list[str], now_s: float) -> None:
        """Prepare a ballot of our own."""
        host = self._host
        ballot = self.acceptor.next_ballot(host.me.id, self._seen_round)
        self.acceptor.prepare(ballot)
        host.persist()
        self.attempt = Attempt(view, ballot, view.majority, now_s)
        self._waiting_noted = False
        self._due_s = inf
        self._gathered = frozenset(in_reach(self._host, view, now_s))
        if host.stage is not Stage.ELECTION:
            host.enter(Stage.ELECTION, "; ".join(reasons[:5]))
        details = {"view": view.id, "round": ballot.round}
        host.do(Note("election", "; ".join(reasons[:5]), details=details, cause=self._cause(view, now_s)))
        self._ask(Prepare(view.id, ballot), view)
        self.attempt.promise(host.me.id, self._promise(view, ballot, now_s), now_s)
        self._drive(now_s)

    def recover(self, now_s: float) -> str:
        """Propose a new generation of those in reach; returns why not, or ""."""
        host = self._host
        view = host.known
        if view is None or view.member(host.me.id) is None:
            return "this host is no member of anything that could be recovered"
        if host.quorum.held(now_s):
            return "there is a quorum: nothing to recover"
        if self.attempt is not None and self.attempt.chosen:
            return "a view is already chosen"
        if self.attempt is not None:
            self._drop("an operator forces a new generation", now_s)
        self._force(view, in_reach(self._host, view, now_s), "an operator forces a new generation", now_s)
        return ""

    def _force(self, view: View, acceptors: list[str], reason: str, now_s: float) -> None:
        """Propose a new generation to these acceptors; all of them must accept it."""
        host = self._host
        self._due_s = inf
        ballot = self.acceptor.next_ballot(host.me.id, self._seen_round)
        proposal = drafting.forced(self._host, view, ballot, acceptors, now_s)
        self.attempt = Attempt(view, ballot, len(acceptors), now_s)
        self._waiting_noted = False
        self._gathered = frozenset(acceptors)
        if host.stage is not Stage.VERIFICATION:
            host.enter(Stage.VERIFICATION, reason)
        host.do(Note("recover", reason, details={"view": proposal.id}))
        self._propose(proposal, now_s)

    def _ask(self, message: Prepare | Accept, view: View) -> None:
        """Send a question to all other acceptors that we can reach."""
        for acceptor in view.ids:
            if acceptor != self._host.me.id and acceptor in self._gathered:
                self._host.do(Send(acceptor, message))

    def ask_again(self, other: str) -> None:
        """The link to an acceptor came up: repeat what it may have missed."""
        attempt = self.attempt
        if attempt is None or attempt.view.member(other) is None:
            return
        if attempt.proposal is None and other not in attempt.promises:
            self._host.do(Send(other, Prepare(attempt.view.id, attempt.ballot)))
        elif attempt.proposal is not None and other in self._gathered and other not in attempt.acceptors():
            self._host.do(Send(other, Accept(attempt.view.id, attempt.ballot, attempt.proposal)))

    def on_promise(self, sender: str, message: Promise, now_s: float) -> None:
        """Count a promise."""
        attempt = self.attempt
        if attempt is not None and attempt.proposal is None and message.view == attempt.view.id:
            attempt.promise(sender, message, now_s)
            self._drive(now_s)

    def on_accepted(self, sender: str, message: Accepted, now_s: float) -> None:
        """Count an acceptance."""
        attempt = self.attempt
        if attempt is not None and message.view == attempt.view.id and message.ballot == attempt.ballot:
            attempt.accepted(sender, message.lease_left_s, now_s)
            self._drive(now_s)

    def on_refused(self, sender: str, message: Refused, now_s: float) -> None:
        """Our ballot was too low: try a higher one, after a while."""
        attempt = self.attempt
        if attempt is None or message.view != attempt.view.id or message.ballot != attempt.ballot:
            return
        self._seen_round = max(self._seen_round, message.promised.round)
        if not attempt.chosen:
            self._drop(f"{sender[:8]} promised a higher ballot", now_s)

    def _drive(self, now_s: float) -> None:
        """Go on with our ballot as far as the answers allow."""
        attempt = self.attempt
        assert attempt is not None
        patience_s = self._host.settings.election_s
        if attempt.proposal is None:
            if attempt.prepared_s is not None and self._has_gathered(attempt, now_s):
                self._decide(attempt, now_s)
            elif now_s - attempt.since_s > patience_s:
                self._drop("no majority promised in time", now_s)
        elif attempt.chosen:
            self._finish(attempt, now_s)
        elif now_s - attempt.since_s > patience_s:
            self._drop("no majority accepted in time", now_s)

    def _has_gathered(self, attempt: Attempt, now_s: float) -> bool:
        """Return whether all that we asked have promised, or had their time."""
        assert attempt.prepared_s is not None
        if now_s - attempt.prepared_s >= self._host.settings.gather_s:
            return True
        return all(host in attempt.promises for host in self._gathered if self._host.contacts.up(host))

    def _decide(self, attempt: Attempt, now_s: float) -> None:
        """A majority promised: propose what must be, or what we think best."""
        host = self._host
        adopted = attempt.adopted()
        if adopted is not None:
            host.enter(Stage.VERIFICATION, "a proposal accepted earlier is proposed again")
            return self._propose(adopted, now_s)
        plan = drafting.planned(host, attempt, now_s, broken=self._broken and host.is_member)
        if host.me.id in plan.left_out:
            self._drop("the largest connected majority is without this host", now_s, LEFT_OUT_S)
        elif plan.waits:
            if now_s - attempt.since_s > host.settings.election_s:
                self._drop("those that promised would be no majority of the next view", now_s)
        elif plan.view is None:
            self._drop("nothing to change by what the promises say", now_s)
        else:
            asked = {"promises": sorted(attempt.promises)}
            for gone, reason in plan.reasons.items():
                ordered = reason.startswith(EVICTED)
                why = host.wishes.cause("evict", gone) if ordered else Cause("suspect", host=gone)
                host.do(Note("confirmed", reason, host=gone, details=asked, cause=why))
            for name, flaps in demoted(attempt.view, plan.view):
                host.do(Note("seniority", f"{name} goes behind the others: held dead {flaps} times of late"))
            host.enter(Stage.VERIFICATION, "a majority promised")
            self._propose(plan.view, now_s)

    def _propose(self, proposal: View, now_s: float) -> None:
        """Ask for acceptances, our own first."""
        attempt = self.attempt
        assert attempt is not None
        attempt.propose(proposal, now_s)
        kept = self.acceptor.accept(attempt.ballot, proposal)
        assert kept, "a higher promise would have ended this attempt"
        left_s = self._accepted(attempt.view, proposal, now_s)
        self._ask(Accept(attempt.view.id, attempt.ballot, proposal), attempt.view)
        attempt.accepted(self._host.me.id, left_s, now_s)
        self._drive(now_s)

    def _finish(self, attempt: Attempt, now_s: float) -> None:
        """The view is chosen: wait until nobody that it drops holds a lease."""
        assert attempt.proposal is not None
        harmless = {gone for gone, _ in attempt.proposal.left} | self._host.detector.attested()
        free_s = attempt.free_at_s(harmless)
        if now_s >= free_s:
            self.attempt = None
            self._host.passage.conclude(attempt.proposal, now_s)
        elif not self._waiting_noted:
            self._waiting_noted = True
            reason = f"{free_s - now_s:.3f} s until dropped hosts' leases end"
            self._host.do(Note("lease_wait", reason, cause=Cause("election", view=attempt.view.id)))

    def _drop(self, reason: str, now_s: float, wait_s: float = 0.0) -> None:
        """Give this ballot up: one stage down, and a higher ballot later."""
        host = self._host
        attempt = self.attempt
        assert attempt is not None
        self.attempt = None
        self._due_s = inf
        if wait_s == 0.0:
            self._fails += 1
            unit_s = host.settings.back_off_s * 2.0 ** min(self._fails - 1, DOUBLINGS_MAX)
            wait_s = unit_s * (0.5 + _chance(host.me.id, attempt.ballot.round))
        self._back_off_s = now_s + wait_s
        below = Stage.ELECTION if host.stage is Stage.VERIFICATION else Stage.DISCOVERY
        host.enter(below, reason)


def _chance(host: str, number: int) -> float:
    """Return a number in [0, 1) that differs from host to host and try to try."""
    digest = hashlib.blake2b(f"{host}/{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
