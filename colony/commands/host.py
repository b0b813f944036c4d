"""`colony host`: one host container in the foreground."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

import colony
from colony.commands.base import Call, Command, Exit, Failure, say, warn
from colony.config import (
    APART,
    QUORUM,
    Option,
    UsageError,
    address,
    addresses,
    grace,
    listening,
    one_of,
    seconds,
    share,
    size,
    text,
    whole,
    yes_or_no,
)
from colony.errors import ColonyError
from colony.health import STUCK_S
from colony.notify import Herald, herald

POLL_S = 0.1  # how soon a change of stage or a signal is told
QUIT_STATUS = 130  # left in a hurry


class Embedded(Protocol):
    """What this command needs of `colony.Host`."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def halted(self) -> tuple[int, str] | None: ...
    @property
    def waiting_for(self) -> str: ...
    @property
    def nobody_stays(self) -> bool: ...
    @property
    def loop_age_s(self) -> float: ...
    def start(self) -> Any: ...
    def wait_ready(self, timeout: float) -> Any: ...
    def leave(self, timeout: float) -> Any: ...
    def close(self) -> Any: ...


class Signals:
    """Notes SIGTERM and SIGINT; the second quits the process at once.

    A plain flag: an event's lock could be held by the very thread that the
    handler interrupts.
    """

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> None:
        """Take both signals; main thread only."""
        signal.signal(signal.SIGTERM, self.take)
        signal.signal(signal.SIGINT, self.take)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal, obey the second."""
        if self.asked:
            os.write(2, b"colony host: quitting now, not leaving\n")
            os._exit(QUIT_STATUS)
        self.asked = True


def host(call: Call) -> int:
    """Run one host until it is told to leave, or halts."""
    signals = Signals()
    signals.install()
    check_free(call["listen"])
    if call["state_dir"] is None and (call["snapshot_every"] is not None or call["restore_periodic"]):
        raise UsageError("colony host: --snapshot-every and --restore-periodic need a --state-dir DIR")
    embedded = colony.Host(**arguments(call.values))
    signal.signal(signal.SIGHUP, lambda number, frame: embedded.reread_keys())
    try:
        embedded.start()
    except (ColonyError, OSError) as error:
        raise Failure(f"can't start on {call['listen']}: {error}") from None
    if embedded.is_insecure:
        warn("colony host: INSECURE: without --keys, who can reach this host may read and change everything")
    teller = herald(lambda: embedded.loop_age_s < STUCK_S, os.environ)
    try:
        return serve(embedded, signals, call["leave_timeout"], teller)
    finally:
        teller.close()
        embedded.close()


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `colony.Host` is built with."""
    labels = {level: values[level] for level in ("zone", "rack", "box") if values[level]}
    plain = (
        "name",
        "listen",
        "join",
        "expect",
        "peers",
        "colonies",
        "quorum",
        "apart",
        "merge",
        "state_dir",
        "witness",
        "max_bytes",
        "moves_max",
        "clones_max",
        "clone_rate",
        "hot_share",
        "colony_max_bytes",
        "restore_wait",
        "solitude",
        "keys",
        "insecure",
        "snapshot_every",
        "restore_periodic",
        "when_lost",
        "metrics",
        "drain_grace",
    )
    supervised = values["supervisor"], values["restarts"]
    given = {key: values[key] for key in plain}
    return {"labels": labels, "owns_process": True, "supervised": supervised, **given}


def check_free(listen: str) -> None:
    """Refuse an address that is not ours, or a port that is in use, in clear words."""
    name, _, port = listen.removeprefix("tcp://").rpartition(":")
    name = name.strip("[]")
    if port == "0" or name == "*":
        return
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)[0]
    except OSError:
        raise Failure(
            f"can't listen on {listen}: {name!r} is no address of this machine", Exit.USAGE
        ) from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            because = error.strerror or str(error)
            hint = "stop what runs there, or choose another port" if "in use" in because else "choose another"
            raise Failure(f"can't listen on {listen}: {because}; {hint}") from None


def serve(embedded: Embedded, signals: Signals, leave_timeout_s: float, teller: Herald | None = None) -> int:
    """Tell people and the service manager what the host waits for; then wait for the end."""
    teller = teller or herald(lambda: True, {})
    told, ready = "", False
    while not signals.asked:
        time.sleep(POLL_S)
        if embedded.halted is not None:
            return halted(embedded)
        stage = embedded.stage if ready and embedded.stage == "ACTIVE" else stage_of(embedded)
        if stage == told:
            continue
        told = stage
        teller.status(stage)
        if stage == "ACTIVE" and not ready:
            ready = True
            teller.ready()
            say(f"ready {embedded.name} {embedded.address} pid {os.getpid()}")
        elif stage == "ACTIVE":
            warn("colony host: ACTIVE again")
        else:
            warn(f"colony host: {stage}")
    teller.stopping(f"leaving; its peers move away within {leave_timeout_s:g} s")
    return leave(embedded, leave_timeout_s)


def stage_of(embedded: Embedded) -> str:
    """Return the stage in one word, with what it waits for where it says so."""
    stage, waits = embedded.stage, embedded.waiting_for
    return f"{stage}, waits for {waits}" if waits else stage


def leave(embedded: Embedded, timeout_s: float) -> int:
    """Leave in an orderly way; refused with what stays aboard when time runs out."""
    if stage_of(embedded).startswith("ZOMBIE"):
        return Exit.DONE
    warn(f"colony host: leaving; its peers move away within {timeout_s:g} s; a second signal quits now")
    try:
        left = embedded.leave(timeout_s)
    except ColonyError as error:
        raise Failure(f"did not leave in an orderly way: {error}", Exit.LOST) from None
    if left is False:
        aboard = f"did not get empty within {timeout_s:g} s"
        if embedded.nobody_stays:
            lost = "all hosts leave, and none stays to take its colonies: what only they hold is lost"
            raise Failure(f"{aboard}: {lost}; to stop all and keep it, use colony shutdown", Exit.LOST)
        raise Failure(f"{aboard}; its colonies fail over", Exit.FAILED)
    if embedded.halted is not None:
        return halted(embedded)
    warn("colony host: left")
    return Exit.DONE


def halted(embedded: Embedded) -> int:
    """Return the exit status of a host that ended by itself, and say why."""
    status, reason = embedded.halted or (Exit.FAILED, "for no reason that it gave")
    warn(f"colony host: ended: {reason}" if status else f"colony host: {reason}")
    return status


def _when_lost(value: str) -> str:
    if value not in ("start", "wait"):
        raise ValueError(f"{value!r} is neither start nor wait")
    return value


COMMANDS = (
    Command(
        "host",
        "run one host in the foreground",
        host,
        (
            Option("name", text, None, "what people call it; none = made from machine and port", "N"),
            Option("listen", address, "tcp://127.0.0.1:7420", "where clients and joiners connect", "ADDR"),
            Option("join", addresses, [], "hosts of the cluster to join", "ADDR[,ADDR…]"),
            Option("expect", whole(1, 10_000), 0, "found a cluster once so many hosts see each other", "N"),
            Option("peers", whole(1, 16), 2, "copies of each colony, if this host founds the cluster", "N"),
            Option("colonies", whole(1, 65536), 64, "colonies, if this host founds the cluster", "K"),
            QUORUM,
            APART,
            Option(
                "merge",
                one_of(("latest", "winner")),
                "latest",
                "with quorum available: which change of a cell counts when sides meet again",
                "latest|winner",
            ),
            Option("state-dir", text, None, "keeps its identity, and its cells over a shutdown", "DIR"),
            Option(
                "restore-wait",
                seconds,
                None,
                "after a shutdown, how long to wait for missing hosts' colonies, seconds; none = for ever",
                "S",
            ),
            Option(
                "solitude",
                seconds,
                600.0,
                "how long to hold without a majority before it gives up with status 5, seconds",
                "S",
            ),
            Option(
                "snapshot-every",
                seconds,
                None,
                "write what it holds to --state-dir again and again, seconds; none = never",
                "S",
            ),
            Option(
                "restore-periodic",
                yes_or_no,
                False,
                "after the death of all hosts, bring back the last such snapshot, old as it is",
            ),
            Option(
                "when-lost",
                _when_lost,
                "start",
                "a colony whose copies all died: start it again empty, or wait for an operator",
                "start|wait",
            ),
            Option("zone", text, "", "failure domain: site", "Z"),
            Option("rack", text, "", "failure domain: rack", "R"),
            Option("box", text, "", "failure domain: machine", "B"),
            Option("witness", yes_or_no, False, "votes, but carries no colony"),
            Option("max-bytes", size, 0, "how much it may carry; 0 = what memory allows", "SIZE"),
            Option("moves-max", whole(1, 1024), 8, "moves for a better place under way at a time", "N"),
            Option("clones-max", whole(1, 1024), 16, "clones it feeds at a time, urgent ones too", "N"),
            Option("clone-rate", size, 0, "bytes of clones it sends per second; 0 = no limit", "SIZE"),
            Option(
                "hot-share",
                share,
                0.0,
                "a cell with more of its colony's changes than this moves to an idler host; 0 = none does",
                "SHARE",
            ),
            Option(
                "colony-max-bytes",
                size,
                0,
                "a colony that weighs more sends its largest cells to smaller ones; 0 = none does",
                "SIZE",
            ),
            Option("insecure", yes_or_no, False, "listen without --keys where strangers can connect"),
            Option(
                "metrics",
                listening,
                None,
                "serve /livez, /readyz and /metrics there; a port: on loopback",
                "ADDR",
            ),
            Option("drain-grace", grace, 0.0, "how long it is not ready before it leaves, seconds", "S"),
            Option("supervisor", str, "", "who looks after it, for its status", "N"),
            Option("restarts", whole(0, 1 << 31), 0, "how often its supervisor has started it again", "N"),
            Option("leave-timeout", seconds, 30.0, "how long a graceful leave may take, seconds", "S"),
        ),
    ),
)
