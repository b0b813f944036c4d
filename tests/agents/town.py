"""A house whose hosts keep state directories, and can be stopped and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.effects import (
    BallotsHalted,
    ConfirmSnapshot,
    DiscardSnapshot,
    ForgetSnapshot,
    Halt,
    InstallView,
    RecountNeeded,
    SaveSnapshot,
    SnapshotSaved,
    Ticked,
)
from agents.hosting import Container
from agents.keeping import Keeper
from agents.membership import Settings
from agents.messages.client import OK, Admin, Get, Put, Reply
from agents.views import View
from tests.agents.house import House, Scripted, member

TAG = "t" * 32


class Town(House):
    """Hosts, each with a disk that outlives it; `wall_s` is the clock on everybody's wall."""

    def __init__(self, folder: Path, names: str, *, durable: str = "", **options: Any) -> None:
        self.folder = folder
        self.wall_s = 1_000_000.0
        self.durable = durable or names
        self.halts: dict[str, Halt] = {}
        self.jobs: dict[str, SaveSnapshot] = {}
        self.broken_disks = ""
        self.slow_disks = ""
        self.restore_wait_s: float | None = None
        self.known: dict[str, int] = {}
        self.numbers = 0
        super().__init__(names, **options)

    def keeper(self, name: str) -> Keeper:
        """Return a host's snapshots on disk."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return Keeper(path, lambda: self.wall_s)

    def add(self, name: str) -> None:
        """Start a host that is in no view, from its disk if it has one."""
        me = member(name, durable=name in self.durable)
        keeps = name in self.durable
        container = Container(
            me,
            Settings(),
            None,
            self.now_s,
            limits=self.limits,
            keeps=keeps,
            found=self.keeper(name).load(TAG) if keeps else None,
            restore_wait_s=self.restore_wait_s,
        )
        scripted = Scripted(me)
        container.membership = scripted  # type: ignore[assignment]
        self.hosts[name] = container
        self.members[name] = scripted

    def install(self, names: str, *, only: str | None = None, **changed: dict[str, Any]) -> View:
        """Have a view of these hosts installed; whoever keeps a directory is durable."""
        for name in names:
            changed[name] = {"durable": name in self.durable} | changed.get(name, {})
        return super().install(names, only=only, **changed)

    def adopt(self, name: str, view: View) -> None:
        """Have one host install a view; it knew another before, member of it or not."""
        scripted = self.members[name]
        before, scripted.view, scripted.tag = scripted.view, view, view.tag
        scripted.next = [InstallView(view, before, self.known.get(name, 0))]
        self.known[name] = view.id
        self.tell(name, Ticked())

    def tell(self, name: str, event: Any, colony: int | None = None) -> None:
        """Hand on an event, and do what the host's disk is asked to."""
        before = len(self.others)
        super().tell(name, event, colony)
        asked, self.others[before:] = self.others[before:], []
        for effect in asked:
            self._keep(name, effect)

    def _keep(self, name: str, effect: Any) -> None:
        keeper = self.keeper(name)
        if isinstance(effect, SaveSnapshot):
            self.jobs[name] = effect
            if name not in self.slow_disks:
                self.write(name)
        elif isinstance(effect, ConfirmSnapshot):
            keeper.confirm(effect.mark)
        elif isinstance(effect, DiscardSnapshot):
            keeper.discard()
        elif isinstance(effect, ForgetSnapshot):
            keeper.forget(keep=effect.keep)
        elif isinstance(effect, Halt):
            self.halts[name] = effect
        else:
            self.others.append(effect)

    def write(self, name: str) -> None:
        """Have a host's disk do what it was asked to."""
        effect = self.jobs.pop(name)
        job = self.keeper(name).job(effect)
        path, error = ("", "disk full") if name in self.broken_disks else (job(), "")
        self.tell(name, SnapshotSaved(effect.head.stop, path, error))

    # -- what tests do -----------------------------------------------------------------

    def put(self, key: str, dna: bytes = b"v", *, ttl_ms: int = -1) -> int:
        """Write a cell where its primary is; return its version, 0 = refused."""
        reply = self._asked(lambda number: Put(number, b"lane%d" % number, 1, key.encode(), dna, ttl_ms))
        return reply.version if reply is not None and reply.code == OK else 0

    def get(self, key: str) -> Reply | None:
        """Read a cell where its primary is; None = nobody serves it."""
        return self._asked(lambda number: Get(number, key.encode()))

    def _asked(self, make: Any) -> Reply | None:
        for name in self.hosts:
            self.numbers += 1
            before = len(self.replies)
            self.ask(name, make(self.numbers))
            self.run()
            for reply in self.replies[before:]:
                if reply.id == self.numbers and reply.code in (OK, 1):
                    return reply
        return None

    def order(self, name: str, command: str = "shutdown", **arguments: Any) -> Reply:
        """Give an operator's order."""
        self.numbers += 1
        reply = self.ask(name, Admin(self.numbers, command, arguments))
        assert reply is not None
        return reply

    def end(self) -> None:
        """Let every process be gone."""
        for name in list(self.hosts):
            self.kill(name)
        self.halts.clear()
        self.entered.clear()

    def recount(self, names: str) -> bool:
        """Install the view that some host wishes for; return whether any did."""
        wished = any(scripted.told(RecountNeeded) for scripted in self.members.values())
        for scripted in self.members.values():
            scripted.events = [event for event in scripted.events if not isinstance(event, RecountNeeded)]
        if wished:
            self.install(names)
            self.run(0.1)
        return wished

    def ballots(self, name: str) -> list[bool]:
        """Return what a host's membership was told about ballots."""
        return [event.halted for event in self.members[name].told(BallotsHalted)]
