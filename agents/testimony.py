"""Testimony: what supervisors tell a host, and ask of it.

- An attested death is believed at once, and nobody waits for a lease. So the
  word must be about a process, not about a name: machine, pid and start time
  must be those under which the view lists the member. A word about an earlier
  process of the same host is refused, however late it comes.
- What supervisors did is noted in the log of the host that they told.
- Whether more hosts are wanted, every host works out from what it knows.
"""

from __future__ import annotations

from typing import Any, Protocol

from agents.effects import Note, ProcessGone
from agents.governor import Governor
from agents.household import Household
from agents.messages.membership import Load
from agents.views import Member, Status
from placement.resources import Candidate
from placement.settle import hosts_wanted

KINDS = frozenset({"restart", "gave_up", "supervisor", "capacity"})  # what a supervisor may report
TEXT_MAX = 400
SAME_START_S = 0.005  # half a clock tick, in which start times are counted


class Host(Household, Protocol):
    """What supervisors ask of a host."""

    governor: Governor
    load: Load

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them."""


def words(value: Any) -> str:
    """Return text from outside as one line of bounded length."""
    return " ".join(str(value).split())[:TEXT_MAX]


def attested(me: str, member: Member, arguments: dict[str, Any]) -> tuple[ProcessGone | None, str]:
    """Return the event of a death that a supervisor saw, or why it is not believed.

    Args:
        me: The id of the host that was told.
        arguments: `machine`, `pid`, `started_s` of the process; `by`, `reason` in words.
    """
    machine, pid = str(arguments.get("machine", "")), int(arguments.get("pid", 0))
    started_s = float(arguments.get("started_s", 0.0))
    if member.id == me:
        return None, "it is this very host that was told so"
    if not machine or pid <= 0 or started_s <= 0:
        return None, "a death is attested of a process: machine, pid and start time"
    same = abs(started_s - member.started_s) <= SAME_START_S
    if member.machine != machine or member.pid != pid or not same:
        return (
            None,
            f"{member.name} is another process now: pid {member.pid} of incarnation {member.incarnation}",
        )
    reason = f"its supervisor {words(arguments.get('by', '?'))} saw its process end"
    how = words(arguments.get("reason", ""))
    return ProcessGone(member.id, member.incarnation, f"{reason}: {how}" if how else reason), ""


def reported(host: Host, arguments: dict[str, Any]) -> Note:
    """Return the note of what a supervisor did, or could not do.

    Raises:
        ValueError: It is nothing that supervisors do.
    """
    kind = str(arguments.get("kind", ""))
    if kind not in KINDS:
        raise ValueError(f"a supervisor reports {', '.join(sorted(KINDS))}, not {kind!r}")
    name = words(arguments.get("host", ""))
    listed = [m.id for m in host.view.members if m.name == name] if host.view is not None else []
    details = {"supervisor": words(arguments.get("by", ""))}
    return Note(kind, words(arguments.get("reason", "")), host=(listed or [name])[0] or None, details=details)


def capacity(host: Host, now_s: float) -> dict[str, Any]:
    """Return whether more hosts are wanted, and who is there.

    While somebody joins nobody is wanted: what it brings is not known yet.
    """
    view = host.view
    if view is None:
        return {"quorum": False, "wanted": 0, "because": "", "joining": 0, "members": []}
    heard = host.membership.heard(now_s)
    joining = sum(member.status is Status.JOINING for member in view.members)
    need = hosts_wanted(host.governor.settled, host.candidates())
    return {
        "quorum": bool(host.quorum.held(now_s)),
        "wanted": need.hosts if not joining else 0,
        "because": need.because,
        "joining": joining,
        "members": [_who(member, member.id in heard) for member in view.members],
    }


def _who(member: Member, is_heard: bool) -> dict[str, Any]:
    return {
        "name": member.name,
        "id": member.id,
        "incarnation": member.incarnation,
        "address": member.address,
        "machine": member.machine,
        "pid": member.pid,
        "status": member.status.value,
        "heard": is_heard,
    }
