"""Strangers against live hosts, with an honest client beside: `python -m tests.fuzz`.

Two clusters of real processes, one with keys and one without. By seed:
random and mutated frames of every kind to clients' and hosts' ports, as
nobody, as a stranger, an observer and a client; garbage below the frames;
true handshakes played again, whole and cut; readers that don't read; large
frames half sent. What must hold: no process ends, memory comes to rest, no
host leaves its view, and the honest client's history is right.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import zmq

import colony
from agents.curve import new_pair
from agents.messages.client import Get
from agents.wire import encode
from agents.zmtp import framed, greeting, ready
from colony import keyring
from tests.hostile import Noise
from tests.real.hosts import Hosts

LARGE = "large"  # a cell of a mebibyte, which greedy readers ask for
GROWTH_BYTES_MAX = 160 * 1024 * 1024  # of one process; what it takes at rest is some 45 MiB
KEPT_MAX = 24  # connections that strangers keep open


class Honest:
    """The only writer of its keys: what it reads is what it wrote last."""

    def __init__(self, addresses: str, keys: Path | None) -> None:
        self.latencies_s: list[float] = []
        self.wrong: list[str] = []
        self.failed: Counter[str] = Counter()
        self._store = colony.connect(addresses, keys=keys, key="client" if keys else None, timeout=10.0)
        self._store.set(LARGE, bytes(1024 * 1024))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        number = 0
        sure: dict[str, tuple[int, ...]] = {}
        while not self._is_over.wait(0.002):
            number += 1
            key = f"honest-{number % 20}"
            start_s = time.perf_counter()
            try:
                self._store.set(key, number)
                sure[key] = (number,)
            except colony.OutcomeUnknown:
                sure[key] = (*sure.get(key, (0,)), number)
                self.failed["unknown"] += 1
            except colony.ColonyError as error:
                self.failed[type(error).__name__] += 1
            try:
                found = self._store.get(key, 0)
                if found not in sure.get(key, (0,)):
                    self.wrong.append(f"{key} is {found}, and not one of {sure.get(key)}")
            except colony.ColonyError as error:
                self.failed[type(error).__name__] += 1
            self.latencies_s.append((time.perf_counter() - start_s) / 2)

    def end(self) -> None:
        """Stop, and keep what was measured."""
        self._is_over.set()
        self._thread.join(30)
        self._store.close()

    def p99_ms(self) -> float:
        """Return the time that a call takes, in 99 of 100."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[len(ordered) * 99 // 100] if ordered else float("inf")


def recorded(address: str, pair: tuple[str, str], server: str) -> bytes:
    """Return what a true client says in its handshake and first message."""
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inner = socket.create_connection(_place(address))

        def carry() -> None:
            outer, _ = listener.accept()
            with outer, inner:
                threading.Thread(target=_pump, args=(inner, outer, None), daemon=True).start()
                _pump(outer, inner, said)

        threading.Thread(target=carry, daemon=True).start()
        with zmq.Context() as context, _dealer(context, pair, server) as dealer:
            dealer.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            dealer.send(encode([Get(1, b"k")]))
            dealer.poll(2_000)
    return bytes(said)


def _pump(source: socket.socket, sink: socket.socket, said: bytearray | None) -> None:
    try:
        while data := source.recv(65_536):
            if said is not None:
                said += data
            sink.sendall(data)
    except OSError:
        pass


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def _in_parts(parts: list[bytes]) -> bytes:
    """Return a message of several frames as it travels."""
    said = bytearray()
    for part in parts[:-1]:
        frame = bytearray(framed(part))
        frame[0] |= 1  # more follows
        said += frame
    return bytes(said + framed(parts[-1]))


def _dealer(
    context: zmq.Context[zmq.Socket[bytes]], pair: tuple[str, str] | None, server: str, identity: bytes = b""
) -> zmq.Socket[bytes]:
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 50
    dealer.reconnect_ivl = -1
    dealer.immediate = True
    dealer.sndtimeo = 100
    if pair is not None:
        dealer.curve_publickey, dealer.curve_secretkey = (part.encode() for part in pair)
        dealer.curve_serverkey = server.encode()
    if identity:
        dealer.identity = identity
    return dealer


class Strangers:
    """All that is wrong, by seed, to one cluster."""

    def __init__(self, hosts: Hosts, keys: Path | None, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._noise = Noise(seed)
        self._chance = self._noise.chance
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._members = hosts.status()["view"]["members"]
        self._kept: list[socket.socket] = []
        self._server = ""
        self._pairs: list[tuple[str, str] | None] = [None]
        self._handshake = greeting() + ready(b"DEALER") + framed(encode([Get(1, b"k")]))
        if keys is not None:
            self._server = (keys / "host.pub").read_text().strip()
            self._pairs += [self._pair(keys, "observer"), self._pair(keys, "client"), new_pair()]
            true = self._pairs[2]
            assert true is not None
            self._handshake = recorded(self._members[0]["address"], true, self._server)
        self._ways: list[Callable[[], None]] = [
            *[self._frames] * 6,
            *[self._garbage] * 3,
            *[self._replay] * 2,
            self._greedy,
            self._half,
        ]

    def _pair(self, keys: Path, role: str) -> tuple[str, str]:
        curve = keyring.client_curve(keys, role)
        return curve.public.decode(), curve.secret.decode()

    def step(self) -> None:
        """Do one of the things that strangers do."""
        way = self._chance.choice(self._ways)
        try:
            way()
        except (OSError, zmq.ZMQError):
            self.done["refused"] += 1  # as it may be
        self.done[way.__name__.strip("_")] += 1
        while len(self._kept) > KEPT_MAX:
            self._kept.pop(0).close()

    def _port(self) -> str:
        return str(self._chance.choice(self._members)[self._chance.choice(("address", "link"))])

    def _identity(self) -> bytes:
        """Return what a DEALER may say that it is: nothing, noise, or a member."""
        chance, member = self._chance, self._chance.choice(self._members)
        true = f"{member['id']}/{member['incarnation']}/{chance.randrange(1, 1 << 62)}/{chance.randrange(2)}"
        return chance.choice((b"", b"", true.encode(), b"x" + chance.randbytes(20)))

    def _frames(self) -> None:
        """Frames inside the protocol."""
        chance = self._chance
        messages = [
            [self._noise.frame() for _ in range(chance.choice((1, 1, 1, 1, 2, 5)))]
            for _ in range(chance.randrange(1, 40))
        ]
        pair = chance.choice(self._pairs)
        if not self._server:
            # By hand: ZeroMQ ends the process when it is hung up on in the middle of a message.
            with socket.create_connection(_place(self._port()), 2) as raw:
                raw.settimeout(0.5)
                raw.sendall(greeting() + ready(b"DEALER", self._identity()))
                raw.sendall(b"".join(map(_in_parts, messages)))
        else:
            with _dealer(self._context, pair, self._server, self._identity()) as dealer:
                dealer.connect(self._port())
                for parts in messages:
                    dealer.send_multipart(parts)
        self.done["frame"] += sum(map(len, messages))

    def _garbage(self) -> None:
        """Bytes below the frames."""
        with socket.create_connection(_place(self._port()), 2) as raw:
            raw.settimeout(0.2)
            raw.sendall(self._noise.stream())

    def _replay(self) -> None:
        """A true handshake, again: whole, cut, or with a byte changed; then noise."""
        said = bytearray(self._handshake)
        if self._chance.random() < 0.4:
            del said[self._chance.randrange(len(said)) :]
        elif self._chance.random() < 0.5:
            said[self._chance.randrange(len(said))] ^= 1 << self._chance.randrange(8)
        with socket.create_connection(_place(self._port()), 2) as raw:
            raw.settimeout(0.2)
            raw.sendall(said)
            raw.sendall(framed(self._noise.frame()))

    def _greedy(self) -> None:
        """Ask for much, and read nothing."""
        pair = self._pairs[-2] if len(self._pairs) > 1 else None
        with _dealer(self._context, pair, self._server) as dealer:
            dealer.rcvhwm = 1
            dealer.connect(str(self._chance.choice(self._members)["address"]))
            dealer.send(encode([Get(number, LARGE.encode()) for number in range(100)]))
            time.sleep(0.05)

    def _half(self) -> None:
        """Announce a large frame, send a part, and stay."""
        raw = socket.create_connection(_place(self._port()), 2)
        self._kept.append(raw)
        raw.settimeout(0.2)
        start = self._handshake if self._chance.random() < 0.8 else greeting() + ready(b"DEALER")
        raw.sendall(start + b"\x02" + (19 << 20).to_bytes(8, "big") + bytes(2 << 20))

    def close(self) -> None:
        """Let go of everything."""
        for raw in self._kept:
            raw.close()
        self._context.destroy(0)


def _rss(hosts: Hosts) -> dict[str, int]:
    return {p.name: psutil.Process(p.popen.pid).memory_info().rss for p in hosts.processes.values()}


def play(keys: Path | None, seconds: float, seed: int) -> dict[str, Any]:
    """Attack one cluster for a while; return what came of it, `problems` among it."""
    with Hosts(2, boxes=2, colonies=8, keys=keys) as hosts, ExitStack() as stack:
        view = hosts.healthy()["view"]["number"]
        honest = Honest(hosts.addresses, keys)
        stack.callback(honest.end)
        time.sleep(min(2.0, seconds / 5))
        calm_ms, before = honest.p99_ms(), _rss(hosts)
        honest.latencies_s.clear()
        strangers = Strangers(hosts, keys, seed)
        middle: dict[str, int] = {}
        start_s = time.monotonic()
        while (passed_s := time.monotonic() - start_s) < seconds:
            if not middle and passed_s > seconds / 2:
                middle = _rss(hosts)
            strangers.step()
            time.sleep(0.01)
        strangers.close()
        time.sleep(1.0)
        honest.end()
        problems = list(honest.wrong[:5])
        problems += [f"{p.name} has ended" for p in hosts.processes.values() if not p.is_alive]
        after: dict[str, int] = {}
        if not problems:
            after = _rss(hosts)
            status = hosts.healthy()
            if status["view"]["number"] != view:
                problems.append(f"the view changed: {view} to {status['view']['number']}")
            growth = max(after[name] - before[name] for name in after)
            if growth > GROWTH_BYTES_MAX:
                problems.append(f"memory grew by {growth >> 20} MiB")
            problems += _broken(hosts, keys)
        if not honest.latencies_s or sum(honest.failed.values()) > len(honest.latencies_s) // 100:
            problems.append(f"the honest client failed: {dict(honest.failed)} of {len(honest.latencies_s)}")
        return {
            "keys": keys is not None,
            "seed": seed,
            "done": dict(strangers.done),
            "honest_calls": len(honest.latencies_s) * 2,
            "honest_failed": dict(honest.failed),
            "p99_ms": {"calm": round(calm_ms, 2), "attacked": round(honest.p99_ms(), 2)},
            "rss_mib": [{name: size >> 20 for name, size in rss.items()} for rss in (before, middle, after)],
            "problems": problems,
        }


def _broken(hosts: Hosts, keys: Path | None) -> list[str]:
    """Return what the hosts noted of machines or loops that broke."""
    found = []
    for process in hosts.processes.values():
        with colony.connect(process.address, keys=keys) as store:
            events = store.admin("events", {"after": 0, "limit": 10_000})["events"]
        found += [
            f"{process.name}: {e['kind']} {e['reason']}" for e in events if e["kind"].endswith("_broke")
        ]
    return found[:10]


def run(seconds: float, seed: int) -> list[dict[str, Any]]:
    """Attack both clusters, one after the other; print and return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        keyring.make(Path(folder) / "keys")
        results = []
        for keys in (Path(folder) / "keys", None):
            results.append(play(keys, seconds / 2, seed))
            print(json.dumps(results[-1], ensure_ascii=False), flush=True)
        return results


def main() -> int:
    """Run, print what came of it as JSON; 1 if something must not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    results = run(asked.seconds, asked.seed)
    problems = [problem for result in results for problem in result["problems"]]
    for problem in problems:
        print(f"fuzz: {problem}; again: python -m tests.fuzz --seed {asked.seed} --seconds {asked.seconds:g}")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
