"""Hosts: a host of the cluster in this process.

`colony.Host` puts the parts together: the durable record, the pure machines,
the sockets and the loop that runs them in a thread of its own. It does not
survive a fork: pre-fork servers start it in a process of its own beside them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from agents.access import Access
from agents.client_link import Curve
from agents.disk import RecordFile, RecordRefused, ephemeral, load_or_create
from agents.effects import Halt, Note
from agents.hosting import Container
from agents.keeping import Keeper
from agents.link import Door
from agents.membership import Settings
from agents.messages.client import DENIED, UNAVAILABLE, Admin, Reply
from agents.notes import Noted
from agents.record import Record
from agents.server import Server
from agents.snapshot import Found
from agents.stages import Stage
from agents.views import Charter, Member, Status, View
from agents.vitals import Vitals
from agents.wandering import Urges
from colony import checked, drafts, keyring, machine
from colony.aio import AioStore
from colony.aio_embedded import AioEmbedded
from colony.closures import report_of, run_closure
from colony.codecs import codec_named
from colony.embedded import Embedded, Waiter
from colony.endpoints import endpoint, is_loopback, open_door, reachable
from colony.errors import Closed, ColonyError, Denied, Unavailable
from colony.health import Health, serve
from colony.merges import Merge, policy_of, run_merge
from colony.store import TIMEOUT_S, Store
from colony.transport import seeds_in
from placement import probe

POLL_S = 0.01
ORDER_S = 5.0
LEAVE_S = 30.0
INSECURE = "without --keys, who can reach this host may read and change everything"


class Host:
    """One host, in this process.

    `with host:` starts it, and lets it leave in an orderly way at the end.

    Args:
        listen: Where clients and joiners connect, `tcp://IP:PORT`; port 0 = any free one.
        name: What people call it; None = made from machine and port.
        join: Public addresses of hosts of the cluster to join.
        expect: Found a cluster once so many zombies see each other; 0 = wait for `colony init`.
        peers: Copies of each colony, if this host founds the cluster; 1 to 16.
        colonies: How many, if this host founds the cluster; 1 to 65,536.
        quorum: If this host founds the cluster: `majority`, or `available`: hosts without
            a majority go on by themselves, and are merged with the others later.
        apart: If this host founds the cluster: `host`, `box`, `rack` or `zone`: what no two copies
            of a colony ever share, even if there are fewer copies then.
        merge: With that, what becomes of a cell that both changed, where its primary is on
            this host: `latest`, `winner`, or a function of the key, the winner's `Entry` and
            the other's (None = dead there) that returns one of the two, a value, or None:
            the cell dies. It runs on a worker's thread; let it give the same if it is
            called again with its own result.
        labels: "zone", "rack", "box"; what is missing of them is found out or unknown.
        state_dir: Where its identity is kept, and its cells while the whole cluster
            is stopped; None = a new identity each start.
        restore_wait: After such a stop, seconds to wait for hosts that alone hold
            some colony; None = until they are back, or an operator gives them up.
        snapshot_every: Seconds between snapshots that the running host writes to `state_dir`,
            for the day when all hosts die at once; None = none.
        restore_periodic: After such a day, bring back the last of them: it may be older than
            what was acknowledged, and the cluster says so.
        when_lost: What becomes of a colony all copies of which died: "start" = it is served again,
            empty; "wait" = not before an operator says so. One host that says "wait" is enough.
        solitude: Seconds without a majority after which it writes what it holds to `state_dir`, and
            ends; None = never: it holds until the others are back.
        witness: It votes, but carries no colony.
        max_bytes: How much it may carry; 0 = what memory allows.
        moves_max: Moves for a better place that its primaries have under way at a time; >= 1.
        clones_max: Clones that it feeds at a time, those for lost copies included; >= 1.
        clone_rate: Bytes of clones that it sends per second; 0 = as fast as they are taken.
        link: Where other hosts connect; None = the same IP, PORT + 10000 or any free port.
        closures: Whether clients may send closures; None = only with keys, or on loopback.
        keys: Directory with host.key and authorized (see `colony keygen`): all links are encrypted,
            and only known keys are let in. None = anybody may connect; on loopback only, unless `insecure`.
        insecure: Listen without keys where strangers can connect.
        owns_process: This process is the host's alone, so its garbage collector may be tuned.
        on_note: Called with each event and decision, on the host's thread; must not block.
        metrics: Where to serve `/livez`, `/readyz` and `/metrics`, `tcp://IP:PORT`; None = nowhere.
        drain_grace: Seconds between being not ready and leaving, so that others notice first.
        supervised: Who looks after this process, and how often that has started it again; for its status.
        hot_share: A cell that takes more than this share of its colony's changes goes to live in a
            colony of a host with CPU to spare; 0 = never.
        colony_max_bytes: A colony led here that weighs more lets its largest cells live in smaller
            ones; 0 = never.

    Raises:
        TypeError, ValueError: An argument makes no sense.
    """

    _curve: Curve | None = None
    _health: Health | None = None
    _file: RecordFile | None = None
    _server: Server | None = None
    _container: Container | None = None
    _member: Member | None = None

    def __init__(
        self,
        listen: str = "tcp://127.0.0.1:7420",
        *,
        name: str | None = None,
        join: str | Iterable[str] = (),
        expect: int = 0,
        peers: int = 2,
        colonies: int = 64,
        quorum: str = "majority",
        apart: str = "host",
        merge: Merge = "latest",
        labels: Mapping[str, str] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        restore_wait: float | None = None,
        snapshot_every: float | None = None,
        restore_periodic: bool = False,
        when_lost: str = "start",
        solitude: float | None = 600.0,
        witness: bool = False,
        max_bytes: int = 0,
        moves_max: int = 8,
        clones_max: int = 16,
        clone_rate: int = 0,
        link: str | None = None,
        closures: bool | None = None,
        keys: str | os.PathLike[str] | None = None,
        insecure: bool = False,
        owns_process: bool = False,
        on_note: Callable[[Noted], None] | None = None,
        metrics: str | None = None,
        drain_grace: float = 0.0,
        supervised: tuple[str, int] = ("", 0),
        hot_share: float = 0.0,
        colony_max_bytes: int = 0,
    ) -> None:
        self._listen = endpoint(listen)
        self._link = endpoint(link) if link else None
        self._name, self._seeds = checked.name(name), seeds_in(join) if join else ()
        charter = Charter(colonies, peers, quorum=quorum, apart=apart)  # type: ignore[arg-type]
        alone_s = checked.period("solitude", solitude)
        self._settings = Settings(self._seeds, expect, charter, solitude_limit_s=alone_s)
        self._merge, self._policy = merge, policy_of(merge)
        self._labels, self._state_dir = checked.labels(labels or {}), state_dir
        self._restore_wait_s = checked.period("restore_wait", restore_wait)
        self._snapshot_every_s = checked.period("snapshot_every", snapshot_every)
        self._restore_periodic, self._when_lost = restore_periodic, checked.when_lost(when_lost)
        if state_dir is None and (snapshot_every is not None or restore_periodic):
            raise ValueError("snapshot_every and restore_periodic need a state_dir")
        self._witness, self._max_bytes, self._urges = witness, max_bytes, Urges(hot_share, colony_max_bytes)
        self._limits = checked.limits(max_bytes, moves_max, clones_max, clone_rate)
        self._keys, self._insecure = keys, insecure
        is_safe = keys is not None or is_loopback(self._listen)
        self._closures = is_safe if closures is None else closures
        self._owns_process, self._on_note = owns_process, on_note
        self._metrics = endpoint(metrics) if metrics else None
        self._drain_grace_s, self._supervised = drain_grace, supervised
        self._is_draining = self._is_closed = False

    # -- life ------------------------------------------------------------------

    def start(self) -> Host:
        """Bind the sockets and start the loop; returns at once.

        Raises:
            OSError: An address is in use, or not ours.
            ColonyError: The state directory or the keys can't be used, or strangers could
                connect and there are no keys.
        """
        if self._server is not None or self._is_closed:
            raise Closed("a host starts once; make a new one")
        try:
            self._start()
        except RecordRefused as error:
            raise ColonyError(str(error)) from None
        return self

    def _start(self) -> None:
        access = self._access()
        ring = keyring.host_side(self._keys)
        self._curve = ring.curve
        record, keeper, found = self._remember()
        try:
            door = open_door(self._listen, self._link, ring.keys)
        except OSError:
            self._let_go()
            raise
        me = self._me(record, door, is_durable=keeper is not None)
        self._member = me
        container = Container(
            me,
            self._settings,
            record,
            time.monotonic(),
            limits=self._limits,
            first_link=int(time.time() * 1000),
            closures=self._closures,
            keeps=keeper is not None,
            found=found,
            restore_wait_s=self._restore_wait_s,
            snapshot_every_s=self._snapshot_every_s,
            waits_when_lost=self._when_lost == "wait",
            policy=self._policy,
            urges=self._urges,
        )
        container.access = access
        access.refusals = door.refusals
        self._container = container
        self._server = Server(
            container,
            door,
            seeds=self._seeds,
            run_closure=run_closure if self._closures else None,
            report=report_of,
            persist=self._file.save if self._file is not None else None,
            process_state=lambda member: machine.state_of(me, member),
            keeper=keeper,
            run_merge=partial(run_merge, self._merge) if callable(self._merge) else None,
            sample=machine.sampler(keeper, lambda: self._is_draining, self._supervised),
            read_roster=ring.read_roster,
            on_note=self._on_note,
            owns_process=self._owns_process,
            vitals=Vitals() if self._metrics else None,
        )
        if record.incarnation == 1 and self._file is not None and self._file.was_used:
            text = f"none in {self._state_dir}, though a host has kept cells there: this one is a new host"
            self._server.note(Note("record_missing", text))
        if access.is_insecure:
            self._server.note(Note("insecure", f"{me.address}: {INSECURE}"))
        self._serve_health()
        self._server.start()

    def _serve_health(self) -> None:
        if self._metrics is None:
            return
        try:
            self._health = serve(self, self._metrics, Path(self._state_dir) if self._state_dir else None)
        except (OSError, ColonyError):
            self.close()
            raise

    def _me(self, record: Record, door: Door, *, is_durable: bool) -> Member:
        """Return this host as it would stand in a view."""
        address = reachable(door.address)
        return Member(
            id=record.host,
            incarnation=record.incarnation,
            name=self._name or f"{socket.gethostname()}-{address.rpartition(':')[2]}",
            address=address,
            link=reachable(door.link_address),
            labels=self._labels,
            machine=probe.machine_identity(),
            pid=os.getpid(),
            started_s=probe.process_started_s(),
            bytes_max=self._max_bytes,
            witness=self._witness,
            durable=is_durable,
        )

    def _access(self) -> Access:
        """Return how the doors stand; raises `ColonyError` if they would stand open to strangers."""
        link = self._link or self._listen
        is_open = self._keys is None and not (is_loopback(self._listen) and is_loopback(link))
        if is_open and not self._insecure:
            where = link if is_loopback(self._listen) else self._listen
            raise ColonyError(
                f"strangers can connect to {where}, and there are no keys: make some with colony keygen DIR "
                "and say --keys DIR, or say --insecure"
            )
        return Access(is_keyed=self._keys is not None, is_insecure=is_open)

    def reread_keys(self) -> None:
        """Look at the list of authorised keys now, not within a second; any thread."""
        if self._server is not None:
            self._server.reread_roster()

    def _remember(self) -> tuple[Record, Keeper | None, Found]:
        """Return what this host must not forget, where it keeps cells, and those that it brings back."""
        if self._state_dir is None:
            return ephemeral(), None, Found()
        self._file, record = load_or_create(Path(self._state_dir))
        keeper = Keeper(Path(self._state_dir), time.time)
        found = keeper.load(record.tag)
        if self._restore_periodic and found.loaded is None:
            found = keeper.load_periodic(record.tag)
        return record, keeper, found

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until the host is ACTIVE, and the colonies that it leads have all their copies.

        Raises:
            Unavailable: It is not, after `timeout` seconds, or it has ended; the text says what it waits for.
        """
        end_s = time.monotonic() + timeout
        while not self.is_ready:
            if self.halted is not None:
                raise Unavailable(f"the host has ended: {self.halted[1]}")
            if time.monotonic() >= end_s:
                raise Unavailable(f"not ACTIVE after {timeout:g} s, but {self.stage}: {self.waiting_for}")
            time.sleep(POLL_S)

    def leave(self, timeout: float = LEAVE_S) -> bool:
        """Leave in an orderly way: not ready any more first, then all peers move to other hosts.

        Returns:
            Whether it left within `timeout` seconds; True too if it was in no cluster.

        Raises:
            Denied: It is the last that carries cells.
        """
        if self._is_out():
            return True
        self._is_draining = True
        time.sleep(self._drain_grace_s)
        end_s = time.monotonic() + timeout
        while not self._order_leave() and time.monotonic() < end_s:
            time.sleep(POLL_S)
        while not self._is_out() and self.halted is None:
            if time.monotonic() >= end_s:
                return False
            time.sleep(POLL_S)
        return True

    def _is_out(self) -> bool:
        return self._running()[1].membership.stage is Stage.ZOMBIE

    def _order_leave(self) -> bool:
        waiter = Waiter()
        if not self._running()[0].submit(Admin(1, "leave", {}), waiter):
            return True
        reply: Reply | None = waiter.wait(ORDER_S)
        if reply is not None and reply.code == DENIED:
            self._is_draining = False  # it stays
            raise Denied(reply.text)
        return reply is not None and reply.code != UNAVAILABLE

    def close(self) -> None:
        """Stop at once, as if the process had died; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._health is not None:
            self._health.close()
        if self._server is not None:
            self._server.stop()
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Host:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None and self.halted is None:
                self.leave()
        except Denied:
            pass  # the last host: where its cells could go there is nobody
        finally:
            self.close()

    # -- state -----------------------------------------------------------------

    def _running(self) -> tuple[Server, Container]:
        if self._server is None or self._container is None:
            raise Closed("the host was not started")
        if self._is_closed:
            raise Closed("the host is closed")
        return self._server, self._container

    @property
    def name(self) -> str:
        """What people call it."""
        return self._member.name if self._member is not None else self._name or ""

    @property
    def id(self) -> str:
        """Its host id; "" before it is started."""
        return self._member.id if self._member is not None else ""

    @property
    def address(self) -> str:
        """Its public address, with its real port once it is started."""
        return self._member.address if self._member is not None else self._listen

    @property
    def is_insecure(self) -> bool:
        """Whether strangers can reach it, and no keys are demanded."""
        return self._container is not None and self._container.access.is_insecure

    @property
    def server(self) -> Server:
        """The loop that runs it, for tools and tests."""
        return self._running()[0]

    @property
    def view(self) -> View | None:
        """The installed view; None = in no cluster."""
        return self._container.view if self._container is not None else None

    @property
    def stage(self) -> str:
        """ACTIVE, JOINING or LEAVING while it serves in a view; else how far it has come."""
        if self._container is None or self._is_closed:
            return "CLOSED" if self._is_closed else "NEW"
        membership = self._container.membership
        view = membership.view
        me = view.member(membership.me.id) if view is not None else None
        if me is not None and me.incarnation == membership.me.incarnation:
            if membership.quorum.held(time.monotonic()):
                return me.status.value
        return membership.stage.value

    @property
    def waiting_for(self) -> str:
        """What the host waits for, for people; "" = nothing."""
        if self._container is None:
            return "its start"
        membership = self._container.membership
        if membership.view is None or membership.stage is Stage.HOLD:
            return membership.waiting
        return "" if self._container.is_settled else "its colonies' copies"

    @property
    def is_ready(self) -> bool:
        """Whether the host is ACTIVE, and no colony that it leads lacks a copy that it could have."""
        return self.stage == "ACTIVE" and self._container is not None and self._container.is_settled

    @property
    def is_draining(self) -> bool:
        """Whether it is about to leave: it serves on, but should get no new clients."""
        return self._is_draining or self.stage == "LEAVING"

    @property
    def nobody_stays(self) -> bool:
        """Whether no other host is left that could take what is here: all leave, or have left."""
        container = self._container
        known = container.membership.known if container is not None else None
        if container is None or known is None:
            return False
        others = [member for member in known.members if member.id != container.me]
        return all(member.witness or member.status is Status.LEAVING for member in others)

    @property
    def loop_age_s(self) -> float:
        """Seconds since its loop turned last; 40 times a second is usual."""
        return time.monotonic() - self._server.ticked_s if self._server is not None else 0.0

    @property
    def metrics_address(self) -> str:
        """Where health and metrics are served, `http://IP:PORT`; "" = nowhere."""
        return self._health.address if self._health is not None else ""

    @property
    def halted(self) -> tuple[int, str] | None:
        """(exit status, reason) of a host that ended by itself; None = it has not."""
        halt: Halt | None = self._server.halt if self._server is not None else None
        return (halt.status, halt.reason) if halt is not None else None

    # -- stores ----------------------------------------------------------------

    def store(
        self, *, codec: str = "cloudpickle", timeout: float = TIMEOUT_S, affinity: bool = False
    ) -> Store:
        """Return a store on the cluster that uses this host without a hop; safe among threads.

        Args:
            affinity: Cells that are asked for through this store again and again, and live elsewhere,
                come to a colony that this host leads: for sessions that stick to one application
                host. Off, because without such a balancer cells would be pulled to and fro.
        """
        transport = Embedded(self._running()[0], self.address, self._curve, affinity=affinity)
        return Store(transport, codec=codec_named(codec), timeout_s=drafts.seconds(timeout))

    def aio_store(
        self, *, codec: str = "cloudpickle", timeout: float = TIMEOUT_S, affinity: bool = False
    ) -> AioStore:
        """Return an asyncio store on the cluster; it belongs to the loop that first uses it. See `store`."""
        transport = AioEmbedded(self._running()[0], self.address, self._curve, affinity=affinity)
        return AioStore(transport, codec=codec_named(codec), timeout_s=drafts.seconds(timeout))
