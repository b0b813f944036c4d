"""The scenarios of `tests.scenarios`, as they are played with real hosts; and of sides that go on alone.

Each gets a round with a healthy cluster, makes and mends its faults, and says
which clients must be refused meanwhile. That nothing is lost, stale or done
twice, and that all is well again soon, is judged for all of them alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from tests.faults.available import HOSTS, available_split
from tests.faults.enter import MERGES
from tests.faults.rounds import HASTY_S, PATIENT_S, Round, Scenario
from tests.real.hosts import until
from tests.scenarios import SCENARIOS

FLAP_BRIEF_S, FLAP_S, FLAP_LONG_S = 5.0, 10.0, 120.0
FLAP_FROM_S, FLAP_EVERY_S = 60.0, 5.0  # after the first minute: a view change per link in so long, at most
JUMPS_S = (-0.7, 0.7, -60.0, 60.0, -3600.0, 3600.0, -86400.0, 86400.0, 3.2e8)


def majority_minority(round: Round) -> None:
    """A minority of one or two hosts with a client is cut off from the majority with another."""
    few = round.few()
    round.load(c1=PATIENT_S, c2=HASTY_S)
    round.split([*few, "c2"], [*round.others(*few), "c1"])
    round.wait(3.0, 5.0)
    round.refused("c2")
    round.heal()
    round.healed()


def isolated_primary(round: Round) -> None:
    """The host with most primaries is cut off, with its client."""
    leads = round.cluster.leads()
    alone = max(sorted(leads), key=lambda name: len(leads[name]))
    round.load(c1=PATIENT_S, c2=HASTY_S)
    round.split([alone, "c2"], [*round.others(alone), "c1"])
    round.wait(2.5, 5.0)
    round.refused("c2")
    round.heal()
    round.healed()


def equal_halves(round: Round) -> None:
    """Neither half serves, and nobody is dropped: when they meet again they just go on."""
    half = len(round.names) // 2
    round.load(c1=HASTY_S, c2=HASTY_S)
    round.split([*round.names[:half], "c1"], [*round.names[half:], "c2"])
    round.wait(2.5, 6.0)
    round.refused("c1")
    round.refused("c2")
    round.heal()
    round.healed()
    round.require(round.cluster.view() == round.view, "equal halves met again, and somebody was dropped")


def one_way_cut(round: Round) -> None:
    """One host is deaf, or mute, or cannot speak to just one other; clients reach all that they did."""
    victim, other = round.names[:2]
    kind = round.chance.choice(["deaf", "mute", "pair"])
    rest = round.others(victim)
    round.load(c1=PATIENT_S, c2=PATIENT_S)
    if kind == "deaf":
        round.cluster.network.cut_one_way(*[(name, victim) for name in rest])
    elif kind == "mute":
        round.cluster.network.cut_one_way(*[(victim, name) for name in rest])
    else:
        round.cluster.network.cut_one_way(victim, other)
    round.wait(4.5, 6.0)
    round.heal()
    round.healed()


def broken_link(round: Round) -> None:
    """Two hosts hear each other no more, while all others hear both."""
    round.load(c1=PATIENT_S, c2=PATIENT_S)
    round.cluster.network.cut(*round.names[:2])
    round.wait(5.0, 7.0)
    round.heal()
    round.healed()


def ring_of_cuts(round: Round) -> None:
    """Each host lost its link to the next in a ring: no majority is fully connected."""
    ring = round.names
    round.load(c1=HASTY_S, c2=HASTY_S)
    round.cluster.network.cut(*zip(ring, [*ring[1:], ring[0]], strict=True))
    round.wait(4.0, 6.0)
    round.heal()
    round.healed()
    round.require(round.cluster.view() == round.view, "links came back, and somebody was dropped")


def flapping_link(round: Round) -> None:
    """The link between two hosts comes and goes."""
    pair = round.names[0], round.names[1]
    round.load(c1=PATIENT_S)
    began_s = time.monotonic()
    views: list[tuple[float, int]] = []
    flaps_s = FLAP_LONG_S if round.pace.long else FLAP_BRIEF_S if round.pace.brief else FLAP_S
    while (at_s := time.monotonic() - began_s) < flaps_s:
        round.cluster.network.cut(*pair)
        time.sleep(round.chance.uniform(0.1, 1.5))
        round.cluster.network.mend(*pair)
        time.sleep(round.chance.uniform(0.1, 1.5))
        views.append((at_s, round.cluster.view()))
    late = [view for at_s, view in views if at_s >= FLAP_FROM_S]
    if late:
        allowed = (FLAP_LONG_S - FLAP_FROM_S) / FLAP_EVERY_S
        changes = late[-1] - late[0]
        round.require(changes <= allowed, f"{changes} view changes, {allowed:.0f} allowed: {views}")
    round.heal()
    round.healed()


def split_and_kill(round: Round) -> None:
    """During a split a host dies, on either side, and comes back with its state directory or without."""
    cluster = round.cluster
    few = round.few()
    on_few = round.chance.random() < 0.4
    round.load(c1=PATIENT_S, c2=HASTY_S)
    round.split([*few, "c2"], [*round.others(*few), "c1"])
    if on_few:
        doomed = few[0]
        round.wait(0.5, 3.0)
    else:
        stay = round.others(*few)
        until(lambda: cluster.goes_on(stay), "the majority goes on with all its copies")
        doomed = round.chance.choice([name for name in stay if cluster.may_lack([*few, name])] or stay)
    old = cluster.processes[doomed]
    cluster.kill(doomed)
    round.wait(2.0, 4.0)
    round.refused("c2", stale=not on_few)
    if round.chance.random() < 0.5:
        round.cluster.forget(doomed)
    is_first = round.chance.random() < 0.5
    if is_first:
        cluster.start(name=doomed, box=old.box)
        round.wait(0.2, 1.5)
    round.heal()
    if not is_first:
        cluster.start(name=doomed, box=old.box)
    round.healed()


def split_and_join(round: Round) -> None:
    """During a split a new host comes, which reaches one side only; when all is well it leaves again."""
    cluster = round.hosts()
    few = round.few()
    rest = round.others(*few)
    name = next(node for node in round.cluster.network.nodes if node not in (*few, *rest))
    round.load(c1=PATIENT_S, c2=HASTY_S)
    sides = [[*few, "c2"], [*rest, "c1"]]
    sides[round.chance.random() < 0.6].append(name)
    round.split(*sides)
    round.wait(0.1, 2.0)
    round.cluster.start(name=name)
    round.wait(3.0, 4.0)
    round.refused("c2")
    round.heal()
    round.healed()
    status = cluster.terminate(name)
    round.require(status == 0, f"{name} ended with status {status} as it left")
    cluster.healthy()


def split_and_leave(round: Round) -> None:
    """During a split a host is told to leave, on either side; later it comes back."""
    cluster = round.hosts()
    few = round.few()
    rest = round.others(*few)
    on_few = round.chance.random() < 0.4
    leaver = few[0] if on_few else round.chance.choice(rest)
    box = cluster.processes[leaver].box
    round.load(c1=PATIENT_S, c2=HASTY_S)
    round.split([*few, "c2"], [*rest, "c1"])
    round.wait(0.2, 3.0)
    cluster.ask_to_leave(leaver)
    round.wait(3.0, 4.0)
    round.refused("c2")
    round.heal()
    began_s = time.monotonic()
    status = cluster.gone(leaver)
    round.require(
        status == 0, f"{leaver} ended with status {status}, {time.monotonic() - began_s:.1f} s later"
    )
    round.healed()
    cluster.forget(leaver)
    cluster.start(name=leaver, box=box)
    cluster.healthy()


def pause_across_split(round: Round) -> None:
    """A host is stopped before another is cut off, and resumed before or after all is mended."""
    for _ in range(50):
        paused, alone = round.chance.sample(round.names, 2)
        if round.cluster.may_lack([paused, alone]):
            break
    else:
        raise AssertionError("no two hosts may be away together")
    round.load(c1=PATIENT_S, c2=HASTY_S)
    round.cluster.stop(paused)
    round.wait(0.0, 1.5)
    round.split([alone, "c2"], [*round.others(alone), "c1"], asleep=[paused])
    round.wait(1.5, 4.0)
    is_early = round.chance.random() < 0.5
    if is_early:
        round.cluster.resume(paused)
        round.wait(0.2, 1.0)
    round.refused("c2")
    round.heal()
    if not is_early:
        round.wait(0.0, 1.0)
        round.cluster.resume(paused)
    round.healed()


def clock_jumps(round: Round) -> None:
    """Wall clocks jump, of hosts and clients: nothing follows from that, and cells live their time."""
    admin = round.hosts().admin if round.cluster.promises else None  # a rival's cells live for ever here
    if admin is not None:
        reader = round.cluster.clients["c1"]
        reader.call("set", key=f"long-{round.seed}", value="stays", ttl=600)
    round.load(c1=PATIENT_S, c2=PATIENT_S)
    reader_s = time.monotonic()
    if admin is not None:
        admin.set(f"brief-{round.seed}", "goes", ttl=2.0)
    view = round.cluster.view()
    while time.monotonic() < reader_s + 4.0:
        for name in round.chance.sample([*round.names, "c1", "c2"], 3):
            round.cluster.jump(name, round.chance.choice(JUMPS_S))
        round.wait(0.1, 0.6)
    round.require(round.cluster.view() == view, "a jump of wall clocks changed the view")
    if admin is not None:
        round.require(admin.get(f"brief-{round.seed}") is None, "a cell outlived its time")
        round.require(admin.get(f"long-{round.seed}") == "stays", "a cell died before its time")
    for name in (*round.names, "c1", "c2"):
        round.cluster.jump(name, 0.0)
    round.healed()


@dataclass(frozen=True)
class Play:
    """How a scenario is played: by what, and with how many hosts."""

    scenario: Scenario
    hosts: int = 5
    boxes: int = 3
    peers: int = 0  # 0 = as many copies as are asked for
    options: tuple[str, ...] = ()  # of all hosts


PLAYS: dict[str, Play] = {
    "majority_minority": Play(majority_minority),
    "equal_halves_4": Play(equal_halves, hosts=4, boxes=4),
    "equal_halves_6": Play(equal_halves, hosts=6),
    "isolated_primary": Play(isolated_primary),
    "one_way_cut": Play(one_way_cut),
    "broken_link": Play(broken_link),
    "ring_of_cuts": Play(ring_of_cuts),
    "flapping_link": Play(flapping_link),
    "split_and_kill": Play(split_and_kill),
    "split_and_join": Play(split_and_join),
    "split_and_leave": Play(split_and_leave),
    "pause_across_split": Play(pause_across_split),
    "clock_jumps": Play(clock_jumps),
}
assert tuple(PLAYS) == SCENARIOS, "the scenarios of tests.scenarios, all of them"
PLAYS |= {
    f"available_{policy}": Play(
        partial(available_split, policy=policy),
        hosts=HOSTS,
        boxes=HOSTS,
        peers=HOSTS,
        options=("--quorum", "available", "--merge", policy),
    )
    for policy in ("latest", "winner", MERGES)
}
