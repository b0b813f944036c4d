"""Messages about who is here: heartbeats, ballots, views, knocks.

They name the view they speak of themselves, so links deliver them whatever
view either end has installed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agents.fields import MEMBERS_MAX, Count, Finite, Hosts, Id, Places, Seconds, Text
from agents.views import Member, View


class Ballot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A proposal number: ordered by round, then host id; never used twice."""

    round: Count
    host: Id


class Load(msgspec.Struct, frozen=True, array_like=True):
    """What placement knows of a host, measured about once a second.

    Attributes:
        cpu: Seconds of the host's CPUs in use, 0 to 1.
        memory_free: Bytes the host may still take.
        memory_total: Bytes it has in all (container limit, if one is set).
        bytes_used: Bytes of cells it holds.
        cells: Cells it holds, copies included.
        primaries: Primary peers it holds.
        secondaries: ACTIVE secondary peers it holds.
        late_s: How late its loop has been of late, seconds.
        uptime_s: How long this incarnation has lived, seconds.
        kept: Files in its lost and found.
        draining: It is about to leave: send it nobody new.
        restarts: How often its supervisor has started it again.
        supervisor: Name of that; "" = it has none.
        steady_cpu: `cpu` without its noise, for placement; < 0 = not told.
        steady_free: `memory_free` without its noise; < 0 = not told.
        traffic: Mutations per second that its primaries take, without their noise.
        machine_pct: Share of all CPUs of its machine in use, percent; < 0 = not told. This and what
            follows (a byte each, for it is told often) lose their noise, too, before they are told.
        own_pct: Share of these that the host's own process uses.
        group_pct: Share of a CPU quota of its control group that other processes in it use.
    """

    cpu: Finite = 0.0
    memory_free: int = 0
    memory_total: int = 0
    bytes_used: int = 0
    cells: int = 0
    primaries: int = 0
    secondaries: int = 0
    late_s: Seconds = 0.0
    uptime_s: Seconds = 0.0
    kept: Count = 0
    draining: bool = False
    restarts: Count = 0
    supervisor: Id = ""
    steady_cpu: Finite = -1.0
    steady_free: int = -1
    traffic: Finite = 0.0
    machine_pct: int = -1
    own_pct: int = 0
    group_pct: int = 0


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """I am here; whom I don't hear; what I know (`digest` of the directory).

    `misses` are places in `view` (see `View.misses`): names of all that are
    heard would be most of what a large cluster says. `incarnation` is the
    sender's: the view must list exactly it. The first on a link, and the first
    of a view, say the cluster's tag too, for the link may be older than the
    tag. `root` names the lineage of the view.
    """

    view: Count
    sent_s: Seconds
    misses: Places
    digest: Count = 0
    load: Load | None = None
    incarnation: Count = 0
    tag: Id = ""
    root: Count = 0


class Grant(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """A heartbeat of `view` is answered: a lease from `sent_s` on (sender's clock).

    `incarnation` is the granter's: only one that the view lists counts.
    """

    view: Count
    sent_s: Seconds
    incarnation: Count = 0


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Asks the members of `view` for promises about the view after it."""

    view: Count
    ballot: Ballot


class Promise(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """No lower ballot will be answered; what was accepted; whom I hear.

    `hears` names members of `view` by host id, at the incarnation that the
    view lists; the acceptor itself is among them if its own is listed.
    """

    view: Count
    ballot: Ballot
    accepted_ballot: Ballot | None
    accepted: View | None
    hears: Hosts


class Accept(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Asks the members of `view` to accept its successor."""

    view: Count
    ballot: Ballot
    proposal: View


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Accepted; `lease_left_s` of the longest grant to a member it drops."""

    view: Count
    ballot: Ballot
    lease_left_s: Annotated[dict[Id, Seconds], Meta(max_length=MEMBERS_MAX)]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """A ballot is too low; `promised` is the one to beat."""

    view: Count
    ballot: Ballot
    promised: Ballot


class Install(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """This view was chosen: install it (also the answer to `WantView`)."""

    view: View


class Installed(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """The sender has installed the view with this id."""

    view: Count


class WantView(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """Send me the view that you have installed; mine is `view`."""

    view: Count


class YouAreDead(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Your incarnation is in no view any more; this is the view now."""

    incarnation: Count
    view: View


class Wish(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """A change that somebody wants in the next view.

    Kinds: `leave` (mark LEAVING), `active` (a joiner has its share), `left`
    (a leaver is empty: drop it cleanly), `dead` (attested: `witness_of` the
    death is the sender), `evict` (an operator's order), `recount` (same
    members, new view: the census must run again), `freeze` and `thaw` (moves
    stop, or go on). `view` is the one in which it was wished: a recount is
    done when a later one is installed. `count` is what `View.freezes` is to be:
    an order that was overtaken by a later one is done, too.
    """

    kind: Literal["leave", "active", "left", "dead", "evict", "recount", "freeze", "thaw"]
    host: Id
    incarnation: Count
    reason: Text = ""
    view: Count = 0
    count: Count = 0


class Knock(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A host that is in no view shows itself: admit me.

    `hears` names the hosts that have just answered a knock of its own: words
    pass both ways. `ended` is a whole-cluster stop made in `view` that it
    knows to have come to its end; "" = none.
    """

    member: Member
    tag: Id
    view: Count
    stage: Id
    hears: Hosts = ()
    ended: Id = ""


class KnockAnswer(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """`come_in`, `not_yet` (try another) or `no`, and why."""

    answer: Literal["come_in", "not_yet", "no"]
    reason: Text
    tag: Id = ""
    view: Count = 0


class Founding(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """View 1, proposed to zombies: promise to be born with it."""

    view: View
    ballot: Ballot


class FoundingAnswer(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """A zombie's word on a founding; `tag` is the one it has promised.

    From the founder, with `agreed` false, it releases the promise.
    """

    tag: Id
    agreed: bool
    reason: Text = ""


class Meet(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """With `quorum = available`: this is my view; `holds`: I serve in it."""

    view: View
    holds: bool


class Yield(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """To members of the own side, lineage `root`: we give in to the side of this view."""

    root: Count
    winner: View


Membership = (
    Heartbeat
    | Grant
    | Prepare
    | Promise
    | Accept
    | Accepted
    | Refused
    | Install
    | Installed
    | WantView
    | YouAreDead
    | Wish
    | Knock
    | KnockAnswer
    | Founding
    | FoundingAnswer
    | Meet
    | Yield
)
