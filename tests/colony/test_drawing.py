"""The picture of a placement: every peer stands in its host, whatever the cluster looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from colony.commands import map as command
from colony.commands.base import Call, Failure
from colony.drawing import COLOURS, COMES, GOES, drawn
from tests.colony.asked import Asked

SVG = "{http://www.w3.org/2000/svg}"


def status(**labels: dict[str, str]) -> dict[str, Any]:
    """Return a cluster of hosts with these labels; colony 0 is on the first two, colony 1 on nobody."""
    names = sorted(labels)
    return {
        "quorum": True,
        "safe": False,
        "view": {"generation": 0, "number": 3, "members": [_member(name, labels[name]) for name in names]},
        "colonies": {"count": 2, "wanted": 2, "settled": 2, "degraded": 0, "lost": 1},
        "table": [
            {"colony": 0, "primary": names[0], "secondaries": names[1:2], "bytes": 10},
            {"colony": 1, "primary": None, "secondaries": []},
        ],
    }


def _member(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "labels": labels, "status": "ACTIVE", "cpu": 0.5, "bytes": 1 << 20}


def texts(element: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def test_hosts_stand_in_their_boxes_racks_and_zones() -> None:
    picture = ElementTree.fromstring(
        drawn(
            status(
                h1={"zone": "z1", "rack": "r1", "box": "b1"},
                h2={"zone": "z1", "box": "b2"},
                h3={"zone": "z2"},
            )
        )
    )
    tops = [group for group in picture if group.tag == f"{SVG}g"]
    assert [texts(group)[0] for group in tops] == ["zone z1", "zone z2"]
    inside = texts(tops[0])
    assert {"box b1", "rack r1", "box b2"} < set(inside)
    assert any(text.startswith("h1 ") for text in inside)
    assert not any(text.startswith("h3 ") for text in inside)


def test_a_primary_is_full_and_a_secondary_is_framed() -> None:
    picture = ElementTree.fromstring(drawn(status(h1={}, h2={})))
    squares = [rect for rect in picture.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert [square.get("fill") for square in squares] == [COLOURS["healthy"], "none"]
    assert squares[0].findtext(f"{SVG}title") == "colony 0: primary h1, h2; 10B"


def test_a_lost_colony_is_named_below() -> None:
    assert "lost: 1" in texts(ElementTree.fromstring(drawn(status(h1={}, h2={}))))


def test_names_can_not_break_the_picture() -> None:
    evil = '<script>&"'
    picture = ElementTree.fromstring(drawn(status(**{evil: {"box": evil}, "h2": {}})))
    assert any(text.startswith(evil) for text in texts(picture))


def test_frames_do_not_overlap_and_fit_the_picture() -> None:
    labels = {f"h{n:02d}": {"zone": f"z{n % 3}", "box": f"b{n % 7}"} for n in range(30)}
    picture = ElementTree.fromstring(drawn(status(**labels)))
    tops = []
    for group in picture:
        if group.tag == f"{SVG}g":
            x, y = map(int, group.get("transform", "")[10:-1].split(","))
            frame = group.find(f"{SVG}rect")
            assert frame is not None
            tops.append((x, y, x + int(frame.get("width", 0)), y + int(frame.get("height", 0))))
    for one in tops:
        assert one[2] <= int(picture.get("width", 0))
        assert one[3] <= int(picture.get("height", 0))
        for other in tops:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart or one is other


def test_an_empty_cluster_is_a_picture_too() -> None:
    ElementTree.fromstring(drawn({}))


def test_the_command_writes_a_file_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Asked(status(h1={}, h2={}))

    def call(target: str) -> Call:
        return Call({"svg": target, "json": False, "connect": ["tcp://nowhere"]}, lambda *a, **k: store)

    path = tmp_path / "map.svg"
    assert command.draw(call(str(path))) == 0
    assert capsys.readouterr().out == f"written: {path}\n"
    ElementTree.fromstring(path.read_text())
    assert command.draw(call("-")) == 0
    assert capsys.readouterr().out.startswith("<svg")
    with pytest.raises(Failure, match="can't write"):
        command.draw(call(str(tmp_path / "no" / "map.svg")))


# -- what a plan would change ----------------------------------------------------------


def test_a_plan_shows_what_comes_what_goes_and_which_roles_move() -> None:
    now = status(h1={"box": "b1"}, h2={"box": "b2"})
    now["table"] = [
        {"colony": 0, "primary": "h1", "secondaries": ["h2"], "bytes": 10},
        {"colony": 1, "primary": "h2", "secondaries": ["h1"], "bytes": 10},
    ]
    then = status(h1={"box": "b1"}, h3={"box": "b3"})
    then["table"] = [
        {"colony": 0, "primary": "h1", "secondaries": ["h3"], "bytes": 10},
        {"colony": 1, "primary": "h1", "secondaries": ["h3"], "bytes": 10},
    ]
    picture = ElementTree.fromstring(drawn(now, {**then, "said": "kill h2"}))
    said = texts(picture)
    assert "kill h2" in said and any(text.startswith("h2 goes") for text in said)
    assert any(text.startswith("h3 comes") for text in said) and {"box b1", "box b2", "box b3"} < set(said)
    squares = [rect for rect in picture.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    colours = [square.get("stroke") for square in squares]
    assert colours.count(COMES) == 2 and colours.count(GOES) == 2 and len(squares) == 6
    assert len(list(picture.iter(f"{SVG}path"))) == 2, "what goes is crossed out"
    assert len(list(picture.iter(f"{SVG}circle"))) == 1, "colony 1 is led by h1 then"
    assert squares[0].findtext(f"{SVG}title") == "colony 0: primary h1, h2, then primary h1, h3; 10B"
