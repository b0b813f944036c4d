"""`init`, `leave`, `shutdown`, `recover`, `evict`: the life of the cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

from colony.commands.base import Asks, Call, Command, Exit, Failure, Json, Positional, warn
from colony.config import APART, QUORUM, Option, seconds, whole, yes_or_no
from colony.errors import Unavailable

POLL_S = 0.25  # often enough for people, far too seldom to cost a host anything
ANSWER_S = 5.0
BRIEF_S = 0.5  # while hosts end: whether their ports are shut tells the rest
KNOCK_S = 0.5

_WAIT = Option("wait", seconds, 60.0, "how long to follow the progress, seconds", "S")
_FORCE = Option("force", yes_or_no, False, "yes, do it")


def statuses(
    store: Asks, wait_s: float, clock: Callable[[], float] = time.monotonic, *, timeout_s: float = ANSWER_S
) -> Iterator[Json | None]:
    """Yield the cluster's state again and again until the time is over.

    None stands for `timeout_s` in which no host answered.
    """
    end_s = clock() + wait_s
    while clock() < end_s:
        try:
            yield store.admin("status", {"colonies": False}, timeout=timeout_s)
        except Unavailable:
            yield None
        time.sleep(POLL_S)


class Progress:
    """Prints a line on stderr whenever it differs from the one before."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, line: str) -> None:
        """Print the line, unless it was the last one too."""
        if line != self._last:
            self._last = line
            warn(line)


def init(call: Call) -> int:
    """Found a cluster of all zombies that the asked one knows."""
    progress = Progress()
    with call.store() as store:
        order = {"colonies": call["colonies"], "peers": call["peers"]}
        if call["quorum"] != "majority":
            order["quorum"] = call["quorum"]
        if call["apart"] != "host":
            order["apart"] = call["apart"]
        store.admin("init", order)
        for status in statuses(store, call["wait"]):
            members = _members(status)
            active = [member for member in members if member.get("status") == "ACTIVE"]
            if status and status.get("quorum") and members and len(active) == len(members):
                call.show(status, f"cluster {status.get('tag', '')}: {len(members)} hosts ACTIVE")
                return Exit.DONE
            progress.tell(f"waiting: {len(active)} of {len(members)} hosts ACTIVE")
    raise Failure(
        f"ordered, but not in service after {call['wait']:g} s: see colony status", Exit.UNAVAILABLE
    )


def leave(call: Call) -> int:
    """Make hosts leave in an orderly way, and follow it until they are out."""
    progress = Progress()
    with call.store() as store:
        store.admin("leave", {"hosts": call["host"]})
        for status in statuses(store, call["wait"]):
            if status is None or not status.get("quorum"):
                progress.tell("waiting for an answer from the cluster")
                continue
            there = [member for member in _members(status) if _is_any(member, call["host"])]
            if not there:
                call.show({"left": call["host"]}, f"left: {', '.join(call['host'])}")
                return Exit.DONE
            progress.tell("leaving: " + ", ".join(_load_of(member) for member in there))
    raise Failure(
        f"still leaving after {call['wait']:g} s: the peers aboard have nowhere to go, or are large; "
        "see colony status and colony events"
    )


def shutdown(call: Call) -> int:
    """Stop the whole cluster in an orderly way, and wait until it is down."""
    progress, last = Progress(), ""
    addresses: set[str] = set(call["connect"])
    with call.store() as store:
        stop = store.admin("shutdown", {"force": call["force"]}).get("stop")
        answered_s = time.monotonic()
        for status in statuses(store, call["wait"], timeout_s=BRIEF_S):
            if status is None:
                if not any(map(_is_there, addresses)) or time.monotonic() - answered_s >= ANSWER_S:
                    call.show({"stopped": True}, "stopped")
                    return Exit.DONE
                continue
            answered_s = time.monotonic()
            addresses |= {member["address"] for member in _members(status) if member.get("address")}
            how = status.get("stopping") or {}
            if how.get("failed") and how.get("stop") == stop:
                raise Failure(f"not stopped, the cluster goes on: {how['failed']}")
            last = _stopping(status, how)
            progress.tell(last)
    raise Failure(f"hosts still answer after {call['wait']:g} s ({last}): see colony status")


def _is_there(address: str) -> bool:
    """Return whether somebody may still listen at an address: only a refusal says that nobody does."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except ConnectionRefusedError:
        return False
    except (OSError, ValueError):
        return True
    return True


def recover(call: Call) -> int:
    """Go on with the side that holds, without the majority that is gone."""
    if not call["force"]:
        raise Failure(
            "recover starts a new generation without the majority: "
            "what only the missing hosts hold is given up. If they are gone for good, say --force"
        )
    answer = call.ask("recover", force=True)
    call.show(answer, _said(answer, "recovering: a new generation begins"))
    return Exit.LOST if answer.get("lost") else Exit.DONE


def evict(call: Call) -> int:
    """Hold a host for dead although it may live."""
    if not call["force"]:
        raise Failure(
            f"evict takes {call['host']} for dead and its peers for gone. If that is so, say --force"
        )
    answer = call.ask("evict", host=call["host"], force=True)
    call.show(answer, _said(answer, f"evicting {call['host']}"))
    return Exit.DONE


def _stopping(status: Json, how: Json) -> str:
    hosts = len(_members(status))
    phase = {"FREEZE": "all take no writes any more", "WRITE": "all write down what they hold"}.get(
        how.get("phase", ""), "ending"
    )
    waits = ", ".join(how.get("waiting_for") or ())
    return f"stopping {hosts} hosts: {phase}" + (f"; waiting for {waits}" if waits else "")


def _said(answer: Json, otherwise: str) -> str:
    return str(answer.get("text") or otherwise)


def _members(status: Json | None) -> list[Json]:
    if not status:
        return []
    view = status.get("view") or {}
    members: list[Json] = view.get("members") or []
    return members


def _is_any(member: Json, hosts: list[str]) -> bool:
    return member.get("name") in hosts or member.get("id") in hosts


def _load_of(member: Json) -> str:
    primaries, secondaries = member.get("primaries", "?"), member.get("secondaries", "?")
    return f"{member.get('name', '?')} has {primaries} primaries and {secondaries} secondaries aboard"


COMMANDS = (
    Command(
        "init",
        "found a cluster of the hosts that wait for one",
        init,
        (
            Option("colonies", whole(1, 65536), 64, "into how many colonies the keys fall, for ever", "K"),
            Option("peers", whole(1, 16), 2, "copies of each colony", "N"),
            QUORUM,
            APART,
            _WAIT,
        ),
    ),
    Command(
        "leave",
        "make hosts leave in an orderly way",
        leave,
        (_WAIT,),
        (Positional("HOST", "names or ids of hosts", "+"),),
    ),
    Command(
        "shutdown",
        "stop the whole cluster; hosts with state directories bring it back",
        shutdown,
        (_WAIT, _FORCE),
    ),
    Command("recover", "go on without a majority that is gone for good", recover, (_FORCE,)),
    Command(
        "evict", "hold a host for dead", evict, (_FORCE,), (Positional("HOST", "name or id of the host"),)
    ),
)
