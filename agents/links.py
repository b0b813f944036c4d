"""Links: the pure machines of all links of one host.

A host reaches another over a pair of pipes, one each way. Each end numbers
its own pipe (its *link incarnation*, never used again); the link is UP as a
pair of such numbers, once both ends have shown that they heard the other's.
Nothing of one pair is ever delivered on another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.effects import HostMessage
from agents.views import Member, View
from agents.wire import LinkFrame, Source


@dataclass(frozen=True, slots=True)
class OpenPipe:
    """Connect to a host's link address; `own` = (host id, host incarnation) of this end.

    The receiving end gets each frame with `Source(*own, incarnation, plane)`.
    """

    host: str
    address: str
    incarnation: int
    own: tuple[str, int]
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class ClosePipe:
    """Close a pipe; what is queued has `linger_s` to leave."""

    host: str
    incarnation: int
    linger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a frame over an open pipe (encoded by `agents.wire.encode`)."""

    host: str
    incarnation: int
    plane: int
    frame: LinkFrame


@dataclass(frozen=True, slots=True)
class DeliverMessages:
    """Messages came from a host, in order: a `Received` for each."""

    sender: str
    messages: tuple[HostMessage, ...]


class Links:
    """All links of one host.

    Every method returns effects, to be performed in order: OpenPipe, ClosePipe, SendFrame,
    DeliverMessages, LinkCameUp, LinkWentDown, HelloSeen, Note.

    Args:
        me: Returns this host as it is now (its incarnation may change).
        stamp: Returns (tag, installed view id, stage name) for Hellos.
        first_incarnation: First link incarnation; above all that this host incarnation used.
    """

    def __init__(
        self, me: Callable[[], Member], stamp: Callable[[], tuple[str, int, str]], first_incarnation: int
    ) -> None:
        raise NotImplementedError

    def dial(self, member: Member, now_s: float) -> list[Any]:
        """Keep a link to this host (performs `Dial`)."""
        raise NotImplementedError

    def hang_up(self, host: str, now_s: float) -> list[Any]:
        """Close the link and keep none (performs `HangUp`); the host may still call us."""
        raise NotImplementedError

    def on_frame(self, source: Source, frame: LinkFrame, now_s: float, size: int = 0) -> list[Any]:
        """Take a decoded frame; `size` is its length in bytes."""
        raise NotImplementedError

    def on_bad_frame(self, source: Source, reason: str, now_s: float) -> list[Any]:
        """Take the news that bytes from this source were no frame: its link goes DOWN."""
        raise NotImplementedError

    def on_pipe_lost(self, host: str, incarnation: int, reason: str, now_s: float) -> list[Any]:
        """Take the news that a pipe of ours is gone."""
        raise NotImplementedError

    def tick(self, now_s: float) -> list[Any]:
        """Do what is due; to be called about every 25 ms."""
        raise NotImplementedError

    def view_installed(self, view: View, now_s: float) -> list[Any]:
        """Deliver what was kept for this view, drop what was kept for earlier ones."""
        raise NotImplementedError

    def flush(self, outbox: dict[str, list[HostMessage]], now_s: float) -> list[Any]:
        """Pack one turn's messages into frames; those to links that are not UP are dropped."""
        raise NotImplementedError
