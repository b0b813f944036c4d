"""Several hosts' containers with a membership that does what the test says.

Views, quorum, loads and digests are given; everything else is real. Messages
between hosts lie in queues until `run` delivers them; a host hears what its
own machines tell each other in the order in which it was said.
"""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, Literal

from agents.asking import Asking
from agents.effects import (
    Answer,
    Effect,
    InstallView,
    LinkCameUp,
    Note,
    PeerFailed,
    Received,
    Requested,
    Send,
    TellColony,
    TellHost,
    Ticked,
)
from agents.hosting import Container
from agents.keys import colony_of
from agents.membership import Settings
from agents.messages.client import Reply, Request
from agents.messages.membership import Load
from agents.reputation import Reputation
from agents.surroundings import CloneOrdered, HandOverOrdered, Limits, RetireOrdered
from agents.views import Charter, Member, Status, View, view_id
from placement.labels import Labels
from tests.agents.ward import Held


class Scripted:
    """A membership without any will of its own."""

    def __init__(self, me: Member) -> None:
        self.me = me
        self.view: View | None = None
        self.quorum = Held()
        self.stage = SimpleNamespace(value="COMMIT")
        self.tag = ""
        self.loads: dict[str, Load] = {}
        self.peer_digests: dict[str, int] = {}
        self.reputation = Reputation()
        self.events: list[Any] = []
        self.next: list[Effect] = []
        self.is_at_rest = True
        self.may_end = True
        self.dead: set[str] = set()
        self.asking = Asking(me.id, (), 5.0)
        self.reputation = Reputation()
        self.waiting = ""
        self.reputation = Reputation()

    def init_refusal(self) -> str:
        """Return why an init would be refused."""
        return f"already initialised, cluster tag {self.tag}" if self.tag else ""

    def heard(self, now_s: float) -> tuple[str, ...]:
        """Return the members that are not dead, as the test says."""
        return tuple(
            host for host in (self.view.ids if self.view is not None else ()) if host not in self.dead
        )

    def holds_dead(self, host: str, now_s: float) -> bool:
        """Return whether the test says so."""
        return host in self.dead

    def handle(self, event: Any, now_s: float) -> list[Effect]:
        """Remember an event, and return what the test has prepared."""
        self.events.append(event)
        effects, self.next = self.next, []
        return effects

    def told(self, kind: type) -> list[Any]:
        """Return the events of a kind that came."""
        return [event for event in self.events if type(event) is kind]


def member(name: str, **more: Any) -> Member:
    """Return a host's entry in a view; each stands on its own box."""
    given: dict[str, Any] = {"status": Status.ACTIVE, "labels": Labels(box=name)} | more
    return Member(name * 32, 1, name, f"tcp://{name}", f"tcp://{name}l", **given)


class House:
    """Hosts of one cluster, named by one letter each; their ids are 32 of it."""

    def __init__(
        self,
        names: str,
        *,
        colonies: int = 4,
        peers: int = 2,
        limits: Limits | None = None,
        apart: Literal["host", "box"] = "host",
    ) -> None:
        self.now_s = 1000.0
        self.charter = Charter(colonies=colonies, peers=peers, apart=apart)
        self.limits = limits
        self.hosts: dict[str, Container] = {}
        self.members: dict[str, Scripted] = {}
        self.queues: dict[tuple[str, str], deque[Any]] = {}
        self.lost_links: set[frozenset[str]] = set()
        self.replies: list[Reply] = []
        self.notes: list[tuple[str, Note]] = []
        self.others: list[Effect] = []
        self.number = 0
        self.entered: dict[str, int] = {}
        for name in names:
            self.add(name)

    # -- hosts and views -----------------------------------------------------------

    def add(self, name: str) -> None:
        """Start a host that is in no view."""
        me = member(name)
        container = Container(me, Settings(), None, self.now_s, limits=self.limits)
        scripted = Scripted(me)
        container.membership = scripted  # type: ignore[assignment]
        self.hosts[name] = container
        self.members[name] = scripted
        scripted.loads = {}

    def install(self, names: str, *, only: str | None = None, **changed: dict[str, Any]) -> View:
        """Have a view of these hosts installed; `changed` says what is special of whom."""
        self.number += 1
        vid = view_id(0, self.number)
        for name in names:
            self.entered.setdefault(name, vid)
        listed = tuple(member(n, entered=self.entered[n], **changed.get(n, {})) for n in names)
        view = View("t" * 32, vid, self.charter, listed)
        self.queues.clear()
        for name in only if only is not None else names:
            self.adopt(name, view)
        return view

    def adopt(self, name: str, view: View) -> None:
        """Have one host install a view."""
        scripted = self.members[name]
        before, scripted.view, scripted.tag = scripted.view, view, view.tag
        scripted.next = [InstallView(view, before)]
        self.tell(name, Ticked())

    def kill(self, name: str) -> None:
        """End a host at once."""
        del self.hosts[name], self.members[name]
        self.queues = {pair: queue for pair, queue in self.queues.items() if name not in pair}

    # -- the shell -------------------------------------------------------------------

    def tell(self, name: str, event: Any, colony: int | None = None) -> None:
        """Hand an event to a host (or to one of its colonies), and all that comes of it."""
        said: deque[tuple[int | None, Any]] = deque([(colony, event)])
        host = self.hosts[name]
        while said:
            which, told = said.popleft()
            machine: Any = host if which is None else host.colony(which)
            for effect in machine.handle(told, self.now_s):
                if isinstance(effect, Send):
                    self.queues.setdefault((name, effect.to[0]), deque()).append(effect.message)
                elif isinstance(effect, TellColony):
                    said.append((effect.colony, effect.event))
                elif isinstance(effect, TellHost):
                    said.append((None, effect.event))
                elif isinstance(effect, Answer):
                    self.replies.append(effect.reply)
                elif isinstance(effect, Note):
                    self.notes.append((name, effect))
                else:
                    self.others.append(effect)

    def run(self, seconds: float = 0.0, *, most: int = 100_000) -> None:
        """Deliver all messages; then let time pass in ticks, delivering on."""
        until_s = self.now_s + seconds
        while True:
            while most > 0 and (ready := [pair for pair, queue in self.queues.items() if queue]):
                for pair in ready:
                    most -= 1
                    self._deliver(pair)
            if self.now_s >= until_s:
                return
            self.now_s += 0.05
            for name in list(self.hosts):
                self.tell(name, Ticked())
                for colony in list(self.hosts[name].colonies):
                    self.tell(name, Ticked(), colony)

    def _deliver(self, pair: tuple[str, str]) -> None:
        sender, receiver = pair
        message = self.queues[pair].popleft()
        if receiver not in self.hosts or frozenset(pair) in self.lost_links:
            return
        colony = self.hosts[receiver].colony_of(message)
        self.tell(receiver, Received(sender * 32, message), colony)

    def break_link(self, a: str, b: str) -> None:
        """Lose all that is and will be on the way between two hosts."""
        self.lost_links.add(frozenset((a, b)))
        self.queues.pop((a, b), None)
        self.queues.pop((b, a), None)

    def mend_link(self, a: str, b: str) -> None:
        """Let the link come up at both ends."""
        self.lost_links.discard(frozenset((a, b)))
        for here, there in ((a, b), (b, a)):
            self.queues.pop((here, there), None)
        for here, there in ((a, b), (b, a)):
            self.tell(here, LinkCameUp(there * 32, 2))

    def fail(self, name: str, colony: int) -> None:
        """Have the machine of a colony break."""
        self.tell(name, PeerFailed(colony, "a planted failure"))

    # -- clients and questions ---------------------------------------------------------

    def ask(self, name: str, request: Request) -> Reply | None:
        """Ask a host; return the answer if it comes without any message."""
        before = len(self.replies)
        self.tell(name, Requested("client", request), self.hosts[name].colony_of(request))
        new = [reply for reply in self.replies[before:] if reply.id == request.id]
        return new[0] if new else None

    def leader(self, colony: int) -> str:
        """Return the host with the open primary of a colony; there is exactly one."""
        found = [
            n for n, host in self.hosts.items() if colony in host.colonies and host.colonies[colony].is_open
        ]
        assert len(found) == 1, f"colony {colony} is open on {found}"
        return found[0]

    def holders(self, colony: int) -> str:
        """Return the hosts with an ACTIVE peer of a colony, in order of name."""
        active = (
            name
            for name, host in self.hosts.items()
            if colony in host.colonies and host.colonies[colony].role is not None
        )
        return "".join(sorted(active))

    def noted(self, kind: str) -> list[Note]:
        """Return the notes of a kind, of all hosts."""
        return [note for _, note in self.notes if note.kind == kind]


def founded(names: str = "abc", **more: Any) -> House:
    """Return a cluster in its first view, every colony with its peers."""
    house = House(names, **more)
    joining: dict[str, Any] = {name: {"status": Status.JOINING} for name in names}
    house.install(names, **joining)
    house.run(0.2)
    house.install(names)
    house.run(3.0)
    return house


def key_of(house: House, colony: int) -> bytes:
    """Return a key that lives in a colony."""
    return next(b"%d" % i for i in range(1000) if colony_of(b"%d" % i, house.charter.colonies) == colony)


def orders(out: list[Any]) -> list[tuple[int, type, str]]:
    """Return the orders to colonies: which, what, and to whom."""
    kinds = (CloneOrdered, RetireOrdered, HandOverOrdered)
    return [
        (e.colony, type(e.event), e.event.target[0])
        for e in out
        if isinstance(e, TellColony) and isinstance(e.event, kinds)
    ]
