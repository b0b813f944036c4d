"""Stages of a host's membership, and the numbers that pace them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agents.views import Charter, View


class Stage(Enum):
    """How far a host has come; strictly ordered, but for HOLD."""

    ZOMBIE = "ZOMBIE"
    DISCOVERY = "DISCOVERY"
    ELECTION = "ELECTION"
    VERIFICATION = "VERIFICATION"
    COMMIT = "COMMIT"
    HOLD = "HOLD"


# What speaks of a later view mostly has that view on its heels: so long nobody asks for it.
AHEAD_S = 0.02

FORCED = "a new generation is forced, by an operator or because availability comes first"

# From each stage: where it may go, and when. The docs' diagram is drawn from this.
EDGES: dict[Stage, dict[Stage, str]] = {
    Stage.ZOMBIE: {
        Stage.DISCOVERY: "a cluster was found, or the record names one",
        Stage.COMMIT: "the first view was installed",
    },
    Stage.DISCOVERY: {
        Stage.ELECTION: "a majority of the last view is here again, or it is time to try again",
        Stage.COMMIT: "a view that lists this host was installed",
        Stage.HOLD: "still a member, but of no majority",
        Stage.VERIFICATION: FORCED,
    },
    Stage.ELECTION: {
        Stage.DISCOVERY: "no majority promised in time, or somebody else goes first",
        Stage.VERIFICATION: "a majority promised",
        Stage.COMMIT: "a view was installed meanwhile",
    },
    Stage.VERIFICATION: {
        Stage.ELECTION: "no majority accepted in time, or somebody else goes first",
        Stage.DISCOVERY: "the chosen view does not list this host",
        Stage.COMMIT: "the chosen view was installed",
    },
    Stage.COMMIT: {
        Stage.ELECTION: "a change of the view is due",
        Stage.VERIFICATION: FORCED,
        Stage.HOLD: "quorum was lost",
        Stage.DISCOVERY: "dropped from the view",
    },
    Stage.HOLD: {
        Stage.COMMIT: "quorum came back",
        Stage.ELECTION: "a majority is in reach again",
        Stage.VERIFICATION: FORCED,
        Stage.DISCOVERY: "dropped from the view",
    },
}

MEMBER_STAGES = frozenset(
    stage.value for stage in (Stage.ELECTION, Stage.VERIFICATION, Stage.COMMIT, Stage.HOLD)
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of one host; what all hosts must agree on is in the charter.

    Attributes:
        seeds: Addresses given at the start; the shell greets them and tells
            with `SeedFound` who is there.
        expect: Found a cluster once so many zombies see each other; 0 = wait
            for an operator's init.
        charter: Of a cluster founded because of `expect`.
        step_s: What the n-th in seniority waits n times before it proposes;
            some ten round trips of a LAN, and above a loop turn.
        settle_s: Wait before a change that is not urgent, so that several
            joiners enter by one view.
        gather_s: Longest wait for promises beyond a majority.
        election_s: Patience for promises, and again for acceptances; above
            the 330 ms that a thread hogging the GIL was seen to cost.
        back_off_s: Unit of the wait before the next ballot, doubled each time.
        knock_s: Time between knocks, and between repeats of a wish.
        restart_s: How long a restarted host gathers others before it proposes.
        contact_s: A stranger silent for so long is hung up on.
        probe_s: Time between looks at a suspect's process.
        solitude_limit_s: HOLD for so long ends the process; None = never.
        left_limit_s: Longest wait for somebody to confirm that we left.
        founding_s: Patience for zombies' answers; also between tries.
        founding_forget_s: A promise to a founder that is never heard of again
            ends after this, so that another init can be obeyed.
        contacts_max: Hosts known at a time; members are known beyond it.
        refused_s: Longest wait while everybody asked says no; above the 2 to
            3 s after which a dead host that bears our name is held dead.
    """

    seeds: tuple[str, ...] = ()
    expect: int = 0
    charter: Charter = Charter()
    step_s: float = 0.05
    settle_s: float = 0.075
    gather_s: float = 0.05
    election_s: float = 0.5
    back_off_s: float = 0.05
    knock_s: float = 0.25
    restart_s: float = 0.5
    contact_s: float = 15.0
    probe_s: float = 0.025
    solitude_limit_s: float | None = 600.0
    left_limit_s: float = 30.0
    founding_s: float = 0.5
    founding_forget_s: float = 30.0
    contacts_max: int = 1024
    refused_s: float = 5.0

    def __post_init__(self) -> None:
        if self.expect < 0:
            raise ValueError("expect must be 0 or more hosts")
        if self.solitude_limit_s is not None and self.solitude_limit_s <= 0:
            raise ValueError("solitude_limit_s must be above 0, or None")


def hold_reason(view: View) -> str:
    """Return what a member without a majority waits for, and what may be done about it."""
    size = len(view.members)
    text = f"a majority of its view: {view.majority} of {size} hosts"
    if size == 2:
        text += " (with two hosts that is both: a third, even a --witness, would have been enough)"
    if view.charter.is_available:
        return text + "; this side goes on by itself as soon as the others are given up"
    return text + "; start the missing ones, or, if they are gone for good, `colony recover --force`"
