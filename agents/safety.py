"""Safety: what the death of some hosts would cost now, as one host knows it.

A host knows for certain the peers of the colonies that it leads; of the others
it knows what their primaries told last. So whoever wants to rely on a yes asks
every host that is to stay, and believes it only if all say it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from agents.governor import Governor
from agents.household import Household
from agents.restoring import Restoring
from agents.stages import Stage
from placement.check import hosts_in, safe
from placement.peers import Peers
from placement.resources import Candidate

NAMED_MAX = 20  # colonies that are told one by one


class Host(Household, Protocol):
    """What is asked of a host about the deaths of others."""

    governor: Governor
    restoring: Restoring

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them."""


def blow(host: Host, asked: list[str], now_s: float) -> dict[str, Any]:
    """Return whether these hosts and domains may die at once, and every reason why not.

    Raises:
        LookupError: Nobody is meant by one of the words.
        ValueError: A domain makes no sense, or nothing was asked.
    """
    doomed = _doomed(host, asked)
    lost = safe(places(host), doomed).lost
    moving = _moving(host, doomed)
    quorum = _quorum(host, doomed, now_s)
    holds = _holding(host, doomed, now_s)
    reasons = [f"colony {colony} has all its peers there" for colony in lost[:NAMED_MAX]]
    if len(lost) > NAMED_MAX:
        reasons.append(f"and {len(lost) - NAMED_MAX} colonies more")
    if quorum["why"]:
        reasons.append(quorum["why"])
    if moving:
        some = ", ".join(map(str, moving[:NAMED_MAX])) + (", …" if len(moving) > NAMED_MAX else "")
        reasons.append(f"copies are on the move: colon{'ies' if len(moving) > 1 else 'y'} {some}; wait")
    reasons += holds
    return {
        "safe": not reasons,
        "name": host.membership.me.name,
        "hosts": [_name(host, one) for one in sorted(doomed)],
        "lost": list(lost),
        "moving": moving,
        "quorum": quorum,
        "holds": holds,
        "reasons": reasons,
    }


def _doomed(host: Host, asked: list[str]) -> frozenset[str]:
    if not asked:
        raise ValueError("name at least one host, or box=B, rack=R, zone=Z")
    doomed: set[str] = set()
    for text in asked:
        ids = hosts_in(host.candidates(), text)
        if not ids:
            raise LookupError(f"no such host, box, rack or zone: {text}")
        doomed.update(ids)
    return frozenset(doomed)


def places(host: Host) -> list[Peers]:
    """Return where every colony lives; of those led here only what will surely stay.

    A peer that was asked to retire may be gone already, and one that was not
    yet heard to be ACTIVE may never become it.
    """
    found = host.places()
    for colony, machine in host.colonies.items():
        primary = machine.primary
        if primary is None or colony >= len(found):
            continue
        going = {*primary.transfers.retiring, *primary.transfers.activating}
        others = tuple(other for other in primary.ack_set if other not in going)
        found[colony] = replace(found[colony], primaries=(host.me,), secondaries=others)
    return found


def _moving(host: Host, doomed: frozenset[str]) -> list[int]:
    """Return the colonies with a peer among the doomed, and a copy that comes or goes.

    Hosts learn of moves one after another: a peer that is known here may be
    the very one that has just gone.
    """
    settled = host.governor.settled.number
    found = []
    for colony, entry in enumerate(host.directory.entries):
        if entry is None or not doomed.intersection(entry.peers):
            continue
        machine = host.colonies.get(colony)
        primary = machine.primary if machine is not None else None
        is_handing = primary is not None and primary.transfers.handing is not None
        if primary is not None and not (primary.transfers.under_way or is_handing):
            continue
        if primary is not None or entry.learners or (settled and len(set(entry.peers)) > settled):
            found.append(colony)
    return found


def _quorum(host: Host, doomed: frozenset[str], now_s: float) -> dict[str, Any]:
    """Return what is left of the view; that a death is attested makes no majority."""
    view = host.view
    members = view.ids if view is not None else ()
    heard = host.membership.heard(now_s)
    stay = [member for member in members if member in heard and member not in doomed]
    needed = view.majority if view is not None and not view.charter.is_available else 1
    why = ""
    if not host.quorum.held(now_s):
        why = "there is no quorum now"
    elif len(stay) < needed:
        silent = len([member for member in members if member not in heard and member not in doomed])
        why = f"{len(stay)} of {len(members)} members are no majority: nothing would be served"
        why += f" ({silent} more {'are' if silent > 1 else 'is'} silent already)" if silent else ""
    return {"members": len(members), "stay": len(stay), "needed": needed, "why": why}


def _holding(host: Host, doomed: frozenset[str], now_s: float) -> list[str]:
    """Return what else stands in the way: hosts that hold or are silent, a stop, colonies that wait."""
    membership, view = host.membership, host.view
    reasons = []
    if membership.stage is Stage.HOLD:
        reasons.append(f"{membership.me.name} holds: it hears no majority")
    if host.frozen:
        reasons.append("the whole cluster is being stopped")
    heard = membership.heard(now_s)
    for member in view.members if view is not None else ():
        if member.id not in heard and member.id not in doomed:
            reasons.append(f"{member.name} is silent: what it holds may be gone")
    if host.restoring.waiting:
        missing = ", ".join(host.restoring.missing) or "hosts that are not back"
        reasons.append(f"{len(host.restoring.waiting)} colonies wait for {missing}")
    return reasons


def _name(host: Host, host_id: str) -> str:
    member = host.view.member(host_id) if host.view is not None else None
    return member.name if member is not None else host_id[:8]
