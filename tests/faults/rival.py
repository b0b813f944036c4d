"""What the clients of all rivals share: their patience, and what a read returns."""

from __future__ import annotations

from typing import NamedTuple

PORT = 38000  # where rivals' nodes serve clients
ATTEMPT_S = 2.0  # an answer is waited for so long, then nobody knows
CONNECT_S = 0.25  # a path that is cut is silent: another node is asked soon
AGAIN_S = 0.03


class Read(NamedTuple):
    """What a read found; rivals tell no version."""

    value: str
    version: int = 0
