"""Choice: who gets a copy, who gives one up, who leads.

Filter, order, take the first. Safety filters; then repulsion outweighs a
bad record, that outweighs memory, memory CPU, CPU traffic, and traffic what a host carries;
equal hosts go by the colony's own order of ties. The answers are pure
functions of what is passed in, so every host that knows the same chooses the
same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from placement.attraction import (
    Attraction,
    attraction,
    attraction_words,
    cpu_band,
    crowd_step,
    fill_band,
    has_room,
    traffic_band,
)
from placement.labels import Level
from placement.reasons import Choice, Shortfall, Verdict, tally
from placement.repulsion import Penalty, near_words, penalty_added, penalty_of
from placement.resources import COPY_BYTES, Candidate, format_bytes
from placement.ties import tie_order

STEP = 0.025  # of a fair weight: hosts that would weigh less than that apart are alike

Rank = tuple[Penalty, Attraction, int]


def standing(holders: Collection[str], candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the holders that stay: members that are not leaving, in the candidates' order."""
    return [host for host in candidates if host.id in holders and not host.leaving]


def choose_target(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    bytes_wanted: int = 0,
    hard: Level = Level.HOST,
    weight_max: float = 0.0,
) -> Choice:
    """Choose the host for one more copy of a colony.

    Args:
        colony: Its number.
        holders: Ids of the hosts that hold a copy or are being cloned to;
            those that leave, or are no candidates, repel nobody.
        candidates: All member hosts.
        bytes_wanted: Size of the copy; >= 0.
        hard: Sharing this level with a holder, or a nearer one, is forbidden.
        weight_max: What a host is to weigh with it at most: those well below are
            alike; 0 = those that weigh about as little as the lightest one are.

    Returns:
        The choice; without a chosen host its shortfall says why.
    """
    near = standing(holders, candidates)
    vetoes = {
        host.id: target_vetoes(host, holders, near, bytes_wanted=bytes_wanted, hard=hard)
        for host in candidates
    }
    free = [host for host in candidates if not vetoes[host.id]]
    ranks = target_ranks(colony, near, free, bytes_wanted=bytes_wanted, weight_max=weight_max)
    free.sort(key=lambda host: ranks[host.id])
    reasons = [
        Verdict(host.id, host.called, (), target_words(host, near, bytes_wanted=bytes_wanted))
        for host in free
    ]
    reasons += [Verdict(host.id, host.called, vetoes[host.id]) for host in candidates if vetoes[host.id]]
    if free:
        return Choice(free[0].id, tuple(reasons))
    because = tally([vetoes[host.id][0] for host in candidates])
    return Choice(None, tuple(reasons), Shortfall(len(near) + 1, len(near), because))


def best_target(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    bytes_wanted: int = 0,
    hard: Level = Level.HOST,
    weight_max: float = 0.0,
) -> Candidate | None:
    """Return whom `choose_target` chooses, or None, without a word on the others: at a tenth of the cost."""
    near = standing(holders, candidates)
    free = [
        host
        for host in candidates
        if host.accepts and host.id not in holders and has_room(host, bytes_wanted)
    ]
    if hard > Level.HOST:
        free = [host for host in free if not penalty_added(host, near).breaks(hard)]
    if not free:
        return None
    lightest, step = _lightest_and_step(free, bytes_wanted, weight_max)
    traffic = sum([host.traffic for host in free]) / len(free)
    best: list[Candidate] = []
    least: Attraction | None = None
    for host in least_near(free, near):
        drawn = attraction(host, bytes_wanted=bytes_wanted, lightest=lightest, step=step, traffic=traffic)
        if least is None or drawn < least:
            best, least = [host], drawn
        elif drawn == least:
            best.append(host)
    return min(best, key=lambda host: tie_order(colony, host.id))


def target_words(host: Candidate, near: Sequence[Candidate], *, bytes_wanted: int) -> tuple[str, ...]:
    """Return what speaks for and against a host for one more copy: where it stands, and what it has."""
    return near_words(host, near), *attraction_words(host, bytes_wanted=bytes_wanted)


def least_near(hosts: Sequence[Candidate], near: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return those of some hosts, at least one, that stand best apart from the holders of a colony."""
    if not near:
        return hosts
    zones = {host.labels.zone for host in near}
    if "" not in zones:
        # Nearly always there are some: so no pairs are looked at.
        apart = [host for host in hosts if host.labels.zone and host.labels.zone not in zones]
        if apart:
            return apart
    penalties = [penalty_added(host, near) for host in hosts]
    least = min(penalties)
    return [host for host, penalty in zip(hosts, penalties, strict=True) if penalty == least]


def _lightest_and_step(targets: Sequence[Candidate], bytes_wanted: int, weight_max: float) -> tuple[int, int]:
    """Return from which weight on hosts count as crowded, and by what steps."""
    if weight_max:
        step = max(COPY_BYTES, int(weight_max * STEP))
        return int(weight_max * (1 - 2 * STEP)) - bytes_wanted - COPY_BYTES, step
    return min((host.weight for host in targets), default=0), crowd_step(targets)


def target_vetoes(
    host: Candidate,
    holders: Collection[str],
    near: Sequence[Candidate],
    *,
    bytes_wanted: int,
    hard: Level = Level.HOST,
) -> tuple[str, ...]:
    """Return why a host can't take a copy, in words; the owner of a host asks this to admit one, too."""
    if host.id in holders:
        return ("holds a copy already",)
    vetoes = []
    if host.refusal:
        vetoes.append(host.refusal)
    if not has_room(host, bytes_wanted):
        vetoes.append(
            f"is full ({format_bytes(host.room or 0)} of room, {format_bytes(bytes_wanted)} wanted)"
        )
    if penalty_added(host, near).breaks(hard):
        vetoes.append(f"{near_words(host, near)}, which is forbidden")
    return tuple(vetoes)


def target_ranks(
    colony: int,
    near: Sequence[Candidate],
    targets: Sequence[Candidate],
    *,
    bytes_wanted: int,
    weight_max: float = 0.0,
) -> dict[str, Rank]:
    """Return, for each target by id, its place in the order of choice; low is first."""
    lightest, step = _lightest_and_step(targets, bytes_wanted, weight_max)
    traffic = sum(host.traffic for host in targets) / max(1, len(targets))
    return {
        host.id: (
            penalty_added(host, near),
            attraction(host, bytes_wanted=bytes_wanted, lightest=lightest, step=step, traffic=traffic),
            tie_order(colony, host.id),
        )
        for host in targets
    }


def choose_retiree(
    colony: int, holders: Collection[str], candidates: Sequence[Candidate], *, primary: str | None
) -> Choice:
    """Choose which copy of a colony goes, when it has one too many.

    Copies on leaving hosts go first, then the one without which the others
    stand best apart, then the one on the fullest, most crowded host. The
    primary is never chosen unless its host leaves (it hands over first), nor
    is the last copy of all that stays.

    Args:
        colony: Its number.
        holders: Ids of the hosts with an ACTIVE copy; ids that are no
            candidates are ignored.
        candidates: All member hosts.
        primary: Id of the host of the primary; None = there is none.
    """
    present = [host for host in candidates if host.id in holders]
    staying = standing(holders, candidates)

    def veto(host: Candidate) -> str:
        if len(present) == 1:
            return "holds the last copy"
        if host.leaving:
            return "" if staying else "leaves, but no copy would stay"
        if host.id == primary:
            return "holds the primary"
        return "holds the last copy that stays" if len(staying) == 1 else ""

    def rank(host: Candidate) -> tuple[bool, bool, Penalty, int, int, int]:
        rest = [other for other in staying if other.id != host.id]
        return (
            not host.leaving,
            host.id == primary,
            penalty_of(rest),
            -fill_band(host.fill()),
            -host.weight,
            tie_order(colony, host.id),
        )

    def terms(host: Candidate) -> tuple[str, ...]:
        rest = [other for other in staying if other.id != host.id]
        going = ("is leaving",) if host.leaving else ()
        return (*going, f"without it {penalty_of(rest).words}", *attraction_words(host, bytes_wanted=0))

    vetoes = {host.id: veto(host) for host in present}
    free = sorted((host for host in present if not vetoes[host.id]), key=rank)
    reasons = [Verdict(host.id, host.called, (), terms(host)) for host in free]
    reasons += [Verdict(host.id, host.called, (vetoes[host.id],)) for host in present if vetoes[host.id]]
    if free:
        return Choice(free[0].id, tuple(reasons))
    return Choice(None, tuple(reasons), Shortfall(1, 0, tally([vetoes[host.id] for host in present])))


def choose_successor(
    colony: int, holders: Collection[str], candidates: Sequence[Candidate], *, primary: str | None
) -> Choice:
    """Choose which secondary takes over the primary role in a planned hand-over.

    (After a death it is the census that decides, by protocol.) First a host
    with a good record, then one that is not short of memory, then one with an idle
    CPU and no more traffic than others, then the one with the fewest primaries.

    Args:
        colony: Its number.
        holders: Ids of the hosts with an ACTIVE copy.
        candidates: All member hosts.
        primary: Id of the host that gives the role up; never chosen.
    """
    present = [host for host in candidates if host.id in holders and host.id != primary]

    def veto(host: Candidate) -> str:
        if host.leaving:
            return "is leaving"
        return "is a witness and holds no cells" if host.witness else ""

    traffic = sum(host.traffic for host in present) / max(1, len(present))

    def rank(host: Candidate) -> tuple[int, int, int, int, int, int, int]:
        return (
            max(host.flaps, host.box_flaps).bit_length(),
            fill_band(host.fill()) // 2,
            cpu_band(host.cpu),
            traffic_band(host.traffic, traffic),
            host.primaries,
            host.copies,
            tie_order(colony, host.id),
        )

    free = sorted((host for host in present if not veto(host)), key=rank)
    reasons = [Verdict(host.id, host.called, (), attraction_words(host, bytes_wanted=0)) for host in free]
    reasons += [Verdict(host.id, host.called, (veto(host),)) for host in present if veto(host)]
    if free:
        return Choice(free[0].id, tuple(reasons))
    because = tally([veto(host) for host in present]) if present else "there is no secondary"
    return Choice(None, tuple(reasons), Shortfall(1, 0, because))
