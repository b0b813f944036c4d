"""Reception: what clients ask of the host itself, and are told unasked.

Who greets learns where everything is; who watches is told of each change of
the cells that are led here, until it says that it has seen enough.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from agents.effects import Answer, Effect
from agents.household import Household
from agents.messages import client
from agents.messages.client import Greet, Greeting, Reply, Unwatch, Watch
from agents.wire import Versions

SPOKEN_BY_CLIENTS = Versions(client.CLIENT_PROTOCOL_OLDEST, client.CLIENT_PROTOCOL)
WATCHES_MAX = 256

Out = list[Effect]


class Host(Household, Protocol):
    """What the reception asks of its host.

    Attributes:
        closures: Whether clients may send closures.
        watched: Somebody watches; its colonies look at that with every commit.
    """

    closures: bool
    watched: bool


class Reception:
    """Greets clients, and keeps their watches, for one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._watches: dict[tuple[Any, int], bytes] = {}

    def requested(self, caller: Any, request: Any, out: Out) -> None:
        """Take a request that is for no colony, and no operator's."""
        if type(request) is Greet:
            out.append(Answer(caller, self._greeted(request)))
        elif type(request) is Watch:
            self._watch(caller, request, out)
        elif type(request) is Unwatch:
            self._watches.pop((caller, request.watch), None)
            self._host.watched = bool(self._watches)
            out.append(Answer(caller, Reply(request.id, client.OK)))
        else:
            text = f"this host is in no cluster yet ({self._host.membership.stage.value})"
            if self._host.directory.entries:
                text = f"no such colony: {getattr(request, 'colony', '?')}"
            out.append(Answer(caller, Reply(request.id, client.UNAVAILABLE, text=text)))

    def _watch(self, caller: Any, request: Watch, out: Out) -> None:
        if len(self._watches) >= WATCHES_MAX:
            text = f"{WATCHES_MAX} watches are open here already"
            out.append(Answer(caller, Reply(request.id, client.FULL, text=text)))
            return
        self._watches[(caller, request.id)] = request.prefix
        self._host.watched = True

    def tell_watchers(self, change: client.Change, out: Out) -> None:
        """Tell a change to all who asked for such."""
        for (caller, watch), prefix in self._watches.items():
            if change.key.startswith(prefix) or not change.key:
                value = msgspec.msgpack.encode(change)
                out.append(Answer(caller, Reply(watch, client.OK, change.version, value=value)))

    def _greeted(self, request: Greet) -> Reply:
        """Return the answer to first words: who we are, or why we have no language in common."""
        theirs = Versions(request.oldest or request.protocol, request.protocol)
        version = SPOKEN_BY_CLIENTS.common(theirs)
        if request.protocol and not version:
            text = f"this host speaks client protocol {SPOKEN_BY_CLIENTS}, not {theirs}"
            return Reply(request.id, client.BAD, text=text)
        return Reply(request.id, client.OK, value=msgspec.msgpack.encode(self._greeting(version)))

    def _greeting(self, version: int) -> Greeting:
        host = self._host
        member, view = host.membership, host.view
        entries = host.directory.entries
        return Greeting(
            protocol=version,
            software=member.me.software,
            tag=member.tag,
            view=view.id if view is not None else 0,
            stage=member.stage.value,
            host=host.me,
            incarnation=member.me.incarnation,
            name=member.me.name,
            link=member.me.link,
            colonies=len(entries),
            value_bytes_max=host.limits.value_bytes_max,
            hosts=tuple((m.id, m.address) for m in view.members) if view is not None else (),
            primaries=tuple(host.directory.primary(c) for c in range(len(entries))),
            closures=host.closures,
        )
