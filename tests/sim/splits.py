"""The split scenarios, and what each side of them must do.

Each is a function of its seed: who is on which side, when, with two copies
or three. `python -m tests.sim.replay --seed 7 --plan majority_minority` plays
one again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.scenarios import SCENARIOS
from tests.sim.sides import Script, Trial

DOUBT_S = 4.0  # one that stalled doubts itself first, for so long
CUT_S = 1.0  # when most of them begin
LEASE_S = 0.7  # after it no lease runs any more: 0.6 s on the slowest clock
FAILOVER_S = 4.0  # silence of twice 1.2 s, a ballot, a census, a promotion
DUEL_S = 0.25  # two proposers who met: seed 40 of split_and_leave was 10 ms late by that
BROKEN_S = 6.0  # the same, for a link that is held broken after 3 s
SOLITUDE_S = 6.0  # how long a host holds, where that is the matter
MENDING_S = 1.0  # from the first link that is mended to the last
LONG_S = 8.0  # how long most cuts last
WHOLE_S = 3.0  # after the network is whole all hosts are members again, and every colony has N peers


@dataclass(frozen=True, slots=True)
class Split:
    """A scenario.

    Attributes:
        casts: Hosts to choose from.
        script: What happens, and what must hold.
        solitude_s: How long a host holds before it gives up; None = for ever.
    """

    casts: tuple[str, ...]
    script: Script
    solitude_s: float | None = None


def majority_minority(trial: Trial) -> None:
    """Two of five, or three of seven: the few hold, the many go on."""
    few, many = trial.some((len(trial.names) - 1) // 2 if trial.chance.random() < 0.5 else 1)
    heal_s = CUT_S + LONG_S
    trial.fault(CUT_S, "cut", f"{few}|{many}", LONG_S)
    trial.silent(few, CUT_S + LEASE_S, heal_s)
    trial.serves(many, CUT_S + FAILOVER_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def equal_halves(trial: Trial) -> None:
    """Half is no majority: neither side serves, no view is made, and all is as before in the end."""
    one, other = trial.some(len(trial.names) // 2)
    heal_s = CUT_S + LONG_S
    trial.fault(CUT_S, "cut", f"{one}|{other}", LONG_S)
    trial.silent(trial.names, CUT_S + LEASE_S, heal_s)
    trial.same_views(trial.names, CUT_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def isolated_primary(trial: Trial) -> None:
    """A primary that nobody hears stops before anybody takes its place."""
    primary = trial.leader()
    others = trial.names.replace(primary, "")
    heal_s = CUT_S + LONG_S
    trial.fault(CUT_S, "cut", f"{primary}|{others}", LONG_S)
    trial.silent(primary, CUT_S + LEASE_S, heal_s)
    trial.serves(others, CUT_S + FAILOVER_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def one_way_cut(trial: Trial) -> None:
    """A host that hears all and is heard by none, or by all but one, or the other way round."""
    odd, others = trial.some(1)
    inward = trial.chance.random() < 0.5
    heal_s = CUT_S + LONG_S
    if trial.chance.random() < 0.5:
        cut = " ".join(f"{other}>{odd}" if inward else f"{odd}>{other}" for other in others)
        trial.silent(odd, CUT_S + LEASE_S, heal_s, keeps=inward)  # or it hears that it is dead
        trial.serves(others, CUT_S + BROKEN_S, heal_s)
    else:
        other, _ = trial.some(1, others)
        cut = f"{other}>{odd}" if inward else f"{odd}>{other}"
        stay = trial.survivors(cut)
        trial.serves(stay, CUT_S + BROKEN_S, heal_s)
        trial.same_views(stay, CUT_S + BROKEN_S, heal_s)
    trial.fault(CUT_S, "cut", cut, LONG_S)
    trial.whole(heal_s + WHOLE_S)


def broken_link(trial: Trial) -> None:
    """Two that don't hear each other, heard by all: the largest connected majority stays, without ado."""
    pair, _ = trial.some(2)
    cut = f"{pair[0]}-{pair[1]}"
    stay = trial.survivors(cut)
    out = "".join(name for name in trial.names if name not in stay)
    for_s = LONG_S + 6.0
    heal_s = CUT_S + for_s
    trial.fault(CUT_S, "cut", cut, for_s)
    trial.serves(stay, CUT_S + BROKEN_S, heal_s)
    trial.same_views(trial.names, CUT_S + BROKEN_S, heal_s)
    trial.quiet(out, CUT_S + BROKEN_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def ring_of_cuts(trial: Trial) -> None:
    """Each has lost two neighbours, and no majority hears each other: nobody is dropped, nothing is lost.

    Nor is anybody as the links come back one by one, and some majority is the first to hear each other.
    """
    ring = trial.names
    cuts = [f"{a}-{b}" for a, b in zip(ring, ring[1:] + ring[0], strict=True)]
    assert not trial.survivors(" ".join(cuts)), "no majority of a ring is connected"
    for cut in cuts:
        trial.fault(CUT_S, "cut", cut, LONG_S + trial.chance.uniform(0.0, MENDING_S))
    heal_s = CUT_S + LONG_S + MENDING_S
    trial.same_views(trial.names, CUT_S, heal_s + WHOLE_S)
    if len(ring) == 4:  # each hears one of three: no majority
        trial.silent(trial.names, CUT_S + LEASE_S, CUT_S + LONG_S)
    trial.whole(heal_s + WHOLE_S)


def flapping_link(trial: Trial) -> None:
    """A link (or a host) that comes and goes: soon it goes on without changing views all the time."""
    one, others = trial.some(1)
    other, _ = trial.some(1, others)
    cut = f"{one}|{others}" if trial.chance.random() < 0.5 else f"{one}-{other}"
    down_s, up_s = trial.chance.uniform(0.5, 6.0), trial.chance.uniform(0.5, 6.0)
    at_s, length_s = 0.5, 120.0
    while at_s < length_s:
        trial.fault(at_s, "cut", cut, down_s)
        at_s += down_s + up_s
    trial.at_most_views(6, 30.0, length_s)  # one in 5 s; a flap makes three at once
    trial.length_s += 32.0  # the longest that a flapping host waits
    trial.whole(trial.length_s + WHOLE_S)


def split_and_kill(trial: Trial) -> None:
    """One of the many dies: they go on if those left are a majority of what they are by then."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    victim, left = trial.some(1, many)
    late = trial.chance.random() < 0.5
    heal_s = CUT_S + 2 * LONG_S
    trial.fault(CUT_S, "cut", f"{few}|{many}", 2 * LONG_S)
    trial.silent(few, CUT_S + LEASE_S, heal_s)
    if late:  # the few are dropped by then
        trial.fault(CUT_S + FAILOVER_S + 1.0, "kill", victim)
        trial.serves(many, CUT_S + FAILOVER_S, CUT_S + FAILOVER_S + 1.0)
        trial.serves(left, CUT_S + 2 * FAILOVER_S + 1.0, heal_s)
    else:
        trial.fault(CUT_S + 0.2, "kill", victim)
        trial.silent(left, CUT_S + 0.2 + LEASE_S, heal_s)
    trial.whole(heal_s + WHOLE_S + (0.0 if late else FAILOVER_S))


def split_and_join(trial: Trial) -> None:
    """A host knocks during the split: on the side of the many it enters, on the other it waits."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    with_many = trial.chance.random() < 0.5
    heal_s = CUT_S + LONG_S
    groups = (few, many + "X") if with_many else (few + "X", many)
    trial.fault(CUT_S, "cut", "|".join(groups), LONG_S)
    trial.fault(CUT_S + trial.chance.uniform(0.2, 3.0), "join", "X")
    trial.silent(few, CUT_S + LEASE_S, heal_s)
    trial.serves(groups[1], CUT_S + FAILOVER_S + 2.0, heal_s)
    trial.whole(heal_s + WHOLE_S)


def split_and_leave(trial: Trial) -> None:
    """A host is told to leave during the split: of the many it may, of the few it can't before the end."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    of_many = trial.chance.random() < 0.5
    leaver, _ = trial.some(1, many if of_many else few)
    heal_s = CUT_S + 2 * LONG_S
    trial.fault(CUT_S, "cut", f"{few}|{many}", 2 * LONG_S)
    trial.fault(CUT_S + FAILOVER_S + 1.0, "leave", leaver)
    trial.silent(few, CUT_S + LEASE_S, heal_s)
    if of_many:
        trial.serves(many.replace(leaver, ""), CUT_S + 2 * FAILOVER_S + 2.0, heal_s)
    else:
        trial.serves(many, CUT_S + FAILOVER_S + DUEL_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def pause_across_split(trial: Trial) -> None:
    """A host stops before the split, and wakes up in the middle of it, on either side."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    sleeper, _ = trial.some(1)
    heal_s = CUT_S + 2 * LONG_S
    trial.fault(CUT_S, "cut", f"{few}|{many}", 2 * LONG_S)
    trial.fault(CUT_S - trial.chance.uniform(0.05, 0.8), "pause", sleeper, trial.chance.uniform(1.0, 8.0))
    trial.silent(few.replace(sleeper, ""), CUT_S + LEASE_S, heal_s)
    if sleeper in few:  # orders to free something may still lie in its sockets
        trial.silent(sleeper, CUT_S + LEASE_S, heal_s, keeps=False)
    trial.serves(many, CUT_S + 8.0 + DOUBT_S + FAILOVER_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def clock_jumps(trial: Trial) -> None:
    """Clocks as bad as the protocol allows: as fast as may be, and from one moment to the next as slow."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    heal_s = CUT_S + LONG_S
    for name in trial.names:
        for at_s in (0.1, CUT_S, CUT_S + trial.chance.uniform(0.0, 4.0), heal_s):
            trial.at(at_s, trial.warp, name, trial.chance.choice((0.95, 1.05)))
    trial.fault(CUT_S, "cut", f"{few}|{many}", LONG_S)
    trial.silent(few, CUT_S + LEASE_S, heal_s)
    trial.serves(many, CUT_S + FAILOVER_S, heal_s)
    trial.whole(heal_s + WHOLE_S)


def majority_lost(trial: Trial) -> None:
    """Three of five die at once; an operator has the others go on. What comes back of the dead joins them."""
    few, many = trial.some(2)
    recover_s = CUT_S + LONG_S
    back = trial.chance.random() < 0.5
    if back:
        trial.fault(CUT_S, "crash", many, LONG_S + FAILOVER_S)
    else:
        trial.fault(CUT_S, "kill", many)
    trial.silent(few, CUT_S + LEASE_S, recover_s)
    trial.fault(recover_s, "recover", few[0])
    trial.serves(few, recover_s + WHOLE_S, recover_s + FAILOVER_S)
    trial.at(recover_s + WHOLE_S, trial.expect_said, few, ("generation",))
    trial.whole(recover_s + FAILOVER_S + WHOLE_S)


def solitude(trial: Trial) -> None:
    """The few hold, write down what they have to give up, and end with a status of their own."""
    few, many = trial.some((len(trial.names) - 1) // 2)
    heal_s = CUT_S + 2 * LONG_S
    trial.fault(CUT_S, "cut", f"{few}|{many}", 2 * LONG_S)
    trial.silent(few, CUT_S + LEASE_S, CUT_S + SOLITUDE_S)
    trial.serves(many, CUT_S + FAILOVER_S, heal_s)
    trial.at(heal_s, trial.expect_said, few, ("hold", "halt 5"))
    trial.whole(heal_s + WHOLE_S)


_SMALL = ("ABC", "ABCD", "ABCDE")
_FIVE = ("ABCDE", "ABCDEFG")

SPLITS: dict[str, Split] = {
    "majority_minority": Split(("ABC", "ABCDE", "ABCDE", "ABCDEFG"), majority_minority),
    "equal_halves_4": Split(("ABCD",), equal_halves),
    "equal_halves_6": Split(("ABCDEF",), equal_halves),
    "isolated_primary": Split(_SMALL, isolated_primary),
    "one_way_cut": Split(_SMALL, one_way_cut),
    "broken_link": Split(_SMALL, broken_link),
    "ring_of_cuts": Split(("ABCD", "ABCDE", "ABCDEF"), ring_of_cuts),
    "flapping_link": Split(("ABC", "ABCD"), flapping_link),
    "split_and_kill": Split(_FIVE, split_and_kill),
    "split_and_join": Split(("ABC", "ABCDE"), split_and_join),
    "split_and_leave": Split(_FIVE, split_and_leave),
    "pause_across_split": Split(_FIVE, pause_across_split),
    "clock_jumps": Split(("ABC", "ABCDE"), clock_jumps),
}
assert tuple(SPLITS) == SCENARIOS
SPLITS |= {
    "majority_lost": Split(("ABCDE",), majority_lost),
    "solitude": Split(("ABC", "ABCDE"), solitude, SOLITUDE_S),
}
