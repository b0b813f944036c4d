"""Users' own code: closures and merge functions, run on workers' threads.

Whatever it raises is told, and ends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from agents.bodies import ColonyActor
from agents.effects import ClosureRan, RunClosure, RunMerge, Seen, TellColony
from agents.messages.replication import Dna
from agents.order import Order
from agents.workers import Workers

ERROR_CHARS_MAX, REPORT_BYTES_MAX = 10_000, 1024 * 1024  # of what a function raises: all copies keep it

RunClosureFn = Callable[[bytes | None, bytes], bytes | None]
RunMergeFn = Callable[[bytes, Seen | None, Seen | None], Dna | None]
ReportFn = Callable[[Exception], tuple[str, bytes | None]]


def plain_report(error: Exception) -> tuple[str, bytes | None]:
    """Return an exception as text, and nothing that travels."""
    return f"{type(error).__name__}: {error}", None


class Tools(Protocol):
    """What it works with; the server."""

    workers: Workers

    def colony_broke(self, colony: int, event: object, error: BaseException) -> None:
        """Give up a colony's peer."""


class UserCode:
    """Runs what colonies ask for, and tells them what came of it; belongs to the I/O thread.

    Args:
        order: Where machines are told things.
        run_closure: Runs a closure on DNA, on a worker's thread; None = closures are refused.
        run_merge: Makes one cell's DNA of a winner's and a loser's, there too.
        report: Returns an exception as text, and as bytes for its client.
    """

    def __init__(
        self,
        order: Order,
        tools: Tools,
        run_closure: RunClosureFn | None,
        run_merge: RunMergeFn | None,
        report: ReportFn,
    ) -> None:
        self._order = order
        self._tools = tools
        self._run_closure = run_closure
        self._run_merge = run_merge
        self._report = report

    def closure(self, effect: RunClosure, body: object) -> None:
        """Have a closure run; `body` is the actor of its colony."""
        assert isinstance(body, ColonyActor), "closures run on a colony's cells"
        run = self._run_closure
        if run is None:
            why = "this host runs no closures: it would, on loopback or with keys"
            self._refuse(body, ClosureRan(effect.ticket, None, why, is_denied=True))
        else:
            self._submit(body, effect.ticket, partial(run, effect.dna, effect.closure))

    def merge(self, effect: RunMerge, body: object) -> None:
        """Have a merge function run; `body` is the actor of its colony."""
        assert isinstance(body, ColonyActor), "merges are a colony's"
        run = self._run_merge
        if run is None:
            self._refuse(body, ClosureRan(effect.ticket, None, "this host has no merge function"))
        else:
            self._submit(body, effect.ticket, partial(run, effect.key, effect.winner, effect.loser))

    def _submit(self, body: ColonyActor, ticket: int, run: Callable[[], Dna | None]) -> None:
        job = partial(self._run, ticket, run)
        if not self._tools.workers.submit(job, partial(self._ran, body)):
            self._refuse(body, ClosureRan(ticket, None, "too many closures wait on this host"))

    def _refuse(self, body: ColonyActor, ran: ClosureRan) -> None:
        self._order.said.append(TellColony(body.colony, ran))

    def _run(self, ticket: int, run: Callable[[], Dna | None]) -> ClosureRan:
        """Run a user's function; on a worker's thread."""
        try:
            return ClosureRan(ticket, run())
        except BaseException as caught:  # whatever it raises is told, and ends nothing
            return ClosureRan(ticket, None, *self._told(caught))

    def _told(self, caught: BaseException) -> tuple[str, bytes | None]:
        """Return what a user's function has raised, as it may travel: its words are the user's code, too.

        What raised there would break the colony's machine; so would text that is none, and what fits in
        no frame would break each link that it is sent on.
        """
        try:
            error = caught if isinstance(caught, Exception) else RuntimeError(repr(caught))
            text, report = self._report(error)
        except BaseException as worse:
            text, report = f"{type(caught).__name__}, which can't be told: {type(worse).__name__}", None
        text = text[:ERROR_CHARS_MAX].encode(errors="backslashreplace").decode()
        return text, report if len(report or b"") <= REPORT_BYTES_MAX else None

    def _ran(self, body: ColonyActor, ran: ClosureRan | None, error: Exception | None) -> None:
        if body.actor_stopped.is_set():
            return  # its tickets died with it
        if ran is not None:
            body.turn(ran)
        elif error is not None:
            self._tools.colony_broke(body.colony, None, error)
        self._order.tell_all()
