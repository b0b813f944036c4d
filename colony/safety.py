"""Whether hosts may die now: a yes counts only if every host that stays says it.

Each host knows for certain the copies of the colonies that it leads alone;
together they know all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from colony.everyone import ask_each

Json = dict[str, Any]


def ask_all(
    connect: Callable[..., Any], status: Mapping[str, Any], first: Mapping[str, Any], what: Sequence[str]
) -> Json:
    """Return one verdict made of the answers of all hosts that are to stay.

    Args:
        connect: Opens a store from addresses, comma-separated.
        status: The cluster's state: who is there.
        first: The answer of the host that was asked first.
        what: Hosts and domains that are to die.

    Returns:
        The first answer, with the reasons, lost colonies and moves of all;
        `asked` says who agreed to it, and who did not answer.
    """
    doomed = set(first.get("hosts") or ())
    members = [
        member
        for member in (status.get("view") or {}).get("members") or ()
        if member.get("name") not in doomed and member.get("name") != first.get("name")
    ]
    answers = ask_each(connect, members, "safe_to_kill", {"hosts": list(what)})
    reasons = list(first.get("reasons") or ())
    lost, moving = set(first.get("lost") or ()), set(first.get("moving") or ())
    for member, answer in zip(members, answers, strict=True):
        if isinstance(answer, str):
            reasons.append(f"{member.get('name')} does not say so: {answer}")
            continue
        reasons += [reason for reason in answer.get("reasons") or () if reason not in reasons]
        lost |= set(answer.get("lost") or ())
        moving |= set(answer.get("moving") or ())
    told = {"lost": sorted(lost), "moving": sorted(moving), "reasons": reasons}
    asked = {
        str(member.get("name")): not isinstance(a, str) for member, a in zip(members, answers, strict=True)
    }
    return {**first, **told, "safe": bool(first.get("safe")) and not reasons, "asked": asked}
