"""Messages of the whole-cluster stop; gated by the view, as all of replication.

So no stop crosses a change of the view: whoever installs another one has
given the stop up.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agents.fields import COLONIES_MAX, Id, Text
from agents.messages.replication import CensusPeer

GIVE_UP, FREEZE, WRITE, END = 0, 1, 2, 3


class StopOrder(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """Do this now; repeated until all have answered.

    FREEZE: take no mutation, move nothing, and say when all is committed.
    WRITE: write down what you hold. END: end, whatever else you hear.
    GIVE_UP: go on as before.
    """

    stop: Id
    phase: Annotated[int, Meta(ge=GIVE_UP, le=END)]
    reason: Text = ""


class StopAnswer(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """How far a member is with a phase.

    Attributes:
        done: All that the phase asks for.
        refusal: Why it never will be; "" = it may.
        waits: What it still waits for, for people.
        peers: With FREEZE done: every ACTIVE peer, and how far it is.
    """

    stop: Id
    phase: Annotated[int, Meta(ge=GIVE_UP, le=END)]
    done: bool
    refusal: Text = ""
    waits: Text = ""
    peers: Annotated[tuple[CensusPeer, ...], Meta(max_length=COLONIES_MAX)] = ()


StopMessage = StopOrder | StopAnswer
