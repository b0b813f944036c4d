"""What a scenario needs of a cluster, whoever made it.

`tests.faults.hosts.Cluster` is one; `Nodes` is what the rivals share: some
processes in namespaces, clients beside them, and nobody who judges more than
their histories. A rival's folders outlive its processes: it comes back with
what it had written down, whatever a scenario says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self

from tests.faults.hosts import CLIENTS, STEADY_S, Client, entrance, send_inside
from tests.faults.network import Network
from tests.faults.rival import PORT
from tests.real.hosts import PATIENCE_S, ROOT, until


class System(Protocol):
    """A cluster under test, in namespaces, with clients on `c1` and `c2`.

    Attributes:
        promises: Whether it is also judged by what colony alone promises: how soon, and who must refuse.
        processes: What runs, by name.
    """

    promises: bool
    network: Network
    clients: dict[str, Client]

    @property
    def processes(self) -> Mapping[str, Any]: ...

    def start(self, *, name: str = "", box: str = "") -> Any:
        """Start a node, again or for the first time."""

    def kill(self, *names: str) -> None:
        """SIGKILL nodes."""

    def stop(self, name: str) -> None:
        """SIGSTOP a node."""

    def resume(self, name: str) -> None:
        """SIGCONT a node."""

    def forget(self, name: str) -> None:
        """Remove what a node that does not run had written down, if it can do without."""

    def jump(self, name: str, wrong_s: float) -> None:
        """Let a node's wall clock be wrong by so many seconds."""

    def leads(self) -> dict[str, list[int]]:
        """Return the partitions that each node is primary of."""

    def holders(self) -> list[set[str]]:
        """Return, per partition, the nodes with a copy of it."""

    def partition(self, key: str) -> int:
        """Return the partition of a key."""

    def is_rested(self) -> bool:
        """Return whether nothing of earlier rounds weighs on the next one."""

    def may_lack(self, names: Iterable[str]) -> bool:
        """Return whether the others can go on without these, by what the system says of itself."""

    def stranded(self, here: Iterable[str]) -> list[int]:
        """Return the partitions of which none of these nodes, which reach each other, has a copy."""

    def goes_on(self, names: Iterable[str]) -> bool:
        """Return whether these nodes alone serve everything."""

    def view(self) -> int:
        """Return a number that grows whenever somebody is replaced."""

    def healed(self, *, within_s: float = PATIENCE_S) -> float:
        """Wait until all is well and stays so; return how long that took. AssertionError: never."""

    def chronicle(self) -> str:
        """Return what was logged."""


class Node:
    """A process of a rival."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen, self.box = popen, ""


class Nodes:
    """A rival's cluster; who derives from it says how a node is started and how all is.

    Args:
        count: Nodes, `h1` and on.
    """

    kind = ""  # of process, to `tests.faults.enter`; and of client
    promises = False

    def __init__(self, count: int) -> None:
        self.names = [f"h{number}" for number in range(1, count + 1)]
        self.processes: dict[str, Node] = {}
        self.clients: dict[str, Client] = {}
        self._started = 0
        self._stopped: set[str] = set()
        self._told: dict[str, Any] = {}  # by each node, when it was last looked whether all is well
        self._stack = ExitStack()
        self.network = self._stack.enter_context(Network([*self.names, "c0", *CLIENTS]))
        try:
            folder = tempfile.TemporaryDirectory(prefix="colony-rival-")
            self.folder = Path(self._stack.enter_context(folder))
            self._stack.enter_context(self.network.inside("c0"))
            for name in self.names:
                self.start(name=name)
            self._found()
            self.healed(within_s=PATIENCE_S)
            self.clients = {node: Client(self, node) for node in CLIENTS}
        except BaseException:
            self.close()
            raise

    def _arguments(self, name: str, folder: Path) -> list[str]:
        """Return the arguments of a node's process."""
        raise NotImplementedError

    def _found(self) -> None:
        """Make a cluster of the nodes, which run."""

    def _is_well(self) -> bool:
        """Return whether all nodes serve, and agree."""
        raise NotImplementedError

    def address(self, name: str) -> str:
        """Return where clients find a node."""
        return f"{self.network.address(name)}:{PORT}"

    def client_arguments(self) -> list[str]:
        """Return what a client's process needs to know."""
        return [self.kind, ",".join(self.address(name) for name in self.names)]

    def clock(self, name: str) -> Path:
        """Return the file that says by how many seconds a node's wall clock is wrong."""
        return self.folder / f"clock-{name}"

    # -- life and death ------------------------------------------------------------

    def start(self, *, name: str = "", box: str = "") -> Node:
        """Start a node; it comes back as who it was."""
        state = self.folder / f"state-{name}"
        state.mkdir(exist_ok=True)
        self._started += 1
        command = entrance(self.network, name, self.clock(name), self.kind, self._arguments(name, state))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / f"{name}-{self._started}.log").open("wb") as out:
            popen = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=ROOT)
        self.processes[name] = Node(popen)
        return self.processes[name]

    def _signal(self, name: str, number: int) -> None:
        send_inside(self.processes[name].popen, number)

    def kill(self, *names: str) -> None:
        """SIGKILL nodes."""
        for name in names:
            self._signal(name, signal.SIGKILL)
        for name in names:
            self.processes.pop(name).popen.wait(PATIENCE_S)

    def stop(self, name: str) -> None:
        """SIGSTOP a node."""
        self._stopped.add(name)
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT a node."""
        self._signal(name, signal.SIGCONT)
        self._stopped.discard(name)

    def forget(self, name: str) -> None:
        """A rival keeps its folder: one that comes back without is another node, for an operator to admit."""

    def jump(self, name: str, wrong_s: float) -> None:
        """Let a node's wall clock, as Python sees it, be wrong by so many seconds."""
        self.clock(name).write_text(str(wrong_s))

    def is_rested(self) -> bool:
        """A rival does not remember who died."""
        return True

    def stranded(self, here: Iterable[str]) -> list[int]:
        """A rival's copies don't move."""
        return []

    # -- what they say -----------------------------------------------------------------

    @property
    def awake(self) -> list[str]:
        """Who can answer: asking others would draw out a fault."""
        return [name for name in self.processes if name not in self._stopped]

    def healed(self, *, within_s: float = PATIENCE_S) -> float:
        """Wait until all is well, and stays so; return the seconds until it was well for good."""
        began_s = ill_s = time.monotonic()

        def look() -> bool:
            nonlocal ill_s
            if not self._is_well():
                ill_s = time.monotonic()
            return time.monotonic() - ill_s >= STEADY_S

        try:
            until(look, "all nodes serve, and agree", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._told}") from None
        return ill_s - began_s

    def chronicle(self) -> str:
        """Return the tails of all logs."""
        return "\n".join(
            f"-- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """End all processes, and remove the network."""
        for client in self.clients.values():
            client.close()
        for name, node in self.processes.items():
            self._signal(name, signal.SIGCONT)
            self._signal(name, signal.SIGKILL)
            node.popen.kill()
        for node in self.processes.values():
            node.popen.wait(PATIENCE_S)
        self.processes = {}
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
