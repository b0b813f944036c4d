"""The documents parse, and point at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import docutils.core
import pytest

from tests.draw_docs import PROTOCOL, drawn

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst")])
_WARNING = 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_is_sound(path: Path) -> None:
    settings = {"halt_level": _WARNING, "report_level": _WARNING, "file_insertion_enabled": True}
    docutils.core.publish_string(
        path.read_text(encoding="utf-8"),
        source_path=str(path),
        writer="null",
        settings_overrides=settings,
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"`[^`<]+<([^>:]+)>`_", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_decision_states_context_choice_and_price() -> None:
    for path in (ROOT / "docs" / "decisions").glob("*.rst"):
        text = path.read_text(encoding="utf-8")
        assert re.fullmatch(r"\d{4}-[a-z-]+", path.stem), path.name
        assert all(f"**{part}.**" in text for part in ("Context", "Choice", "Price")), path.name


def test_every_dependency_has_a_decision() -> None:
    config = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    block = config.partition("install_requires =")[2].partition("\n\n")[0]
    names = {re.split(r"[>=<]", line.strip())[0] for line in block.splitlines() if line.strip()}
    decided = {path.stem.partition("-")[2] for path in (ROOT / "docs" / "decisions").glob("*.rst")}
    assert {name.replace("pyzmq", "zeromq") for name in names} - decided == set()


def test_the_stages_shown_are_those_of_the_code() -> None:
    text = PROTOCOL.read_text(encoding="utf-8")
    assert text == drawn(text), "run: python -m tests.draw_docs"


SEEDS = (("000", 71), ("001", 34), ("002", 51), ("003", 28), ("004", 20), ("D", 8))


def rows() -> dict[str, list[str]]:
    """Return of each row of docs/seeds.rst which tests it names."""
    text = (ROOT / "docs" / "seeds.rst").read_text(encoding="utf-8")
    found = re.split(r"^(\d{3}-\d+[a-c]?|D\d) .*\n", text, flags=re.MULTILINE)
    return {
        row: re.findall(r"``(test_\w+::\w+)``", body)
        for row, body in zip(found[1::2], found[2::2], strict=True)
    }


def test_every_row_of_the_seeds_names_a_test() -> None:
    wanted = {
        f"{seed}{number}" if seed == "D" else f"{seed}-{number}"
        for seed, last in SEEDS
        for number in range(1, last + 1)
    }
    named = rows()
    assert wanted - set(named) == set()
    assert [row for row, tests in named.items() if not tests] == []


def test_the_tests_that_the_seeds_name_are_there() -> None:
    there = [
        f"{path.stem}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(
            r"^(?:async )?def test_(\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    ]
    named = {name for names in rows().values() for name in names}
    assert {name for name in named if not any(test.startswith(name) for test in there)} == set()
