"""The rules of the house: floors, doors, purity, size and words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("agents", "placement", "colony", "demo", "tests")
FUNCTION_LINES_MAX = 60
_LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# Words that would point outside the repository: a reader has nothing but the repository.
# Written in parts, so that this file does not contain them.
OUTSIDE = re.compile(
    "|".join(
        (
            r"\bshared" + r"/",
            r"\b(design|interface|style|seed-checklist)\.m" + r"d\b",
            r"/tmp/(colony|probe)" + r"\b",
            r"/work/(main|shared)" + r"\b",
            r"\b(issue|ticket|pull request|PR) ?#? ?\d" + r"+\b",
            r"\bengineers? [A-Z]" + r"\b",
            r"\b(AI|LLM)[- ](generated|written|assistant)" + r"\b",
        )
    )
)


def _sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _published() -> list[Path]:
    """Return every text file that is in the repository, or would be with the next commit."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git work tree")
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def test_imports_keep_the_floors_doors_and_purity() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LINT, "--config", "setup.cfg", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_demo_imports_colony_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"colony"}
    wrong = [
        f"{_name(path)}:{line} imports {name}"
        for path in sorted((ROOT / "demo").rglob("*.py"))
        for line, name in _imports(path)
        if name.partition(".")[0] not in allowed
    ]
    assert wrong == []


def test_nobody_imports_tests_or_demo() -> None:
    wrong = [
        f"{_name(path)}:{line} imports {name}"
        for path in _sources()
        if path.relative_to(ROOT).parts[0] not in ("tests", "demo")
        for line, name in _imports(path)
        if name.partition(".")[0] in ("tests", "demo")
    ]
    assert wrong == []


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def test_no_imports_go_in_circles() -> None:
    """Imports for type checkers and those inside functions count, too."""
    inner = [p for p in _sources() if p.relative_to(ROOT).parts[0] in ("agents", "placement", "colony")]
    modules = {_module(path): path for path in inner if path.name != "__init__.py"}
    arrows = {name: set(_taken(path)) & {*modules} for name, path in modules.items()}
    while lowest := {name for name, below in arrows.items() if not below}:
        arrows = {name: below - lowest for name, below in arrows.items() if name not in lowest}
    assert arrows == {}, "what is left is in a circle, or above one"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _taken(path: Path) -> Iterator[str]:
    """Return all that a module may import: `from a import b` may mean `a`, or the module `a.b`."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in _sources()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    mute = [_name(path) for path in _sources() if not ast.get_docstring(_tree(path))]
    assert mute == []


def test_every_folder_of_tests_is_a_package() -> None:
    """Or two test files of one name in two folders would be taken for one."""
    bare = {
        _name(path.parent)
        for path in (ROOT / "tests").rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    }
    assert bare == set()


def test_no_word_points_outside_the_repository() -> None:
    found = []
    for path in _published():
        if path.suffix in (".svg", ".png") or path.name == "LICENSE":
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [
            f"{_name(path)}:{number} {match.group()!r}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := OUTSIDE.search(line))
        ]
    assert found == []


def test_decisions_are_short() -> None:
    long = [
        path.name
        for path in (ROOT / "docs" / "decisions").glob("*.rst")
        if len(path.read_text(encoding="utf-8").splitlines()) > 20
    ]
    assert long == []


def test_scripts_are_sound_shell() -> None:
    for name in ("demo/run", "tests/run", ".ci/run", ".ci/venv"):
        assert subprocess.run(["bash", "-n", str(ROOT / name)], check=False).returncode == 0, name
