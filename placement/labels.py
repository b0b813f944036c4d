"""Labels: where a host stands in the failure topology.

Levels, from near to far: host < box < rack < zone. An empty label means
"unknown": two unknown labels are taken as equal, so that nothing is called
apart that might fall together.
"""

from __future__ import annotations

from dataclasses import dataclass


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
