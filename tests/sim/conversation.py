"""Golden conversations: what hosts say to each other, as text to read and compare.

A file is a list of steps, each a command, a line `----`, and what came of it.
The hosts are the simulator's, on a network where every frame takes 1 ms and
clocks don't drift, so that a conversation says one thing only. Heartbeats,
grants and the links' greetings are left out, and who knocks again: they say
the same all the time.

To write the files again after a change that is meant, and to read what
changed: ``python -m tests.sim.conversation && git diff tests/sim/conversations``
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agents.effects import Note
from agents.links import SendFrame
from agents.messages.client import ABSENT, MOVED, OK, UNAVAILABLE, Get, Put, Reply
from agents.messages.membership import Ballot, Grant, Heartbeat, Knock, KnockAnswer
from agents.messages.replication import CensusPeer, Entry
from agents.sim_host import Process
from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from agents.views import Charter, Member, Status, View, epoch_count, epoch_view, generation_of, number_of
from agents.wire import Frame
from tests.sim.clients import run_closure

FOLDER = Path(__file__).parent / "conversations"
RULE = "----"
SILENT = (Heartbeat, Grant)
REPEATED = (Knock, KnockAnswer)
# Figures that say nothing about who agreed to what.
UNSAID = frozenset(
    {"sent_s", "clock_s", "load", "cells", "bytes_used", "digest", "at_s", "expires_s", "lane", "weight_max"}
    | {"cpu", "free"}
)
LOUD = frozenset(
    {"promote", "open", "lost", "freed", "halt", "undead", "hold", "lost_and_found", "step_down"}
)
ANSWER_S = 3.0
OUTCOMES = {OK: "ok", ABSENT: "absent", MOVED: "moved to", UNAVAILABLE: "unavailable:"}
KINDS = ("put", "death", "expired", "patch", "touch")


class Conversation:
    """A cluster that is told what to do, and what was said meanwhile."""

    def __init__(self) -> None:
        self._simulation: _Recorded | None = None
        self._numbers = 0
        self.name = "client"
        self._reply: Reply | None = None

    @property
    def simulation(self) -> _Recorded:
        """The cluster; the first command makes it."""
        if self._simulation is None:
            raise ValueError("begin with: hosts ABC")
        return self._simulation

    def do(self, command: str) -> list[str]:
        """Do one command, and return what was said, a line each."""
        word, *arguments = command.split()
        lines: list[str] = self._commands()[word](*arguments) or []
        if self._simulation is not None:
            lines = [*self._simulation.said, *lines]
            self._simulation.said.clear()
        return lines

    def _commands(self) -> dict[str, Callable[..., list[str] | None]]:
        return {
            "hosts": self._hosts,
            "founded": self._founded,
            "init": lambda name: self.simulation.init(name),
            "run": self._run,
            "set": self._set,
            "get": self._get,
            "kill": lambda name: self.simulation.crash(name),
            "start": lambda name: self.simulation.start(name),
            "pause": lambda name: self.simulation.pause(name),
            "resume": lambda name: self.simulation.resume(name),
            "cut": lambda *names: self.simulation.cut(" ".join(names)),
            "heal": lambda *names: self.simulation.heal(" ".join(names)),
            "leave": lambda name: self.simulation.leave(name),
            "join": self._join,
            "move": self._move,
            "who": self._who,
        }

    def _hosts(self, names: str, *options: str) -> None:
        given = {key: int(value) for key, value in (option.split("=") for option in options)}
        charter = Charter(
            colonies=given.get("colonies", 1),
            peers=given.get("peers", 2),
            heartbeat_s=0.2,
            lease_s=0.6,
            suspect_s=1.2,
        )
        settings = SimSettings(
            charter=charter,
            drift=0.0,
            offset_s=0.0,
            shape=Shape(delay_s=(0.001, 0.001), jitter_s=0.0, notice_s=0.0, late_share=0.0),
            attested=bool(given.get("attested", 0)),
            machines=given.get("machines", 0),
        )
        self._simulation = _Recorded(names, random.Random(1), settings, run_closure)
        for name in names:
            self._simulation.start(name)

    def _founded(self, names: str, *options: str) -> None:
        """Make hosts and their cluster, without a word: one file tells of that."""
        self._hosts(names, *options)
        self._run("0.8")
        self.simulation.init(names[0])
        self._run("2")
        self.simulation.said.clear()

    def _run(self, seconds: str) -> None:
        timeline = self.simulation.timeline
        timeline.run_until(timeline.now_s + float(seconds))

    def _join(self, name: str) -> None:
        self.simulation.add_home(name)
        self.simulation.start(name)

    def _who(self) -> list[str]:
        """Say what every host believes."""
        lines = []
        for process in self.simulation.processes():
            container = process.container
            peers = [
                f"[{number}] {'primary' if machine.primary else machine.status.name.lower()}"
                f" epoch {_epoch(machine.peer.epoch)} seq {machine.peer.last}"
                for number, machine in sorted(container.colonies.items())
                if machine.status.name != "NONE"
            ]
            stage = container.membership.stage.value
            view = container.membership.view
            lines.append(
                f"{process.home.name}: {stage} view {_view_number(view)} {'; '.join(peers)}".rstrip()
            )
        return lines

    def _move(self, what: str, to: str) -> None:
        """Have the primary of colony 0 hand over, clone or retire."""
        host = self.simulation.homes[to].id
        order = {"hand_over": HandOverOrdered, "clone": CloneOrdered, "retire": RetireOrdered}[what]
        for process in self.simulation.processes():
            machine = process.container.colonies.get(0)
            if machine is not None and machine.primary is not None:
                process.take(process.tell_colony, 0, order(host, "the script says so"))

    # -- a client that asks one host, once ---------------------------------------------

    def _set(self, key: str, value: str, at: str = "A") -> list[str]:
        self._numbers += 1
        request = Put(self._numbers, b"client", self._numbers, key.encode(), value.encode())
        return self._ask(at, request, f"set {key} {value}")

    def _get(self, key: str, at: str = "A") -> list[str]:
        self._numbers += 1
        return self._ask(at, Get(self._numbers, key.encode()), f"get {key}")

    def _ask(self, at: str, request: Any, text: str) -> list[str]:
        simulation = self.simulation
        until_s = simulation.timeline.now_s + ANSWER_S
        for _ in range(2):  # at most one way on, to the primary
            self._forget_reply()
            simulation.ask(self, f"tcp://{at}", request)
            while self._reply is None and simulation.timeline.now_s < until_s:
                simulation.timeline.run_until(simulation.timeline.now_s + 0.001)
            if self._reply is None or self._reply.code != MOVED:
                break
            at = self._reply.text.removeprefix("tcp://")
        # What the answer leaves behind belongs to this step, too.
        simulation.timeline.run_until(simulation.timeline.now_s + 0.02)
        reply: Reply | None = self._reply
        if reply is None:
            return [f"{text} at {at}: no answer"]
        value = reply.value.decode() if reply.value and reply.code == OK else ""
        words = [
            OUTCOMES.get(reply.code, f"code {reply.code}"),
            f"version {reply.version}" if reply.version else "",
            value,
            reply.text,
        ]
        return [f"{text} at {at}: {' '.join(word for word in words if word)}"]

    def _forget_reply(self) -> None:
        self._reply = None

    def replied(self, reply: Reply) -> None:
        """Take a reply."""
        self._reply = reply


class _Recorded(Simulation):
    """A simulation that writes down what hosts say."""

    def __init__(self, *arguments: Any) -> None:
        self.said: list[str] = []
        super().__init__(*arguments)

    def send_frame(self, process: Process, effect: SendFrame) -> None:
        """Write a frame's messages down, and send it."""
        if isinstance(effect.frame, Frame):
            way = f"{process.home.name}>{self.name_of(effect.host)}"
            for message in effect.frame.messages:
                line = f"{way} {self.told(message)}"
                is_old = isinstance(message, REPEATED) and line in self.said
                if not is_old and not isinstance(message, SILENT):
                    self.said.append(line)
        super().send_frame(process, effect)

    def noted(self, process: Process, note: Note) -> None:
        """Write down what counts."""
        if note.kind in LOUD or note.kind == "view":
            colony = "" if note.colony is None else f"[{note.colony}] "
            self.said.append(
                f"{process.home.name}: {note.kind} {colony}{self._lettered(note.reason)}".rstrip()
            )
        super().noted(process, note)

    def _lettered(self, text: str) -> str:
        for home_id, letter in self._names.items():
            text = text.replace(home_id, letter)
        return text

    def told(self, message: Any) -> str:
        """Return a message as words: ids as letters, numbers as people say them."""
        words = [type(message).__name__]
        for name in message.__struct_fields__:
            value = getattr(message, name)
            if name not in UNSAID and value not in ("", (), None, b""):
                words.append(f"{name}={self._shown(name, value)}")
        return " ".join(words)

    def _shown(self, name: str, value: Any) -> str:
        if isinstance(value, View):
            return self._shown_view(value)
        if isinstance(value, Ballot):
            return f"{value.round}@{self.name_of(value.host)}"
        if isinstance(value, Member):
            return f"{value.name}/{value.incarnation}"
        if isinstance(value, Entry):
            return f"{value.seq}:{KINDS[value.kind]}"
        if isinstance(value, CensusPeer):
            role = "primary" if value.primary else "secondary"
            return f"{value.colony}:{role}/{_epoch(value.epoch)}/{value.seq}"
        if isinstance(value, msgspec.Struct):
            return f"({self.told(value)})"
        if isinstance(value, tuple):
            return "[" + " ".join(self._shown(name, each) for each in value) + "]"
        if isinstance(value, dict):
            left = [f"{self.name_of(host)}:{seconds:.2f}" for host, seconds in sorted(value.items())]
            return "{" + " ".join(left) + "}"
        if isinstance(value, str):
            return repr(self._lettered(value)) if " " in value else self._lettered(value)
        if name == "view":
            return _number(value)
        return _epoch(value) if name == "epoch" else str(value)

    def _shown_view(self, view: View) -> str:
        marks = {Status.ACTIVE: "", Status.JOINING: "+", Status.LEAVING: "-"}
        members = " ".join(f"{m.name}{marks[m.status]}" for m in view.members)
        return f"{_number(view.id)}({members})"


def _number(view: int) -> str:
    return f"{generation_of(view)}.{number_of(view)}"


def _view_number(view: View | None) -> str:
    return _number(view.id) if view is not None else "none"


def _epoch(epoch: int) -> str:
    return f"{_number(epoch_view(epoch))}/{epoch_count(epoch)}"


def steps_of(text: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """Return a file's comment, and its steps: (command, what came of it)."""
    head: list[str] = []
    steps: list[tuple[str, list[str]]] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        if lines[0].startswith("#"):
            head.append("\n".join(lines))
        else:
            steps.append((lines[0], [line for line in lines[1:] if line != RULE]))
    return "\n\n".join(head), steps


def played(text: str) -> str:
    """Play a file's commands, and return the file as it should be."""
    head, steps = steps_of(text)
    conversation = Conversation()
    blocks = [head] if head else []
    for command, _ in steps:
        blocks.append("\n".join([command, RULE, *conversation.do(command)]))
    return "\n\n".join(blocks) + "\n"


def main() -> None:
    """Write every file again."""
    for path in sorted(FOLDER.glob("*.txt")):
        path.write_text(played(path.read_text()))
        print(path)


if __name__ == "__main__":
    main()
