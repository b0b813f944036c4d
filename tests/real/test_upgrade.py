"""A cluster is upgraded while it serves: two neighbouring versions in it, and none two apart."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import colony
from tests.real.hosts import PATIENCE_S, Hosts, until
from tests.real.load import Load

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

# Not "undead": on a busy machine a host may stall for long enough to be held dead.
BAD = ("bad_frame", "link_broke", "host_broke", "loop_broke", "lost")


class Upgradable(Hosts):
    """Hosts, each started in the version that is named at the time."""

    newest = 1

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        if self.newest == 1:
            return super()._command(name, arguments)
        return [sys.executable, "-m", "tests.real.next_host", str(self.newest), "host", *arguments]

    def events(self) -> list[dict[str, Any]]:
        """Return what all living hosts have noted, each with the name of who did."""
        found = []
        for process in self.processes.values():
            with colony.connect(process.address) as store:
                told = store.admin("events", {"limit": 4000})
                found += [{**event, "by": told["name"]} for event in told["events"]]
        return found

    def protocols(self) -> list[int]:
        """Return what each member speaks, in order of names."""
        members = sorted(self.status()["view"]["members"], key=lambda member: str(member["name"]))
        return [member["protocol"] for member in members]

    def refused(self) -> str:
        """Start a host that must end by itself with status 1; return its last words."""
        process = self.start(name="stranger")
        assert process.popen.wait(PATIENCE_S) == 1
        del self.processes["stranger"]
        return process.log.read_text(encoding="utf-8").splitlines()[-1]


def test_hosts_are_upgraded_one_by_one_under_load_and_nobody_notices() -> None:
    with Upgradable(3, boxes=3, colonies=16, durable=True) as hosts:
        hosts.newest = 3
        last = hosts.refused()
        assert "this host speaks protocol 1, not 2 to 3; upgrade one protocol at a time" in last
        noted = [event for event in hosts.events() if event["kind"].startswith("link_refused")]
        assert {event["reason"] for event in noted} <= {"it speaks protocol 2 to 3, this host 1"}
        assert len(noted) == len({event["by"] for event in noted}), "once at each host"
        hosts.newest = 2
        seen = [hosts.protocols()]
        problems: list[dict[str, Any]] = []
        with Load(hosts.addresses, keys=32, writers=2, readers=1, rate=25.0) as load:
            for name in ("h1", "h2", "h3"):
                old = hosts.processes[name]
                problems += [event for event in hosts.events() if event["kind"] in BAD]
                assert hosts.terminate(name) == 0
                hosts.start(name=name, box=old.box, port=old.port, state_dir=old.state_dir)
                hosts.healthy()
                seen.append(hosts.protocols())
        assert load.verify()["unknown"] == 0
        assert seen == [[1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2]]
        assert hosts.status()["view"]["protocol"] == 2
        problems += [event for event in hosts.events() if event["kind"] in BAD]
        assert not problems, problems

        def heard() -> set[str]:
            return {event["by"] for event in hosts.events() if event["kind"] == "novelty"}

        until(lambda: heard() == {"h1", "h2", "h3"}, "all hear what only the new version says")


def test_a_client_of_another_version_is_told_so() -> None:
    """Its protocol is its own: the hosts' may rise without it."""
    code = (
        "import colony.wires as w, colony.exchange as e, agents.messages.client as c, sys\n"
        "for m in (w, e): m.CLIENT_PROTOCOL, m.CLIENT_PROTOCOL_OLDEST = 3, 2\n"
        "import colony\n"
        "try: colony.connect(sys.argv[1], timeout=3).get('k')\n"
        "except colony.ColonyError as error: print(error)\n"
    )
    with Hosts(1, colonies=4, peers=1) as hosts:
        done = subprocess.run(
            [sys.executable, "-c", code, hosts.seeds[0]],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "this host speaks client protocol 1, not 2 to 3" in done.stdout, done
