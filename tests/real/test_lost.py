"""What a host had to drop is found again, looked at, and brought back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import colony
from tests.real.hosts import Hosts, until
from tests.real.test_durability import command, crash, folder
from tests.real.test_periodic import written_anew

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

CELLS = 400


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield three hosts with state directories."""
    with Hosts(3, colonies=16, durable=True) as cluster:
        yield cluster


def test_cells_of_an_undead_host_are_listed_shown_and_brought_back_once(hosts: Hosts) -> None:
    state = str(folder(hosts, "h2"))
    with colony.connect(hosts.addresses, timeout=20) as store:
        store.set_many({f"k{n}": n for n in range(CELLS)})
        store.set("brief", 1, ttl=8)
        with store.session("sid") as session:
            session["cart"] = [1, 2]
        hosts.stop("h2")
        until(lambda: len(hosts.status()["view"]["members"]) == 2, "h2 held dead")
        hosts.resume("h2")
        (path,) = until(lambda: list((folder(hosts, "h2") / "lost").glob("*.snapshot")), "lost and found")
        hosts.healthy()
        (about,) = json.loads(command(hosts, "lost", "list", "--state-dir", state, "--json").stdout)
        assert (about["host"], about["kind"]) == ("h2", "dropped") and about["cells"] > 0
        shown = json.loads(command(hosts, "lost", "show", str(path), "--json").stdout)
        held = {one["key"]: one for one in shown}
        assert len(held) == about["cells"] and all(
            one["value"] == int(k[1:]) for k, one in held.items() if k[0] == "k"
        )
        keys = [key for key in held if key[0] == "k"]
        gone, changed = keys[: len(keys) // 2], keys[len(keys) // 2]
        store.delete_many(gone)
        store.delete("sid")
        store.set(changed, "newer")
        done = command(hosts, "lost", "restore", str(path), "--only", "k", "--overwrite", "older", "--json")
        assert done.returncode == 0, done.stderr
        counts = json.loads(done.stdout)
        assert counts["restored"] == len(gone) and counts["overwritten"] == counts["failed"] == 0
        assert counts["present"] == len(keys) - len(gone)
        assert store.get_many(gone) == {key: int(key[1:]) for key in gone} and store.get(changed) == "newer"
        until(lambda: store.get("brief") is None, "it expires")
        again = json.loads(
            command(hosts, "lost", "restore", path.name, "--state-dir", state, "--json").stdout
        )
        assert again["restored"] == ("sid" in held) and again["expired"] == ("brief" in held)
        assert "sid" not in held or store["sid"] == {"cart": [1, 2]}
    (note,) = [event for event in hosts.noted("lost_restored") if f"{len(gone)} restored" in event["reason"]]
    assert str(path) in note["reason"]


def test_a_periodic_snapshot_is_brought_back_by_hand_and_said_to_be_old() -> None:
    with Hosts(3, colonies=16, durable=True, options=("--snapshot-every", "1")) as hosts:
        with colony.connect(hosts.addresses, timeout=20) as store:
            store.set_many({f"k{n}": n for n in range(CELLS)})
            written_anew(hosts)
        crash(hosts, *hosts.processes)
        hosts.options = ()
        hosts.again(*hosts.processes)
        hosts.healthy()
        restored = 0
        for name in hosts.processes:
            state = str(folder(hosts, name))
            found = json.loads(command(hosts, "lost", "list", "--state-dir", state, "--json").stdout)
            newest = found[-1]
            assert newest["kind"] == "periodic"
            done = command(hosts, "lost", "restore", newest["file"], "--json")
            counts = json.loads(done.stdout)
            restored += counts["restored"]
            if counts["restored"]:
                assert done.returncode == 4 and "may be older than what was acknowledged" in done.stderr
        assert restored == CELLS
        with colony.connect(hosts.addresses, timeout=20) as store:
            assert store.get_many([f"k{n}" for n in range(CELLS)]) == {f"k{n}": n for n in range(CELLS)}
