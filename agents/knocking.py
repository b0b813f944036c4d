"""Knocking: what a host answers to one that wants to be admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.messages.membership import Knock, KnockAnswer
from agents.stages import Stage
from agents.succession import name_taken

if TYPE_CHECKING:
    from agents.membership import Membership


def judge(host: Membership, knock: Knock, now_s: float) -> KnockAnswer:
    """Return *come in*, *not yet* (try another), or *no*, and why.

    The tag was compared, and dropped incarnations were told so, before.
    """
    known = host.known
    view = known.id if known else 0
    if host.stage is Stage.ZOMBIE:
        return KnockAnswer("not_yet", "no cluster here yet: waiting for init")
    if known is None or not host.is_member:
        return KnockAnswer("not_yet", "this host is itself looking for its cluster", host.tag, view)
    if name_taken(known, knock.member):
        return KnockAnswer("no", f"the name {knock.member.name} is taken by a live host", host.tag, view)
    wait_s = host.reputation.wait_s(knock.member.id, now_s)
    if wait_s > 0:
        return KnockAnswer("not_yet", f"held dead too often of late: wait {wait_s:.0f} s", host.tag, view)
    if not host.quorum.held(now_s):
        return KnockAnswer("not_yet", "no quorum here now", host.tag, view)
    return KnockAnswer("come_in", "by the next view", host.tag, view)
