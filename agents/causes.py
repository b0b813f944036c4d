"""Causes: from which event a decision followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """The event from which a decision followed: its kind, and what that was about.

    Attributes:
        kind: The causing event's kind.
        colony: Colony that it is about.
        host: Id of the host that it is about.
        view: Id of the view that it is about; 0 = of none.
        by: Id of the host in whose log it stands; "" = in the same.
    """

    kind: str
    colony: int | None = None
    host: str | None = None
    view: int = 0
    by: str = ""
