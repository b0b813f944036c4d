"""Messages between two sides of a cluster that become one again.

They cross from one lineage of views to another, so no view gates them: each
names the lane of its merge, and the attempt that it belongs to.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agents.fields import BATCH_MAX, COLONIES_MAX, ColonyId, Count, Id, Key, Lane, Seconds, Text
from agents.messages.replication import Dna


class MergeAsk(msgspec.Struct, frozen=True, array_like=True, tag=70):
    """May I hand on what changed in this colony?

    Attributes:
        lane: Names the side and the colony; the same whoever of that side hands on.
        attempt: Names this try of this sender.
        since: Id of the last view that both sides descend from.
        apart: The last seq here when the sides parted: the log up to there is that of both.
        reborn: The colony was lost here since then, and began anew.
    """

    colony: ColonyId
    lane: Lane
    attempt: Count
    since: Count
    apart: Count
    reborn: bool


class MergeAnswer(msgspec.Struct, frozen=True, array_like=True, tag=71):
    """Hand on what changed above seq `number` (`ready`), or not now: ask `primary`, or again later."""

    colony: ColonyId
    lane: Lane
    attempt: Count
    ready: bool
    number: Count = 0
    primary: Id = ""
    reason: Text = ""


class MergeCell(msgspec.Struct, frozen=True, array_like=True):
    """A cell as the losing side left it.

    Attributes:
        seq: Of its last change there.
        age_s: How long ago that was, when this was sent.
        left_s: How long it still has to live; 0 = for ever.
        dna: None = it was deleted.
    """

    key: Key
    seq: Count
    age_s: Seconds
    left_s: Seconds
    dna: Dna | None


class MergeCells(msgspec.Struct, frozen=True, array_like=True, tag=72):
    """Batch `number` (from 1) of changes, in order of their seq."""

    colony: ColonyId
    lane: Lane
    attempt: Count
    number: Count
    cells: Annotated[tuple[MergeCell, ...], Meta(max_length=BATCH_MAX)]
    last: bool


class MergeTaken(msgspec.Struct, frozen=True, array_like=True, tag=73):
    """All batches up to `number` are merged, and all that came of it is committed.

    Attributes:
        done: The last batch is among them.
        merged: Cells that are now as the losing side left them, or as a function made them.
        overridden: Changes of the losing side that gave way to the winner's.
    """

    colony: ColonyId
    lane: Lane
    attempt: Count
    number: Count
    done: bool
    merged: Count
    overridden: Count


class MergedHere(msgspec.Struct, frozen=True, array_like=True, tag=74):
    """To members of the own (losing) side, lineage `root`: I work on it, and these colonies are done."""

    root: Count
    colonies: Annotated[tuple[ColonyId, ...], Meta(max_length=COLONIES_MAX)]


class MergeNews(msgspec.Struct, frozen=True, array_like=True, tag=75):
    """To members of the winning side: what a merge came to, so that each can tell."""

    colony: ColonyId
    lane: Lane
    merged: Count
    overridden: Count


MergeMessage = MergeAsk | MergeAnswer | MergeCells | MergeTaken | MergedHere | MergeNews
