"""The durable record: what a host must not forget.

It is written, replaced atomically and fsynced, before the message that
depends on it is sent. No cell is in it.
"""

from __future__ import annotations

import msgspec

from agents.messages.membership import Ballot
from agents.views import View


class Record(msgspec.Struct, frozen=True, array_like=True):
    """Everything a restarted host still has to honour.

    Attributes:
        host: Host id.
        incarnation: The last one used; the next start takes a higher one.
        tag: The cluster's tag; "" = none yet.
        view: The view installed last.
        promised: The highest ballot promised for the view after `view`.
        accepted_ballot: Ballot of `accepted`.
        accepted: The proposal accepted for the view after `view`.
        spoiled: Why this record must never be used again; "" = it may be.
        mute: It may have voted on `view` and forgotten: it votes on nothing.
    """

    host: str
    incarnation: int
    tag: str = ""
    view: View | None = None
    promised: Ballot | None = None
    accepted_ballot: Ballot | None = None
    accepted: View | None = None
    spoiled: str = ""
    mute: bool = False
