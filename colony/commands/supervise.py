"""`colony supervise`: looks after the hosts of a box; `colony ps`: what it looks after."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import colony
from agents.services import Ladder, Plan
from colony.commands.base import Call, Command, Exit, Failure, say, warn
from colony.config import (
    Option,
    UsageError,
    address,
    addresses,
    listening,
    seconds,
    text,
    whole,
    words,
    yes_or_no,
)
from colony.control import ControlLink, parse_address, secret_of
from colony.notify import herald
from colony.providers import provider_named
from colony.registry import RegistryError
from colony.supervise import Setup, Shell, own_command, services_of

HOSTS_MAX = 64  # on one box
_NAME = re.compile(r"[0-9A-Za-z._-]{1,48}")
STOP_EXTRA_S = 15.0  # beyond the time of a leave: to say good-bye, and to end


class Signals:
    """Notes SIGTERM, SIGINT and SIGHUP; plain flags, as in `colony host`."""

    def __init__(self) -> None:
        self._asked = ""

    def install(self) -> None:
        """Take the signals; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.take)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note a signal."""
        self._asked = "again" if number == signal.SIGHUP else "stop"

    def asked(self) -> str:
        """Return what was asked for since the last call."""
        asked, self._asked = self._asked, ""
        return asked


def supervise(call: Call) -> int:
    """Look after hosts until there are none, or a signal says that it is enough."""
    if call["state_dir"] is None:
        raise UsageError("colony supervise: it needs a --state-dir DIR: there it knows its hosts by")
    signals = Signals()
    signals.install()
    plan = plan_of(call)
    link = link_of(call)
    teller = herald(lambda: True, os.environ)
    try:
        shell = Shell(
            plan,
            setup_of(call, link),
            tell=lambda line: warn(f"colony supervise: {line}"),
            asked=signals.asked,
            is_stopping_hosts=call["stop_hosts"],
            herald=teller,
        )
    except RegistryError as error:
        raise Failure(str(error)) from None

    def ready() -> None:
        teller.ready()
        where = f" control {link.address[0]}:{link.address[1]}" if link is not None else ""
        say(f"ready {plan.name} pid {os.getpid()} hosts {','.join(s.name for s in shell.core.hosts)}{where}")

    try:
        end = shell.run(ready)
    except RegistryError as error:
        raise Failure(f"{error}; its hosts go on") from None
    finally:
        teller.close()
    warn(f"colony supervise: {end.reason}")
    return end.status


def plan_of(call: Call) -> Plan:
    """Return what is to be looked after; raises `UsageError`."""
    name = call["name"] or socket.gethostname().partition(".")[0]
    given: list[str] = call["hosts"]
    names = given
    if len(given) == 1 and given[0].isdecimal():
        names = [f"{name}-{number + 1}" for number in range(int(given[0]))]
    bad = [one for one in (name, *names) if not _NAME.fullmatch(one)]
    if bad:
        raise UsageError(
            f"colony supervise: {bad[0]!r} is no name: letters, digits, dots, dashes, at most 48"
        )
    try:
        ladder = Ladder(call["restart_delay"], 3.0, max(call["restart_delay"], call["restart_delay_max"]))
        ladder = Ladder(
            ladder.first_s, ladder.factor, ladder.most_s, call["give_up_after"], call["steady_after"]
        )
        stop_s = call["leave_timeout"] + STOP_EXTRA_S
        return Plan(name, tuple(names), call["max_hosts"] or max(1, len(names)), ladder, stop_s=stop_s)
    except ValueError as error:
        raise UsageError(f"colony supervise: {error}") from None


def link_of(call: Call) -> ControlLink | None:
    """Return the control link; None = nobody was named, and nobody asked for one."""
    if call["control"] is None and not call["watch"]:
        return None
    where = call["control"] or ("127.0.0.1", 0)
    secret = b"colony on loopback"
    if call["keys"] is not None:
        try:
            secret = secret_of((Path(call["keys"]) / "host.key").read_text(encoding="ascii").strip())
        except OSError as error:
            raise Failure(f"can't read host.key in {call['keys']}: {error.strerror}") from None
    elif not where[0].startswith("127.") and where[0] != "::1":
        raise UsageError("colony supervise: a --control link beyond loopback needs --keys DIR")
    try:
        return ControlLink(where, call["watch"], secret)
    except OSError as error:
        raise Failure(
            f"can't listen on {where[0]}:{where[1]}: {error.strerror}; choose another --control"
        ) from None


def setup_of(call: Call, link: ControlLink | None) -> Setup:
    """Return everything else; raises `UsageError`."""
    try:
        provider = provider_named(call["provider"] or "")
        fixed = shlex.split(call["host_args"] or "")
    except ValueError as error:
        raise UsageError(f"colony supervise: {error}") from None
    plan = plan_of(call)
    own = tuple(_nth(call["listen"], slot) for slot in range(plan.hosts_max))
    connect: Callable[..., Any] = call.connect
    if call["keys"] is not None:  # whoever attests must be one of the hosts
        connect = partial(colony.connect, keys=call["keys"], key="host")
    return Setup(
        Path(call["state_dir"]),
        provider,
        connect,
        partial(arguments_of, call, fixed),
        (*call["join"], *own[: len(plan.hosts)]),
        own,
        link,
        call["capacity_after"],
        own_command(),
    )


def arguments_of(
    call: Call, fixed: list[str], name: str, slot: int, restarts: int, others: list[str]
) -> tuple[str, ...]:
    """Return the arguments of one host: what was passed on first, so that ours win."""
    listen = _nth(call["listen"], slot)
    seeds = [one for one in dict.fromkeys([*call["join"], *others]) if one != listen]
    state_dir = Path(call["state_dir"]).absolute() / "hosts" / name / "state"
    found = ["host", *fixed, "--name", name, "--listen", listen, "--state-dir", str(state_dir)]
    found += ["--leave-timeout", str(call["leave_timeout"]), "--restarts", str(restarts)]
    found += ["--supervisor", plan_of(call).name]
    if seeds:
        found += ["--join", ",".join(seeds)]
    for option in ("config", "keys", "box"):
        if call[option] is not None:
            found += [f"--{option}", str(call[option])]
    if call["metrics"] is not None:
        found += ["--metrics", _nth(call["metrics"], slot)]
    return tuple(found)


def _nth(first: str, slot: int) -> str:
    """Return the address whose port is so many above the first one's."""
    head, _, port = first.rpartition(":")
    return f"{head}:{int(port) + slot}"


def ps(call: Call) -> int:
    """Print what the supervisor of a state directory looks after."""
    if call["state_dir"] is None:
        raise UsageError("colony ps: it needs the supervisor's --state-dir DIR")
    try:
        rows = services_of(Path(call["state_dir"]))
    except RegistryError as error:
        raise Failure(str(error)) from None
    call.show(rows, *ps_lines(rows))
    return Exit.DONE


def ps_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return services as lines for people."""
    table = [("NAME", "KIND", "PHASE", "PID", "PROCESS", "STARTS", "FAILURES", "WHY")]
    for row in rows:
        handle = row.get("handle") or {}
        phase = "ACTIVE" if row.get("ready") else row["phase"]
        kind = f"{row['kind']}, added" if row.get("added") else row["kind"]
        counts = str(row.get("starts", 0)), str(row.get("failures", 0))
        name = str(row["name"]).partition(":")[2] or row["name"]
        table.append(
            (name, kind, phase, str(handle.get("pid", "-")), row["process"], *counts, row.get("reason", ""))
        )
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]


def _controls(value: str) -> list[tuple[str, int]]:
    return [parse_address(part) for part in value.split(",")]


_STATE_DIR = Option("state-dir", text, None, "its registry, and its hosts' identities and logs", "DIR")
_LADDER = Ladder()

COMMANDS = (
    Command(
        "supervise",
        "look after the hosts of this box: start, watch and restart them",
        supervise,
        (
            Option("name", text, None, "what people call it; none = the machine's", "N"),
            _STATE_DIR,
            Option("hosts", words, ["1"], "how many, or their names", "N|NAME[,NAME…]"),
            Option(
                "max-hosts", whole(1, HOSTS_MAX), 0, "with those that the cluster asks for; 0 = no more", "N"
            ),
            Option(
                "listen", address, "tcp://127.0.0.1:7420", "of the first host; the next ports follow", "ADDR"
            ),
            Option("join", addresses, [], "hosts of the cluster elsewhere", "ADDR[,ADDR…]"),
            Option("box", text, None, "failure domain of its hosts: the machine", "B"),
            Option("metrics", listening, None, "of the first host; the next ports follow", "ADDR"),
            Option("host-args", text, None, "more options of every host, such as '--expect 3'", "ARGS"),
            Option("leave-timeout", seconds, 30.0, "how long a graceful leave may take, seconds", "S"),
            Option("stop-hosts", yes_or_no, False, "a signal makes the hosts leave, too"),
            Option(
                "control", parse_address, None, "control link: where other supervisors tell us", "IP:PORT"
            ),
            Option("watch", _controls, [], "other supervisors' --control", "IP:PORT[,IP:PORT…]"),
            Option("provider", text, None, "what starts hosts; none = processes here", "MODULE:CLASS"),
            Option(
                "restart-delay", seconds, _LADDER.first_s, "after a first failure; three times with each", "S"
            ),
            Option("restart-delay-max", seconds, _LADDER.most_s, "it grows no further", "S"),
            Option("give-up-after", whole(1, 64), _LADDER.failures_max, "failures in a row", "COUNT"),
            Option("steady-after", seconds, _LADDER.steady_s, "who ran for so long has no past", "S"),
            Option("capacity-after", seconds, 20.0, "how long the cluster must ask for more hosts", "S"),
        ),
    ),
    Command("ps", "print what a box's supervisor looks after", ps, (_STATE_DIR,)),
)
