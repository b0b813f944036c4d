"""`colony predict`: a file or a live cluster in, a verdict out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.services import Ladder
from colony.commands import predict
from colony.commands.base import Call, Failure
from colony.config import UsageError
from placement.hazard.models import DAY_S, Random
from placement.hazard.steady import steady
from placement.hazard.written import graph_of
from tests.colony.asked import Asked

MEMBERS: list[dict[str, Any]] = [
    {"name": "h1", "labels": {"zone": "z", "box": "b1"}},
    {"name": "h2", "labels": {"zone": "z", "box": "b1"}},
    {"name": "h3", "labels": {"zone": "z", "box": "b2"}},
    {"name": "h4", "labels": {}},
]
STATUS = {
    "view": {"members": MEMBERS},
    "table": [
        {"colony": 0, "primary": "h1", "secondaries": ["h2"]},
        {"colony": 1, "primary": "h3", "secondaries": ["h4"]},
        {"colony": 2, "primary": "", "secondaries": []},
    ],
}
VALUES = {"file": None, "from_live": False, "hours": 24.0, "wish": None, "runs": 0, "seed": 0, "json": True}


def asked(capsys: pytest.CaptureFixture[str], **values: Any) -> Any:
    """Run the command, and return what it printed."""
    call = Call({**VALUES, "connect": ["tcp://nowhere"], **values}, lambda *a, **k: Asked(STATUS))
    assert predict.predict(call) == 0
    out = capsys.readouterr().out
    return json.loads(out) if values.get("json", True) else out


def test_a_live_cluster_becomes_a_graph_of_its_labels() -> None:
    graph, window_s = graph_of(predict.live(STATUS, {}))
    assert window_s == 20.0
    assert graph.causes(("h1",)) == ("zone z", "box b1", "h1")
    assert graph.vertices["h4"].fails_with == ()
    assert graph.colonies == {"0": ("h1", "h2"), "1": ("h3", "h4")}


def test_the_box_below_both_peers_is_the_most_dangerous_and_the_move_parts_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = asked(capsys, from_live=True)
    assert answer["dangers"][0]["vertex"] == "box b1"
    assert (answer["move"]["colony"], answer["move"]["from"]) == ("0", "h1")
    assert 0 < answer["lost"] < 0.1
    assert 0.99 < answer["availability"] < 1


def test_figures_of_a_file_replace_what_is_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kinds.toml"
    path.write_text('window = "1s"\n[kind.box]\nmtbf = "1d"\nmttr = "1h"\n')
    calm = asked(capsys, from_live=True)["lost"]
    assert asked(capsys, from_live=True, file=str(path))["lost"] > 10 * calm


def test_a_wish_and_walks_are_told_to_people_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "graph.toml"
    path.write_text(
        '[kind.host]\nmtbf = "2d"\nmttr = "1h"\n'
        '[[vertex]]\nname = "h1"\n[[vertex]]\nname = "h2"\n[[vertex]]\nname = "h3"\n'
        '[[colony]]\npeers = ["h1"]\n'
    )
    out = asked(capsys, file=str(path), json=False, wish=0.999, runs=20)
    assert "to survive with 0.999: 2 peers" in out
    assert "20 walks through 24 h" in out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[[vertex]]", "a vertex has no name"),
        ("[[vertex]]\nname = 'a'", "there is no colony in it"),
        ("nonsense", "is no TOML"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    path = tmp_path / "graph.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Failure, match=complaint):
        predict.predict(Call({**VALUES, "file": str(path)}, lambda *a, **k: Asked(STATUS)))


def test_nothing_to_look_at_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="needs a FILE"):
        predict.predict(Call(VALUES, lambda *a, **k: Asked(STATUS)))


def test_hosts_that_are_supervised_are_restarted_as_supervisors_do() -> None:
    members = [{**m, "supervisor": "s1" if m["labels"].get("box") == "b1" else ""} for m in MEMBERS]
    graph, _ = graph_of(predict.live({**STATUS, "view": {"members": members}}, {}))
    (supervisor,) = graph.supervisors
    assert (supervisor.vertex, supervisor.watches) == ("supervisor s1", ("h1", "h2"))
    assert supervisor.restart_s == Ladder().first_s + predict.STARTS_S
    assert graph.causes(("supervisor s1",)) == ("zone z", "box b1", "supervisor s1")
    assert graph.vertices["h1"].failure == graph.vertices["h3"].failure == Random(30 * DAY_S, 60.0)
    mended = graph.as_mended()
    assert mended.vertices["h1"].failure == Random(30 * DAY_S, supervisor.restart_s)
    assert (
        mended.vertices["h3"] == graph.vertices["h3"] and graph.as_mended().supervisors == graph.supervisors
    )
    assert steady(mended).availability > steady(graph).availability
