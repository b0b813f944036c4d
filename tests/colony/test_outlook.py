"""The outlook: as the failure graph has it, without the packages that this takes, and in small pieces."""

from __future__ import annotations

import random
from typing import Any

import pytest

from colony.commands.predict import live
from colony.outlook import SAMPLE_MAX, Seer, blow_of, candidates_of, survival_words
from placement.hazard.survival import survival
from placement.hazard.written import graph_of

Json = dict[str, Any]


def cluster(hosts: int, colonies: int, *, peers: int = 2, boxes: int = 3, seed: int = 1) -> Json:
    """Return what a cluster answers whose colonies are anywhere."""
    chance = random.Random(seed)
    names = [f"h{n}" for n in range(hosts)]
    members = []
    for n, name in enumerate(names):
        labels = {
            "zone": f"z{n % 2}",
            "rack": "" if n % 5 == 0 else f"z{n % 2}r",
            "box": f"z{n % 2}b{n % boxes}",
        }
        members.append({"name": name, "id": name * 2, "status": "ACTIVE", "labels": labels, "primaries": 5})
    table = []
    for colony in range(colonies):
        first, *rest = chance.sample(names, peers)
        table.append({"colony": colony, "primary": first, "secondaries": rest, "bytes": 1000})
    return {"view": {"members": members}, "table": table}


@pytest.mark.parametrize("seed", range(6))
def test_survival_is_that_of_the_failure_graph(seed: int) -> None:
    status = cluster(8, 12, peers=1 + seed % 3, seed=seed)
    graph, window_s = graph_of(live(status, {}))
    lost = Seer().look(status).lost
    assert lost is not None and 0 < lost < 1
    assert lost == pytest.approx(survival(graph, window_s=window_s).lost, rel=1e-9)


def test_places_that_look_alike_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[object] = []

    def counted(kind: Any) -> Any:
        worked.append(kind)
        return blow_of(kind)

    monkeypatch.setattr("colony.outlook.blow_of", counted)
    seer, status = Seer(), cluster(30, 200, boxes=10)
    first = seer.look(status).lost
    assert len(worked) < 20
    del worked[:]
    assert seer.look(status).lost == first and worked == []
    status["table"][0] = {**status["table"][0], "secondaries": []}  # on one host alone
    assert (seer.look(status).lost or 0) > (first or 1) and len(worked) == 1


def test_nothing_is_told_of_a_cluster_that_holds_nothing() -> None:
    for status in ({}, {"view": {"members": []}, "table": []}, {**cluster(3, 1), "table": []}):
        outlook = Seer().look(status)
        assert outlook.lost is None and outlook.pull is None


def test_the_strongest_pull_is_found_by_and_by_and_forgotten_when_it_is_gone() -> None:
    status = cluster(6, 3 * SAMPLE_MAX, boxes=6)
    for member, box in zip(status["view"]["members"], "aabcde", strict=True):
        member["labels"] = {"box": box}
    far = {"primary": "h2", "secondaries": ["h3"]}
    status["table"] = [{**row, **far} for row in status["table"]]
    last = status["table"][-1]
    last |= {"primary": "h0", "secondaries": ["h1"]}  # on one box
    seer = Seer()
    assert seer.look(status).pull is None
    seer.look(status)
    pull = seer.look(status).pull
    assert pull is not None and (pull.colony, pull.near.force) == (last["colony"], "repulsion")
    assert (pull.source, pull.target) == ("h1", pull.target) and pull.target in ("h2", "h3", "h4", "h5")
    last |= far
    for _ in range(3):
        pull = seer.look(status).pull
    assert pull is None


def test_members_are_candidates_as_hosts_see_them() -> None:
    base = {"id": "i", "name": "h", "labels": {}, "memory_total": 9, "memory_free": 5, "primaries": 2}
    (host,) = candidates_of([{**base, "status": "ACTIVE", "secondaries": 3, "cpu": 1.7, "flaps": 3.2}])
    assert (host.memory_free, host.copies, host.cpu, host.flaps, host.accepts) == (5, 5, 1.0, 2, True)
    (gone,) = candidates_of([{**base, "status": "LEAVING"}])
    (full,) = candidates_of([{**base, "status": "JOINING", "bytes": 9, "bytes_max": 9}])
    assert gone.leaving and not gone.accepts and full.joining and not full.accepts


@pytest.mark.parametrize(
    ("lost", "said"), [(None, ""), (0.0, "100%"), (0.3, "70%"), (2e-4, "99.980%"), (5.6e-6, "99.99944%")]
)
def test_survival_has_as_many_digits_as_it_has_nines(lost: float | None, said: str) -> None:
    assert survival_words(lost) == said
