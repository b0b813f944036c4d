"""What was refused at the doors: counted all, noted now and then.

One source address gets one note in ten seconds, however often it knocks.
"""

from __future__ import annotations

from agents.effects import Note

NOTE_EVERY_S = 10.0
SOURCES_MAX = 1_024
FRESH_MAX = 64


class Refusals:
    """The refusals of one host; pure.

    Attributes:
        count: All of them.
        fresh: Notes that nobody has taken yet.
    """

    def __init__(self) -> None:
        self.count = 0
        self.fresh: list[Note] = []
        self._noted: dict[str, list[float]] = {}  # address -> [when, how many since]; the oldest first

    def add(self, address: str, reason: str, now_s: float) -> None:
        """Count a refusal, and make a note of it unless this address had one just now."""
        self.count += 1
        noted = self._noted.get(address)
        if noted is not None and now_s - noted[0] < NOTE_EVERY_S:
            noted[1] += 1
            return
        since = int(noted[1]) if noted is not None else 0
        self._noted.pop(address, None)
        if len(self._noted) >= SOURCES_MAX:
            del self._noted[next(iter(self._noted))]
        self._noted[address] = [now_s, 0]
        if len(self.fresh) < FRESH_MAX:
            details = {"address": address, "more": since}
            self.fresh.append(Note("denied", f"{address}: {reason}", details=details))

    def take(self) -> list[Note]:
        """Return the notes since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh
