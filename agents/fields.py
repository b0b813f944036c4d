"""Types of fields whose values are checked as they are decoded.

The decoder holds each of them to its range at a few nanoseconds a field.
What a client may send is never wider than what hosts accept of each other:
else one request could make two hosts refuse each other's frames for ever.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

KEY_BYTES_MAX = 1_024
COLONIES_MAX = 65_536
MEMBERS_MAX = 16_384
ATTRIBUTES_MAX = 65_536  # of one cell
BATCH_MAX = 65_536  # of messages, entries, cells in one frame
INT_MAX = (1 << 63) - 1
SECONDS_MAX = 1e15  # 30 million years

Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
ColonyId = Annotated[int, Meta(ge=0, lt=COLONIES_MAX)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]  # no NaN, no infinity
Seconds = Annotated[float, Meta(ge=-SECONDS_MAX, le=SECONDS_MAX)]
Milliseconds = Annotated[int, Meta(ge=-1, le=10**15)]
Key = Annotated[bytes, Meta(min_length=1, max_length=KEY_BYTES_MAX)]
Lane = Annotated[bytes, Meta(max_length=64)]
Id = Annotated[str, Meta(max_length=64)]
Word = Annotated[str, Meta(max_length=512)]
Text = Annotated[str, Meta(max_length=65_536)]
Hosts = Annotated[tuple[Id, ...], Meta(max_length=MEMBERS_MAX)]
Places = Annotated[bytes, Meta(max_length=MEMBERS_MAX // 8)]  # a bit for each member, in the view's order
NamedHosts = Annotated[tuple[tuple[Id, Word], ...], Meta(max_length=MEMBERS_MAX)]  # (host id, name)
