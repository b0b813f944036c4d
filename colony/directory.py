"""The directory: what a client knows of hosts and primaries.

All of it is hints: a host that is asked in vain says where to go. Writes are
single assignments, so that threads may share it; the last one stands.
"""

from __future__ import annotations

import msgspec

from agents.keys import colony_of
from agents.messages.client import CLIENT_PROTOCOL, CLIENT_PROTOCOL_OLDEST, Greeting
from agents.views import generation_of

_greetings = msgspec.msgpack.Decoder(Greeting)
VALUE_BYTES_MAX = 16 * 1024 * 1024
CONNECT_MIN_S = 0.3  # two round trips across an ocean; a kernel repeats a lost first packet after 1 s
CONNECT_S = 1.0  # a handful of round trips to the far side of the world
SHUN_S = 1.0  # how long a host that was silent comes last, with all calls
SILENT_MAX = 1024
FORWARDS_MAX = 16_384  # cells away from home that are remembered; a forgotten one costs one more hop


class Directory:
    """Hosts by public address, and the primary's address per colony.

    Attributes:
        tag: The cluster's; "" = not known yet.
        colonies: How many; 0 = not known yet.
        value_bytes_max: The cluster's limit for one value.
        primaries: Address per colony; "" = unknown.
        members: Public addresses of the hosts, as last heard.
        answered: Address of the host that answered last; "" = none has.
        opened: Addresses to which a connection stood not long ago.
        silent: Address -> (vain attempts to connect in a row, until when it comes last).
        forwards: Key -> the colony that its cell lives in, where that is not its home.
    """

    def __init__(self, seeds: tuple[str, ...], tag: str = "") -> None:
        if not seeds:
            raise ValueError("a client needs the address of at least one host")
        self.seeds = seeds
        self.tag = tag
        self.colonies = 0
        self.value_bytes_max = VALUE_BYTES_MAX
        self.view = 0
        self.primaries: list[str] = []
        self.members: tuple[str, ...] = ()
        self.answered = ""
        self.opened: set[str] = set()
        self.silent: dict[str, tuple[int, float]] = {}
        self.addresses: tuple[str, ...] = seeds
        self.forwards: dict[bytes, int] = {}

    def colony_of(self, key: bytes) -> int:
        """Return the colony to ask for a cell; only once `colonies` is known."""
        if self.forwards:
            found = self.forwards.get(key)
            if found is not None:
                return found
        return colony_of(key, self.colonies)

    def sent_on(self, key: bytes, colony: int) -> None:
        """A host said which colony a cell lives in."""
        self.forwards.pop(key, None)
        if not 0 <= colony < self.colonies or colony == colony_of(key, self.colonies):
            return
        if len(self.forwards) >= FORWARDS_MAX:
            for old in list(self.forwards)[: 1 + FORWARDS_MAX // 8]:
                self.forwards.pop(old, None)
        self.forwards[key] = colony

    def primary_of(self, colony: int) -> str:
        """Return the address of a colony's primary, "" = unknown."""
        primaries = self.primaries
        return primaries[colony] if 0 <= colony < len(primaries) else ""

    def connect_s(self, address: str) -> float:
        """Return how long to wait for a connection: not long at first, since others may be in reach."""
        vain, _ = self.silent.get(address, (0, 0.0))
        return min(CONNECT_S, CONNECT_MIN_S * (1 << min(vain, 10)))

    def found_silent(self, address: str, now_s: float) -> None:
        """Nothing came back from an address: whoever calls next asks others first."""
        if len(self.silent) >= SILENT_MAX:
            self.silent.clear()
        self.opened.discard(address)
        vain, _ = self.silent.get(address, (0, 0.0))
        self.silent[address] = vain + 1, now_s + SHUN_S

    def found_open(self, address: str) -> None:
        """A connection to an address stands."""
        self.silent.pop(address, None)
        if len(self.opened) >= SILENT_MAX:
            self.opened.clear()
        self.opened.add(address)

    def is_silent(self, address: str, now_s: float) -> bool:
        """Return whether others should be asked first."""
        return address in self.silent and self.silent.get(address, (0, 0.0))[1] > now_s

    def moved(self, colony: int, address: str) -> None:
        """A host said where a colony's primary is."""
        if 0 <= colony < len(self.primaries):
            self.primaries[colony] = address
        if address not in self.addresses:
            self._know((*self.members, address))

    def greeted(self, value: bytes | None) -> str:
        """Take a greeting in; return "" or why that host is of no use now.

        Raises:
            ForeignCluster: It belongs to another cluster.
        """
        try:
            greeting = _greetings.decode(value or b"")
        except (msgspec.MsgspecError, ValueError):
            return "its greeting can't be read"
        if not CLIENT_PROTOCOL_OLDEST <= greeting.protocol <= CLIENT_PROTOCOL:
            return f"it speaks protocol {greeting.protocol}, this client {CLIENT_PROTOCOL}"
        if self.tag and greeting.tag and greeting.tag != self.tag:
            raise ForeignCluster(f"host {greeting.name} is of cluster {greeting.tag}, not {self.tag}")
        if not greeting.tag or not greeting.colonies:
            return f"host {greeting.name} is in no cluster yet (stage {greeting.stage})"
        self.tag = greeting.tag
        self.value_bytes_max = greeting.value_bytes_max
        self._take(greeting)
        self.colonies = greeting.colonies
        return ""

    def _take(self, greeting: Greeting) -> None:
        where = dict(greeting.hosts)
        told = [where.get(host, "") for host in greeting.primaries]
        told += [""] * (greeting.colonies - len(told))
        # Another generation is news even if it is lower: of two sides that met, the lower one stays.
        anew = generation_of(greeting.view) != generation_of(self.view)
        if anew or greeting.view > self.view or len(self.primaries) != len(told):
            self.view = greeting.view
            self.primaries = told
        else:  # no newer than what we know: believe what it says of itself, and fill gaps
            for colony, (known, host) in enumerate(zip(self.primaries, greeting.primaries, strict=False)):
                if told[colony] and (not known or host == greeting.host):
                    self.primaries[colony] = told[colony]
        if greeting.view >= self.view:
            self._know(tuple(where.values()))

    def _know(self, members: tuple[str, ...]) -> None:
        self.members = members
        self.addresses = tuple(dict.fromkeys((*members, *self.seeds)))


class ForeignCluster(Exception):
    """A host of another cluster answered."""
