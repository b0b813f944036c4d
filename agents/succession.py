"""Succession: what the next view is, given what a proposer knows.

Pure functions. Only a *free* proposer comes here: one whose promises hold an
accepted value proposes that value, whatever it knows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from agents.messages.membership import Wish
from agents.views import Member, Status, View
from agents.wishes import FREEZES

ABSENT_MAX = 64  # looked for at a time: as many as one view lists in most clusters
GONE_MAX = 64  # drops remembered in a view: as many as flap in a bad hour, at 3 KB
EVICTED = "evicted: "  # so begin the reasons of deaths that an operator ordered
BRANCHES_MAX = 4096  # of the search for the largest connected set; beyond it, greedy


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a free proposer knows when it has its promises.

    Attributes:
        promises: Acceptor -> the members that it hears (itself too, if its
            incarnation is the listed one).
        said: Member -> whom it hears by its last fresh heartbeat.
        attested: Members whose listed incarnation is surely gone.
        wishes: Changes asked for.
        joiners: Who knocked, is linked to the proposer and may enter.
        hears: Joiner -> whom it hears; one that said nothing is asked no question.
        broken: Links are broken for long: keep only a fully connected set.
        flaps: Host -> how often it was held dead of late.
    """

    promises: Mapping[str, frozenset[str]]
    said: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attested: frozenset[str] = frozenset()
    wishes: Sequence[Wish] = ()
    joiners: Sequence[Member] = ()
    hears: Mapping[str, frozenset[str]] = field(default_factory=dict)
    broken: bool = False
    flaps: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The next view (None = there is nothing to change), and why.

    Attributes:
        left_out: Whom the rule of the largest connected majority leaves out.
        waits: More promises would help: those that promised would be no
            majority of the next view.
    """

    view: View | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    waits: bool = False


def successor(view: View, evidence: Evidence, number: int = 0) -> Plan:
    """Return the view after `view` as a free proposer proposes it.

    Args:
        number: Id of the new view; 0 = the next number.
    """
    wished: dict[tuple[str, str, int], Wish] = {
        (wish.kind, wish.host, wish.incarnation): wish for wish in evidence.wishes
    }
    left: list[Member] = []
    dead: dict[str, str] = {}
    stay: list[Member] = []
    for member in view.members:
        because = _why_dead(member, evidence, wished)
        if ("left", member.id, member.incarnation) in wished and member.status is Status.LEAVING:
            left.append(member)
        elif because:
            dead[member.id] = because
        else:
            stay.append(member)
    left_out: frozenset[str] = frozenset()
    if evidence.broken:
        left_out = _left_out(view, [member.id for member in stay], evidence)
        dead.update(dict.fromkeys(left_out, "not connected to all of the largest connected majority"))
        stay = [member for member in stay if member.id not in left_out]
    joiners = _admitted(view, stay, evidence)
    members = [_with_status(member, wished) for member in stay]
    number_given, number = number != 0, number or view.id + 1
    enters = Status.JOINING if any(member.status is Status.ACTIVE for member in members) else Status.ACTIVE
    members += [msgspec.structs.replace(joiner, status=enters, entered=number) for joiner in joiners]
    members.sort(key=lambda member: seniority(member, evidence.flaps))
    recount = any(wish.kind == "recount" and wish.view == view.id for wish in evidence.wishes)
    # An order that alone is new, for flaps are forgotten, is no reason for a view.
    same = sorted(members, key=lambda m: m.id) == sorted(view.members, key=lambda m: m.id)
    freezes = max([view.freezes, *(w.count for w in evidence.wishes if w.kind in FREEZES)])
    same = same and freezes == view.freezes
    if not members or (same and not recount):
        return Plan(None, left_out=left_out)
    if not number_given and stay and not is_carried(view, members, evidence.promises):
        return Plan(None, left_out=left_out, waits=True)
    left_keys = tuple((member.id, member.incarnation) for member in left)
    dead_keys = tuple((member.id, member.incarnation) for member in view.members if member.id in dead)
    gone = remembered(view.gone, left_keys + dead_keys)
    flaps = tuple(sorted(evidence.flaps.items(), key=lambda pair: (-pair[1], pair[0]))[:GONE_MAX])
    after = View(
        view.tag, number, view.charter, tuple(members), left_keys, dead_keys, gone, flaps, view.forks
    )
    after = msgspec.structs.replace(after, freezes=freezes)
    if view.charter.is_available:
        after = msgspec.structs.replace(after, absent=_absent(view, after, evidence, wished))
    return Plan(after, dead, left_out)


def _absent(
    view: View, after: View, evidence: Evidence, wished: Mapping[tuple[str, str, int], Wish]
) -> tuple[Member, ...]:
    """Return who may be alive on another side: held dead, but not surely dead, and not back."""
    absent = {member.id: member for member in view.absent}
    for member in view.members:
        sure = member.id in evidence.attested or ("dead", member.id, member.incarnation) in wished
        if (member.id, member.incarnation) in after.dead and not sure:
            absent[member.id] = member
    return tuple(member for host, member in absent.items() if after.member(host) is None)[-ABSENT_MAX:]


def seniority(member: Member, flaps: Mapping[str, int]) -> tuple[int, int, str]:
    """Return the place of a member in a view: those that flap last, then by entry, then by id.

    A first death is no flapping (perhaps it was a restart). The proposer's word on flaps is in the
    view, so all have the same order, whatever they remember themselves.
    """
    return max(0, flaps.get(member.id, 0) - 1), member.entered, member.id


def remembered(
    gone: tuple[tuple[str, int], ...], dropped: tuple[tuple[str, int], ...]
) -> tuple[tuple[str, int], ...]:
    """Return the last drops, one per host id, newest last, bounded."""
    last = dict(gone)
    for host, incarnation in dropped:
        last[host] = max(incarnation, last.pop(host, 0))
    return tuple(last.items())[-GONE_MAX:]


def namesake(view: View, joiner: Member) -> Member | None:
    """Return another member of the view that bears the joiner's name, or None."""
    for member in view.members:
        if member.name == joiner.name and member.id != joiner.id:
            return member
    return None


def too_old(view: View, host: str, incarnation: int) -> bool:
    """Return whether this incarnation was dropped, or overtaken by a later one."""
    member = view.member(host)
    if member is not None and member.incarnation > incarnation:
        return True
    return any(gone == host and last >= incarnation for gone, last in view.gone)


def largest_connected(hosts: Sequence[str], missing: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the largest set of hosts in which no pair is missing.

    Args:
        hosts: Most senior first; of equally large sets, the one with the
            most senior members wins.
        missing: Pairs that are not joined, the senior one first.

    Source:
        Branching on one missing pair at a time: as links rarely break, few
        pairs are missing. Beyond `BRANCHES_MAX` branches the best set found
        so far is taken.
    """
    if not missing:
        return tuple(hosts)
    rank = {host: place for place, host in enumerate(hosts)}
    best: tuple[int, list[int]] = (1, [])
    stack: list[frozenset[str]] = [frozenset(hosts)]
    seen: set[frozenset[str]] = set()
    for _ in range(BRANCHES_MAX):
        if not stack:
            break
        kept = stack.pop()
        if kept in seen or -len(kept) > best[0]:
            continue
        seen.add(kept)
        pair = next(((a, b) for a, b in missing if a in kept and b in kept), None)
        if pair is None:
            best = min(best, (-len(kept), sorted(rank[host] for host in kept)))
        else:
            stack.append(kept - {pair[0]})  # the junior stays: looked at last
            stack.append(kept - {pair[1]})
    return tuple(hosts[place] for place in best[1])


def _why_dead(member: Member, evidence: Evidence, wished: Mapping[tuple[str, str, int], Wish]) -> str:
    """Return why a member is dropped as dead; "" = it is not."""
    if member.id in evidence.attested or ("dead", member.id, member.incarnation) in wished:
        return "its death is attested"
    evicted = wished.get(("evict", member.id, member.incarnation))
    if evicted is not None:
        return f"{EVICTED}{evicted.reason}"
    if any(member.id in hears for hears in evidence.promises.values()):
        return ""
    return "no promising acceptor hears it"


def connected(hosts: Sequence[str], words: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the largest set of hosts that all hear each other, by their words.

    Args:
        words: Host -> whom it hears; one that said nothing is asked no question.
    """
    rank = {host: place for place, host in enumerate(hosts)}
    everybody = frozenset(hosts)
    # By sets: nearly all hear each other, and of pairs there are many. Once for each set: many are the same.
    sets = {id(word): word for word in words.values()}
    missed = {one: everybody.difference(word) for one, word in sets.items()}
    pairs = {
        (min(rank[a], rank[b]), max(rank[a], rank[b]))
        for a in hosts
        if a in words
        for b in missed[id(words[a])]
        if a != b
    }
    return largest_connected(hosts, [(hosts[a], hosts[b]) for a, b in sorted(pairs)])


def _left_out(view: View, stay: Sequence[str], evidence: Evidence) -> frozenset[str]:
    """Return whom the rule of the largest connected majority leaves out."""
    kept = connected(stay, {**evidence.said, **evidence.promises})
    if len(kept) < view.majority:
        return frozenset()
    return frozenset(stay) - frozenset(kept)


def demoted(before: View, after: View) -> list[tuple[str, int]]:
    """Return (name, flaps) of members that a view puts behind others for flaps, as the last did not."""
    flaps = dict(after.flaps)
    last = {host for host, count in before.flaps if count > 1}
    return [
        (member.name, flaps[member.id])
        for member in after.members
        if flaps.get(member.id, 0) > 1 and member.id not in last
    ]


def is_carried(view: View, members: Collection[Member], promised: Collection[str]) -> bool:
    """Return whether those that promised are a majority of those that the next view keeps, newcomers aside.

    A restarted, B promised with it, C is silent: in a view of B and C alone, B could never drop C if
    that is dead as well.
    """
    kept = [member.id for member in members if view.member(member.id) is not None]
    return 2 * sum(host in promised for host in kept) > len(kept)


def newcomers_max(view: View, stay: Collection[str], promised: Collection[str]) -> int:
    """Return how many hosts that were never in this view its successor may admit.

    Those that have just promised must be a majority of the next view: if all newcomers die on arrival,
    the others can still drop them. One host alone has no other way to grow than by one.

    Args:
        stay: Members of `view` that the successor lists, under whatever incarnation.
        promised: Acceptors that promised.
    """
    if not stay:  # an operator had the last one evicted: somebody must go on
        return len(view.members)
    alive = sum(host in stay for host in promised)
    return max(2 * alive - 1 - len(stay), int(len(stay) == 1))


def _admitted(view: View, stay: Collection[Member], evidence: Evidence) -> list[Member]:
    """Return the joiners that may enter: new incarnations, own names, in touch with all, and not too many."""
    ids = {member.id for member in stay}
    names = {member.name for member in stay}
    members = frozenset(ids)
    known = frozenset(view.ids)
    back = {joiner.id for joiner in evidence.joiners if joiner.id in known}
    room = newcomers_max(view, ids | back, evidence.promises)
    admitted: list[Member] = []
    for joiner in sorted(evidence.joiners, key=lambda member: (member.id not in known, member.id)):
        if joiner.id in ids or joiner.name in names or too_old(view, joiner.id, joiner.incarnation):
            continue
        if joiner.id not in known:
            if room <= 0 or not members <= evidence.hears.get(joiner.id, members):
                continue
            room -= 1
        ids.add(joiner.id)
        names.add(joiner.name)
        admitted.append(joiner)
    return admitted


def _with_status(member: Member, wished: Mapping[tuple[str, str, int], Wish]) -> Member:
    """Return the member with the status that is wished for it."""
    status = member.status
    if ("leave", member.id, member.incarnation) in wished:
        status = Status.LEAVING
    elif status is Status.JOINING and ("active", member.id, member.incarnation) in wished:
        status = Status.ACTIVE
    return member if status is member.status else msgspec.structs.replace(member, status=status)
