"""Hosts on a machine that is busy with other work: nobody is held dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.real.hosts import Hosts
from tests.real.load import Load

# The promise is about five minutes: COLONY_BUSY_S=300 measures it in full.
BUSY_S = float(os.environ.get("COLONY_BUSY_S", "25"))
BURN = "import time\nend = time.monotonic() + {0}\nwhile time.monotonic() < end: pass\n"

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(BUSY_S + 100)]


def test_no_host_is_held_dead_while_all_cores_burn() -> None:
    with Hosts(5) as hosts:
        before = hosts.status()["view"]
        cores = os.cpu_count() or 1
        burners = [
            subprocess.Popen([sys.executable, "-c", BURN.format(BUSY_S + 30)]) for _ in range(2 * cores)
        ]
        try:
            with Load(",".join(hosts.seeds), rate=10.0) as load:
                time.sleep(BUSY_S)
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()
        after = hosts.status()["view"]
        suspected = [
            event["kind"]
            for event in hosts.admin.admin("events", {"limit": 4000})["events"]
            if event["kind"] in ("suspect", "confirmed", "undead")
        ]
        print(f"\n{BUSY_S:.0f} s on {cores} burning cores: suspicions {len(suspected)}, {load.verify()}")
    assert after["number"] == before["number"], "a view changed: somebody was held dead"
    assert [m["incarnation"] for m in after["members"]] == [m["incarnation"] for m in before["members"]]
