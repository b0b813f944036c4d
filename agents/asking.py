"""Asking: whom a host asked to let it in, and what it was told.

For people: on the host's console, in its events, in its status. What counts
is the last word of each host; a note is made when it changes. Also tells
when waiting is of no use: when all the addresses that were given at the
start say *no*, in a way that does not heal by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agents.effects import Note
from agents.founding import Foundry
from agents.stages import Stage, hold_reason
from agents.standing import Standing
from agents.views import Member, View

LATE_S = 2.0  # hosts that are started together find each other sooner
FRESH_S = 5.0  # words are repeated: knocks every 0.25 s, refusals every second, greetings within 2.5 s
CALM_S = 10.0  # how an address is silent may vary from try to try: that is no news each time
TOLD_MAX = 1_024  # hosts whose words are kept
SHOWN_MAX = 3  # different words in one line

PHRASES = {"silent": "no answer", "found": "no link", "not_yet": "not yet", "no": "no", "come_in": "come in"}
HINTS = {
    "": "is --join right? trying on",
    "keys": "are --join and --keys right? trying on",
    "tag": "correct --join, or move the state directory away to join as a new host",
    "version": "upgrade one protocol at a time",
    "name": "choose another --name, or stop that host",
}


class Winner(Protocol):
    """What is known of other sides: see `agents.sides`."""

    winner: View | None


class Sight(Protocol):
    """The zombies that are seen: see `agents.zombies`."""

    def in_sight(self, now_s: float) -> Mapping[str, Member]:
        """Return them by host id."""


class Here(Standing, Protocol):
    """What a host knows of its own waiting."""

    asking: Asking
    foundry: Foundry

    @property
    def sides(self) -> Winner:
        """Whom it gives in to."""

    @property
    def zombies(self) -> Sight:
        """Whom it could found a cluster with."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last word of a host, or of an address at which there is none.

    Attributes:
        answer: One of `PHRASES`.
        why: What a *no* is about: "tag", "version", "name".
        since_s: Since when the answer has been this one.
        changed_s: Since when the reason has been this one.
        at_s: When it was given last.
    """

    who: str
    answer: str
    reason: str
    why: str
    since_s: float
    changed_s: float
    at_s: float

    def __str__(self) -> str:
        return f"{PHRASES[self.answer]}: {self.reason}"


class Asking:
    """What one host was told by those that it asked; pure.

    Args:
        seeds: Public addresses given at the start; one's own may be among them.
        refused_s: Patience with a *no* from everybody.
    """

    def __init__(self, me: str, seeds: Iterable[str], refused_s: float) -> None:
        self._me = me
        self._seeds = dict.fromkeys(seeds, "")  # address -> host id
        self._told: dict[str, Told] = {}  # by host id, or by address where there is no host
        self._refused_s = refused_s

    # -- what was said -------------------------------------------------------------

    def silent(self, address: str, reason: str, now_s: float) -> list[Note]:
        """Nobody of ours answers at an address."""
        if address not in self._seeds:
            return []
        self._seeds[address] = ""
        return self._hear(address, address, "silent", reason, "", now_s)

    def found(self, member: Member, now_s: float) -> list[Note]:
        """A host answered at an address; a link is to follow."""
        address = member.address
        if member.id == self._me:
            self._seeds.pop(address, None)
        if address not in self._seeds:
            return []
        self._told.pop(address, None)
        self._seeds[address] = member.id
        told = self._told.get(member.id)
        if told is not None and told.answer != "found" and now_s - told.at_s < FRESH_S:
            return []
        return self._hear(member.id, _who(member), "found", f"does {member.link} let links in?", "", now_s)

    def linked(self, host: str) -> None:
        """The link to a host is up: it will answer our knock."""
        told = self._told.get(host)
        if told is not None and told.answer == "found":
            del self._told[host]

    def answered(self, member: Member, answer: str, reason: str, now_s: float, why: str = "") -> list[Note]:
        """A host answered our knock, or refused a link."""
        if member.address in self._seeds:  # it called before we asked there again
            self._told.pop(member.address, None)
            self._seeds[member.address] = member.id
        return self._hear(member.id, _who(member), answer, reason, why, now_s)

    def _hear(self, key: str, who: str, answer: str, reason: str, why: str, now_s: float) -> list[Note]:
        before = self._told.pop(key, None)
        if before is not None and not _is_fresh(before, now_s):
            before = None
        since_s = changed_s = now_s
        if before is not None and before.answer == answer:
            since_s = before.since_s
            if answer == "silent" and now_s - before.changed_s < CALM_S:
                reason = before.reason
            changed_s = before.changed_s if reason == before.reason else now_s
        told = self._told[key] = Told(who, answer, reason, why, since_s, changed_s, now_s)
        if len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        is_said = before is not None and _is_told(before, before.at_s)
        if not _is_told(told, now_s) or (is_said and before is not None and str(before) == str(told)):
            return []
        kind = "refused" if answer == "no" else "knock"
        host = "" if key == who else key
        return [Note(kind, f"asked {who}: {told}", host=host or None, details={"answer": answer})]

    # -- what it comes to ------------------------------------------------------------

    def words(self, now_s: float) -> list[Told]:
        """Return the last words of all who were asked lately, and are worth telling."""
        return [told for told in self._told.values() if _is_told(told, now_s) and _is_fresh(told, now_s)]

    def as_json(self, now_s: float) -> list[dict[str, str]]:
        """Return the last words as `colony status --json` shows them."""
        return [{"who": told.who, "answer": told.answer, "reason": told.reason} for told in self.words(now_s)]

    def says_come_in(self, now_s: float) -> bool:
        """Return whether somebody lets this host in."""
        return any(told.answer == "come_in" for told in self.words(now_s))

    def text(self, now_s: float) -> str:
        """Return in one line who says what, and what may be done; "" = nothing yet."""
        words = self.words(now_s)
        grouped: dict[str, list[str]] = {}
        for told in words:
            grouped.setdefault(str(told), []).append(told.who)
        lines = [f"{', '.join(sorted(who))}: {said}" for said, who in sorted(grouped.items())]
        if len(lines) > SHOWN_MAX:
            lines[SHOWN_MAX:] = [f"and {len(lines) - SHOWN_MAX} other answers"]
        if words and all(told.answer == "silent" for told in words):
            strange = any("handshake" in told.reason for told in words)
            lines.append(HINTS["keys" if strange else ""])
        lines += sorted({HINTS[told.why] for told in words if told.why})
        return "; ".join(lines)

    def verdict(self, now_s: float) -> str:
        """Return why it is of no use to wait any longer; "" = somebody may still say yes.

        Everybody at the addresses given at the start says no, for some
        seconds (a name may be that of a host that is about to be held dead).
        """
        if not self._seeds or any(told.answer != "no" for told in self.words(now_s)):
            return ""
        for host in self._seeds.values():
            told = self._told.get(host)
            if told is None or not told.why or not _is_fresh(told, now_s):
                return ""
            if now_s - told.since_s < self._refused_s:
                return ""
        return self.text(now_s)


def waiting_for(here: Here, now_s: float) -> str:
    """Return what a host that can't serve waits for, and what it was told; for people."""
    if here.is_member:
        if here.sides.winner is not None:
            return "another side to take in what was changed here; then this host joins it"
        return _what(here, now_s) if here.stage is Stage.HOLD else ""
    if here.farewell is not None:
        return "a majority to confirm that it left"
    told = here.asking.text(now_s)
    return f"{_what(here, now_s)}; {told}" if told else _what(here, now_s)


def _what(here: Here, now_s: float) -> str:
    """Return what is waited for."""
    known, settings = here.known, here.settings
    if here.stage is Stage.ZOMBIE and here.foundry.promised is not None:
        return "the founding that is under way"
    if here.stage is Stage.ZOMBIE and settings.expect:
        seen = len(here.zombies.in_sight(now_s)) + 1
        return f"{settings.expect} hosts that see each other ({seen} by now)"
    if here.stage is Stage.ZOMBIE:
        return "a cluster, or `colony init`" if settings.seeds else "`colony init`"
    if here.asking.says_come_in(now_s):
        return "the next view"
    if known is not None and here.is_member:
        return hold_reason(known)
    if known is not None and known.member(here.me.id) is not None:
        return f"a majority of the {len(known.members)} members of its last view"
    return "a host that lets it in"


def _who(member: Member) -> str:
    return f"{member.name} at {member.address}"


def _is_fresh(told: Told, now_s: float) -> bool:
    return now_s - told.at_s < FRESH_S


def _is_told(told: Told, now_s: float) -> bool:
    """Return whether it is worth telling: what only just began to be silent is not."""
    return told.answer not in ("silent", "found") or now_s - told.since_s >= LATE_S
