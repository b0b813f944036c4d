"""Carriers: what may carry a store's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from agents.client_link import Curve
from agents.messages.client import Reply
from colony.calls import Finish, GiveUp
from colony.directory import Directory
from colony.drafts import Draft


class Transport(Protocol):
    """What carries a store's calls: a thin client, or the host in this process."""

    def mutate(self, draft: Draft, timeout_s: float) -> Reply: ...

    def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply: ...

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply: ...

    def many(
        self,
        drafts: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None: ...

    def learn(self, timeout_s: float) -> Directory: ...

    @property
    def curve(self) -> Curve | None: ...

    @property
    def is_closed(self) -> bool: ...

    def close(self) -> None: ...
