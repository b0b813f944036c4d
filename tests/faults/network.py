"""A switch with one network namespace per node, all of whose paths can be cut.

Every node hangs on a port of one bridge, which has a namespace of its own,
so nothing of it is seen outside and addresses can't clash with another run's.
Each port filters what leaves through it by the sender's hardware address: a
path is cut or lossy in one direction, whatever the other does. All filters of
a change are set by one `tc` call, within a few milliseconds.

A cut swallows packets without a word, as a cable does: no connection breaks
by it, nobody is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations, count
from pathlib import Path

from tests.faults import kernel

RUN = Path("/run/netns")
PREFIX = "cf"
SUBNET = "10.213.0"
FIRST_NODE = 11  # so that addresses of nodes and of anything else differ at a glance
NODES_MAX = 60  # four instructions each: jumps in a filter reach 255 of them
TOOL_S = 10.0

# Classic BPF on an Ethernet frame: load half-word, load chance, jump if equal, jump if at least, return.
_LOAD_SENDER = "40 0 0 10"
_LOAD_CHANCE = "32 0 0 4294963256"  # SKF_AD_OFF + SKF_AD_RANDOM
_DROP, _PASS = "6 0 0 2", "6 0 0 4294967295"  # TC_ACT_SHOT, TC_ACT_UNSPEC
_CHANCES = 1 << 32
_made = count(1)  # networks of this process


def run(*command: str, stdin: str = "") -> str:
    """Run a tool; return what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TOOL_S, check=False)
    if done.returncode != 0:
        because = (done.stderr or done.stdout).strip().replace("\n", "; ")
        raise OSError(f"{' '.join(command)}: {because}")
    return done.stdout


def program(losses: dict[int, float]) -> str:
    """Return the filter that drops frames of these senders, each with its chance, as tc takes it."""
    lines = [_LOAD_SENDER]
    for sender, loss in sorted(losses.items()):
        if loss >= 1.0:
            lines += [f"21 0 1 {sender}", _DROP]
        elif loss > 0.0:
            # Not this sender: over the three lines that decide; above its chance: over the drop.
            lines += [f"21 0 4 {sender}", _LOAD_CHANCE, f"53 1 0 {int(loss * _CHANCES)}", _DROP, _PASS]
    lines.append(_PASS)
    return ",".join([str(len(lines)), *lines])


def missing() -> str:
    """Return what this machine lacks for networks of namespaces; "" = nothing."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "no network namespaces: this is no Linux, or its kernel has none"
    for tool in ("ip", "tc", "bridge"):
        if shutil.which(tool) is None:
            return f"no `{tool}`: install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network(["a", "b"]) as network:
            network.cut("a", "b")
            network.heal()
    except OSError as error:
        return f"network namespaces don't work here: {error}"
    return ""


def sweep() -> list[str]:
    """Remove networks whose process is gone, with all that still runs in them; return their namespaces."""
    swept = []
    for path in sorted(RUN.glob(f"{PREFIX}*")):
        owner = re.fullmatch(rf"{PREFIX}(\d+)x\d+-\w+", path.name)
        if owner is None or Path("/proc", owner[1]).exists():
            continue
        try:
            for process in run("ip", "netns", "pids", path.name).split():
                os.kill(int(process), signal.SIGKILL)
            run("ip", "netns", "del", path.name)
        except (OSError, ProcessLookupError):
            continue  # somebody else sweeps too
        swept.append(path.name)
    return swept


class Network:
    """Nodes on a switch, named by who made them; close it to remove all.

    Args:
        nodes: Their names; at most `NODES_MAX`, of letters and digits.

    Raises:
        OSError: The machine does not let us.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self.nodes = tuple(nodes)
        assert len(self.nodes) <= NODES_MAX
        self._prefix = f"{PREFIX}{os.getpid()}x{next(_made)}"
        self._losses: dict[tuple[str, str], float] = {}
        self._made: list[str] = []
        sweep()
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        switch = self.namespace("sw")
        self._add(switch)
        batch = ["link add br0 type bridge", "link set br0 up"]
        for node in self.nodes:
            self._add(self.namespace(node))
            end = f"address {self._hardware(node)} netns {self.namespace(node)}"
            batch += [
                f"link add p-{node} type veth peer name eth0 {end}",
                f"link set p-{node} master br0 up",
            ]
        run("ip", "-n", switch, "-batch", "-", stdin="\n".join(batch) + "\n")
        filters = []
        for node in self.nodes:
            own = ["link set lo up", "link set eth0 up", f"addr add {self.address(node)}/24 dev eth0"]
            # Known for good: else a question of ARP, lost in a cut, would be asked again only seconds later.
            own += [
                f"neigh add {self.address(other)} lladdr {self._hardware(other)} dev eth0 nud permanent"
                for other in self.nodes
                if other != node
            ]
            run("ip", "-n", self.namespace(node), "-batch", "-", stdin="\n".join(own) + "\n")
            filters.append(f"qdisc add dev p-{node} clsact")
        run("tc", "-n", switch, "-batch", "-", stdin="\n".join(filters) + "\n")
        self._set(self.nodes)
        self._await_forwarding()

    def _await_forwarding(self) -> None:
        """Wait until the switch passes frames: the kernel looks at fresh links when it has time."""
        end_s = time.monotonic() + TOOL_S
        while run("bridge", "-n", self.namespace("sw"), "link").count("state forwarding") < len(self.nodes):
            if time.monotonic() > end_s:
                raise OSError("the switch forwards nothing")
            time.sleep(0.02)

    def _add(self, namespace: str) -> None:
        run("ip", "netns", "add", namespace)
        self._made.append(namespace)

    def namespace(self, node: str) -> str:
        """Return the name of a node's namespace."""
        return f"{self._prefix}-{node}"

    def path(self, node: str) -> str:
        """Return the file that stands for a node's namespace."""
        return str(RUN / self.namespace(node))

    def address(self, node: str) -> str:
        """Return a node's address."""
        return f"{SUBNET}.{self._number(node)}"

    def _hardware(self, node: str) -> str:
        return f"02:cf:00:00:00:{self._number(node):02x}"

    def _number(self, node: str) -> int:
        return FIRST_NODE + self.nodes.index(node)

    @contextmanager
    def inside(self, node: str) -> Iterator[None]:
        """Have this thread, and what it starts meanwhile, live in a node's namespace."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            kernel.enter_network(self.path(node))
            yield
        finally:
            kernel.enter_network(f"/proc/self/fd/{back}")
            os.close(back)

    # -- faults --------------------------------------------------------------------

    def cut(self, *pairs: str | tuple[str, str]) -> None:
        """Cut the paths between two nodes, or between the two of each pair, both ways."""
        self._change(lambda a, b: {(a, b): 1.0, (b, a): 1.0}, pairs)

    def cut_one_way(self, *pairs: str | tuple[str, str]) -> None:
        """Cut the paths from the first to the second of two nodes or of each pair; the other way stays."""
        self._change(lambda a, b: {(a, b): 1.0}, pairs)

    def lose(self, share: float, *pairs: str | tuple[str, str]) -> None:
        """Lose this share of what goes between two nodes, or the two of each pair; 0 = none."""
        self._change(lambda a, b: {(a, b): share, (b, a): share}, pairs)

    def mend(self, *pairs: str | tuple[str, str]) -> None:
        """Mend the paths between two nodes, or the two of each pair, both ways."""
        self._change(lambda a, b: {(a, b): 0.0, (b, a): 0.0}, pairs)

    def split(self, *sides: Iterable[str]) -> None:
        """Cut all paths between nodes of different sides; nodes on no side keep theirs."""
        parts = [tuple(side) for side in sides]
        self.cut(*[(a, b) for one, other in combinations(parts, 2) for a in one for b in other])

    def heal(self) -> None:
        """Mend everything."""
        changed = {receiver for _, receiver in self._losses}
        self._losses.clear()
        self._set(changed)

    @property
    def is_whole(self) -> bool:
        """Whether no path is cut or lossy."""
        return not self._losses

    def _change(
        self,
        losses: Callable[[str, str], dict[tuple[str, str], float]],
        pairs: tuple[str | tuple[str, str], ...],
    ) -> None:
        if len(pairs) == 2 and isinstance(pairs[0], str) and isinstance(pairs[1], str):
            pairs = ((pairs[0], pairs[1]),)
        changed: set[str] = set()
        for pair in pairs:
            assert isinstance(pair, tuple), "name two nodes, or pairs of them"
            for path, loss in losses(*pair).items():
                assert set(path) <= set(self.nodes), f"no such path: {path}"
                self._losses[path] = loss
                changed.add(path[1])
        self._losses = {path: loss for path, loss in self._losses.items() if loss > 0.0}
        self._set(changed)

    def _set(self, receivers: Iterable[str]) -> None:
        """Bring the filters of these nodes' ports in line with what is to be lost."""
        batch = []
        for node in sorted(receivers):
            losses = {self._number(a): loss for (a, b), loss in self._losses.items() if b == node}
            batch.append(
                f"filter replace dev p-{node} egress pref 1 handle 1 protocol all "
                f"bpf da bytecode '{program(losses)}'"
            )
        if batch:
            run("tc", "-n", self.namespace("sw"), "-batch", "-", stdin="\n".join(batch) + "\n")

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """Remove all namespaces, and with them the switch."""
        made, self._made = self._made, []
        for namespace in made:
            try:
                run("ip", "netns", "del", namespace)
            except OSError:
                pass  # a later sweep finds it

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
