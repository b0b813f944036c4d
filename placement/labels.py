"""Labels: where a host stands in the failure topology.

Levels, from near to far: host < box < rack < zone. An empty label means
"unknown": two unknown labels are taken as equal, so that nothing is called
apart that might fall together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

LABEL_NAMES = ("zone", "rack", "box")


@dataclass(frozen=True, slots=True)
class Labels:
    """The failure domains of one host.

    Attributes:
        zone: Site or availability zone.
        rack: Rack or power feed, inside the zone.
        box: Machine; processes that share it die together.
    """

    zone: str = ""
    rack: str = ""
    box: str = ""

    def __post_init__(self) -> None:
        for name in (self.zone, self.rack, self.box):
            if len(name) > 128:
                raise ValueError("a label is longer than 128 characters")


UNKNOWN = Labels()


class Level(IntEnum):
    """The nearest failure domain that two hosts share; APART = none."""

    HOST = 0
    BOX = 1
    RACK = 2
    ZONE = 3
    APART = 4


def distance(a: Labels, b: Labels) -> Level:
    """Return the nearest domain that hosts with these labels may share.

    The hosts are taken to be two: the answer is never `Level.HOST` (see
    `distance_between`). A rack is inside a zone and a box inside a rack, so
    hosts in different zones are APART even if their boxes carry one name.
    """
    # Each pair of hosts is asked about, for each colony: so no calls here.
    if a.zone != b.zone and a.zone and b.zone:
        return Level.APART
    if a.rack != b.rack and a.rack and b.rack:
        return Level.ZONE
    return Level.RACK if a.box != b.box and a.box and b.box else Level.BOX


def distance_between(host_a: str, a: Labels, host_b: str, b: Labels) -> Level:
    """Return the nearest domain that two hosts share, by host id first."""
    return Level.HOST if host_a == host_b else distance(a, b)


def parse_labels(text: str) -> Labels:
    """Return the labels written as `zone=z,rack=r,box=b`, in any order.

    Raises:
        ValueError: A part is no `name=value`, its name is unknown, or it is
            there twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, value = parse_domain(part)
        if name in found:
            raise ValueError(f"label {name!r} is given twice")
        found[name] = value
    return Labels(**found)


def parse_domain(text: str) -> tuple[str, str]:
    """Return (label name, value) of one domain written as `box=b1`.

    Raises:
        ValueError: It is no `zone=`, `rack=` or `box=` with a value.
    """
    name, equals, value = (piece.strip() for piece in text.partition("="))
    if name not in LABEL_NAMES or not equals or not value:
        raise ValueError(f"{text!r} is no label: write zone=…, rack=… or box=…")
    return name, value


def format_labels(labels: Labels) -> str:
    """Return labels as `parse_labels` reads them; unknown ones are left out."""
    pairs = ((name, getattr(labels, name)) for name in LABEL_NAMES)
    return ",".join(f"{name}={value}" for name, value in pairs if value)


def in_domain(labels: Labels, name: str, value: str) -> bool:
    """Return whether a host carries this label, to the letter."""
    return bool(getattr(labels, name) == value)
