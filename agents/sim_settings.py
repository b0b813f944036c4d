"""How a simulated cluster is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agents.merging import Policy
from agents.sim_clock import DRIFT_MAX
from agents.sim_network import Shape
from agents.stages import Settings
from agents.surroundings import Limits
from agents.views import Charter
from agents.wire import LinkFrame, Versions, decode_link_frame, encode


@dataclass(frozen=True, slots=True)
class SimSettings:
    """What a simulation is told at the start.

    Attributes:
        charter: What `init` fixes.
        drift: Largest error in the rate of a clock; at most `DRIFT_MAX`.
        offset_s: Largest value a clock shows at the beginning.
        shape: The network when nothing is broken.
        tick_s: How often a host's loop ticks, on its clock.
        turn_s: How long an idle loop gathers before it takes a turn.
        sample_s: How often a host measures its machine; 0 = once, at the start.
        closure_s: Longest run of a closure.
        save_s: Longest writing of a snapshot.
        encoded: Frames pass through the wire's encoder and decoder.
        encode: Encodes a frame of a host that speaks these versions.
        decode: Decodes a frame for a host that speaks these versions.
        machines: Hosts share so many machines, in turn; 0 = each has its own.
        attested: Hosts of one machine can see each other's processes.
        policy: What becomes of cells that two sides of a split have changed.
        membership: Settings of each host's membership.
        limits: Bounds of each host.
    """

    charter: Charter = field(default_factory=Charter)
    drift: float = DRIFT_MAX
    offset_s: float = 10_000.0
    shape: Shape = field(default_factory=Shape)
    tick_s: float = 0.05
    turn_s: float = 0.0002
    sample_s: float = 0.0
    closure_s: float = 0.01
    save_s: float = 0.3
    encoded: bool = False
    encode: Callable[[Versions, LinkFrame], bytes] = lambda versions, frame: encode(frame)
    decode: Callable[[Versions, bytes], LinkFrame] = lambda versions, data: decode_link_frame(data)
    machines: int = 0
    attested: bool = True
    policy: Policy = "latest"
    membership: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
