"""A supervisor's way to the cluster: attests, reports, asks, and claims.

Everything here may take its time, or fail: it runs in threads of its own, and
what comes of it goes into the supervisor's inbox. An attestation has threads
for itself, for somebody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from agents.recruiting import Claim, Keep
from agents.services import Handle
from agents.supervisor import Attest, Tell
from colony.errors import ColonyError, Denied, VersionConflict

CLAIM_KEY = "colony:supervise:claim"  # one for the whole cluster: hosts are added one by one
ASK_S = 2.0
POLL_S, POLL_SOON_S = (
    2.0,
    0.5,
)  # how often the cluster is asked what it wants; soon: while a host is on its way
ATTEST_S = 10.0  # by then silence has told the same
ATTEST_AT_ONCE = 3  # hosts told at the same time: one that lives is enough
REPORTS_MAX = 256
REPORT_S = 300.0  # what nobody could be told for so long is on the console alone

Inbox = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """The cluster said who is there, and how many more hosts it wants."""

    asked_s: float
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClaimAnswered:
    """A claim was won, or not."""

    won: bool


@dataclass(frozen=True, slots=True)
class Attested:
    """What came of an attestation, in words."""

    host: str
    outcome: str


class Desk:
    """One supervisor's connections to the cluster; `close` ends its threads.

    Args:
        connect: Opens a store from addresses, comma-separated.
        name: The supervisor's.
        addresses: Where hosts may be, besides those that the cluster names.
        own: Of these, those of this box.
        inbox: Takes `Answered`, `ClaimAnswered`, `Attested`; any thread.
    """

    def __init__(
        self,
        connect: Callable[..., Any],
        name: str,
        addresses: Iterable[str],
        own: Iterable[str],
        inbox: Inbox,
    ) -> None:
        self._connect, self._name, self._inbox = connect, name, inbox
        self._first, self._own = list(dict.fromkeys(addresses)), frozenset(own)
        self._members: dict[str, str] = {}  # name -> address, as last heard
        self._store: Any = None
        self._reports: deque[tuple[float, Tell]] = deque(maxlen=REPORTS_MAX)
        self._claim = 0  # version of the cell that is ours
        self._orders: deque[Claim | Keep] = deque()
        self._wake, self._is_over = threading.Event(), False
        self.is_hasty = True
        self._attesting = ThreadPoolExecutor(8, thread_name_prefix="colony-attest")
        self._thread = threading.Thread(target=self._run, name="colony-desk", daemon=True)
        self._thread.start()

    # -- what the supervisor says; any thread ------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Where hosts of the cluster are: others' first, for they hear of the ends of ours, and remember."""
        known = dict.fromkeys([*self._members.values(), *self._first])
        return sorted(known, key=lambda address: address in self._own)

    def attest(self, order: Attest) -> None:
        """Tell hosts that a process is gone; returns at once."""
        self._attesting.submit(self._attest, order)

    def report(self, tell: Tell) -> None:
        """Have the cluster's event log say it too, when somebody answers."""
        self._reports.append((time.monotonic(), tell))
        self._wake.set()

    def order(self, order: Claim | Keep) -> None:
        """Claim, or keep what is claimed."""
        self._orders.append(order)
        self._wake.set()

    def ask_soon(self) -> None:
        """Ask the cluster now what it wants."""
        self._wake.set()

    def close(self, patience_s: float = 1.0) -> None:
        """End; what was to be reported has so long to be."""
        end_s = time.monotonic() + patience_s
        self._wake.set()
        while self._reports and time.monotonic() < end_s:
            time.sleep(0.02)
        self._is_over = True
        self._wake.set()
        self._thread.join(patience_s)
        self._attesting.shutdown(wait=False, cancel_futures=True)

    # -- one thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over:
            self._wake.clear()
            while self._orders:
                self._perform(self._orders.popleft())
            self._ask()
            self._send_reports()
            self._wake.wait(POLL_SOON_S if self.is_hasty or self._reports else POLL_S)
        self._drop()

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _admin(self, command: str, arguments: dict[str, Any]) -> Any:
        """Ask any host; raises `ColonyError`, and begins anew with the addresses that are known then."""
        try:
            return self._opened().admin(command, arguments, timeout=ASK_S)
        except ColonyError:
            self._drop()
            raise

    def _opened(self) -> Any:
        if self._store is None:
            self._store = self._connect(",".join(self.addresses), timeout=ASK_S, codec="json")
        return self._store

    def _ask(self) -> None:
        asked_s = time.monotonic()
        try:
            answer = self._admin("capacity", {})
        except ColonyError:
            return
        members = answer.get("members") or ()
        if members:
            self._members = {str(m["name"]): str(m["address"]) for m in members}
        self._inbox(Answered(asked_s, answer))

    def _send_reports(self) -> None:
        while self._reports:
            told_s, tell = self._reports[0]
            arguments = {"kind": tell.kind, "reason": tell.reason, "host": tell.host, "by": self._name}
            try:
                self._admin("report", arguments)
            except ColonyError:
                if time.monotonic() - told_s < REPORT_S:
                    return
            self._reports.popleft()

    def _perform(self, order: Claim | Keep) -> None:
        try:
            store = self._opened()
            if isinstance(order, Claim):
                value = {"supervisor": self._name, "host": order.host}
                self._claim = store.set(CLAIM_KEY, value, ttl=order.ttl_s, only_if="absent", timeout=ASK_S)
            elif self._claim:
                value = {"supervisor": self._name}
                self._claim = store.replace(
                    CLAIM_KEY, value, version=self._claim, ttl=order.ttl_s, timeout=ASK_S
                )
        except VersionConflict:
            self._claim = 0  # it ran out
        except ColonyError:
            self._drop()
            if isinstance(order, Claim):
                self._claim = 0  # if it was applied, it is nobody's until it runs out
        if isinstance(order, Claim):
            self._inbox(ClaimAnswered(bool(self._claim)))

    # -- attestations, in threads of their own ---------------------------------------------

    def _attest(self, order: Attest) -> None:
        began_s = time.monotonic()
        handle = order.handle
        told = {"host": order.host, "by": self._name, "reason": order.reason}
        told |= {key: handle[key] for key in ("machine", "pid", "started_s")}
        outcome = ""
        while not outcome and time.monotonic() < began_s + ATTEST_S and not self._is_over:
            others = [a for a in self.addresses if a != self._members.get(order.host)]
            outcome = self._told_first(others, told)
            if not outcome:
                time.sleep(0.05)
        took_ms = 1000 * (time.monotonic() - began_s)
        outcome = f"{outcome} ({took_ms:.0f} ms)" if outcome else "nobody could be told: silence will tell"
        self._inbox(Attested(order.host, outcome))

    def _told_first(self, addresses: list[str], told: dict[str, Any]) -> str:
        """Tell some hosts at a time, and return what the first of them said; "" = none did."""
        pool = ThreadPoolExecutor(ATTEST_AT_ONCE, thread_name_prefix="colony-attest")
        try:
            pending: set[Future[str]] = {pool.submit(self._tell, address, told) for address in addresses}
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                outcome = next((said for one in done if (said := one.result())), "")
                if outcome:
                    return outcome
            return ""
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, address: str, told: dict[str, Any]) -> str:
        """Tell one host; return what it said, "" = it knows nothing of it, or does not answer."""
        try:
            store = self._connect(address, timeout=1.0)
        except ColonyError:
            return ""
        try:
            answer = store.admin("attest", told)
        except Denied as error:
            return f"not believed: {error}"
        except ColonyError:
            return ""
        finally:
            store.close()
        return "attested" if answer.get("attested") else str(answer.get("why") or "")


def is_attestable(handle: Handle) -> bool:
    """Return whether a handle names a process of a machine, so that its death can be attested."""
    return (
        bool(handle.get("machine"))
        and int(handle.get("pid", 0)) > 0
        and float(handle.get("started_s", 0)) > 0
    )
