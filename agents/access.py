"""Who may do what: roles, the list of known keys, what requests need.

A role includes those below it. What is not named here needs an operator, so
that a command that somebody adds is no hole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from agents.messages.client import (
    Admin,
    Delete,
    Get,
    Greet,
    Locate,
    Migrate,
    Mutate,
    Patch,
    Put,
    Scan,
    Touch,
    Unwatch,
    Watch,
)
from agents.refusals import Refusals

HOLDERS_MAX = 10_000
LOOKS = frozenset(
    {"status", "events", "vitals", "where", "why", "moves", "safe_to_kill", "capacity"}
)  # orders that change nothing
# An operator orders, a host testifies: a false word that a host is dead takes its leases from it, and
# with them the promise of linearizable reads. Supervisors have the key of the hosts that they start.
TESTIFIES = frozenset({"attest"})

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85, as ZeroMQ writes keys
_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}")


@dataclass(slots=True)
class Access:
    """How a host's doors stand, for its status.

    Attributes:
        is_keyed: Both endpoints demand keys.
        is_insecure: Strangers can reach it, and nobody needs a key: somebody said that this is meant.
        refusals: Connections and requests that were turned away.
    """

    is_keyed: bool = False
    is_insecure: bool = False
    refusals: Refusals = field(default_factory=Refusals)


class Role(IntEnum):
    """What the holder of a key may do; each includes those before it."""

    OBSERVER = 1  # reads cells and state
    CLIENT = 2  # changes cells, runs closures
    OPERATOR = 3  # gives orders to the cluster
    HOST = 4  # speaks to hosts as one of them

    @property
    def word(self) -> str:
        """Its name, as files and people write it."""
        return self.name.lower()


class Holder(NamedTuple):
    """Whose a public key is."""

    role: Role
    name: str


Roster = Mapping[str, Holder]  # by public key

_NEEDED: dict[type, Role] = {
    **dict.fromkeys((Greet, Get, Scan, Watch, Unwatch, Locate), Role.OBSERVER),
    **dict.fromkeys((Put, Delete, Touch, Patch, Mutate, Migrate), Role.CLIENT),
}

_WORDS: dict[type, str] = {
    Put: "set",
    Delete: "delete",
    Touch: "touch",
    Patch: "a change of a session",
    Mutate: "mutate",
    Migrate: "colocate",
}


def is_key(text: str) -> bool:
    """Return whether this may be a key, public or secret, in Z85."""
    return _KEY.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Return whether a key may be called so: it becomes part of a file's name."""
    return _NAME.fullmatch(text) is not None and not text.startswith((".", "-"))


def role_named(word: str) -> Role:
    """Return a role by its word; raises `ValueError` if there is none."""
    for role in Role:
        if role.word == word:
            return role
    raise ValueError(f"{word!r} is no role; there are {', '.join(role.word for role in Role)}")


def read_roster(text: str) -> dict[str, Holder]:
    """Return the holders of keys, by public key: a line is `KEY role name`, `# …` a comment.

    Raises:
        ValueError: A line can't be read, or names a key twice; the text says which.
    """
    roster: dict[str, Holder] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or line.lstrip().startswith("# "):
            continue
        if len(words) != 3 or not is_key(words[0]) or not is_name(words[2]):
            raise ValueError(f"line {number} is not `KEY role name`")
        if words[0] in roster:
            raise ValueError(f"line {number} names a key for the second time")
        try:
            roster[words[0]] = Holder(role_named(words[1]), words[2])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if len(roster) > HOLDERS_MAX:
            raise ValueError(f"more than {HOLDERS_MAX} keys")
    return roster


def needed_for(request: Any) -> Role:
    """Return the least role that may ask for this."""
    if type(request) is Admin:
        if request.command in TESTIFIES:
            return Role.HOST
        return Role.OBSERVER if request.command in LOOKS else Role.OPERATOR
    return _NEEDED.get(type(request), Role.OPERATOR)


def refusal(holder: Holder, request: Any) -> str:
    """Return "" if this holder may ask for this, or why not."""
    needed = needed_for(request)
    if holder.role >= needed:
        return ""
    what = request.command if type(request) is Admin else _WORDS.get(type(request), type(request).__name__)
    return f"{what} needs the role {needed.word}; the key {holder.name!r} has the role {holder.role.word}"
