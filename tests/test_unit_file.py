"""The unit files: they fit the program, and systemd itself finds nothing wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colony.cli import parse
from colony.commands.base import Exit
from colony.commands.host import COMMANDS
from colony.commands.supervise import STOP_EXTRA_S

DOCS = Path(__file__).resolve().parent.parent / "docs"
UNIT, SUPERVISOR = DOCS / "colony@.service", DOCS / "colony-supervise.service"


def settings(unit: Path = UNIT) -> dict[str, str]:
    """Return the settings of the unit; none is there twice."""
    lines = [line for line in unit.read_text().splitlines() if line and line[0] not in "#["]
    pairs = [line.partition("=")[::2] for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_systemd_waits_for_longer_than_a_leave_may_take() -> None:
    leave_s = next(o.default for o in COMMANDS[0].options if o.name == "leave-timeout")
    unit = settings()
    assert float(unit["TimeoutStopSec"]) > leave_s and unit["KillSignal"] == "SIGTERM"
    assert unit["Type"] == "notify" and unit["KillMode"] == "mixed"


@pytest.mark.parametrize("path", [UNIT, SUPERVISOR], ids=["host", "supervisor"])
def test_what_a_restart_can_not_mend_is_not_restarted(path: Path) -> None:
    unit = settings(path)
    assert unit["Restart"] == "on-failure"
    assert set(unit["RestartPreventExitStatus"].split()) == {str(int(Exit.USAGE)), str(int(Exit.SOLITUDE))}


@pytest.mark.parametrize("path", [UNIT, SUPERVISOR], ids=["host", "supervisor"])
def test_hosts_of_one_machine_can_see_each_other_die(path: Path) -> None:
    assert not {"PrivatePIDs", "ProtectProc", "PrivateNetwork"} & set(settings(path))


def test_systemd_leaves_hosts_alone_when_their_supervisor_ends() -> None:
    unit = settings(SUPERVISOR)
    assert unit["KillMode"] == "process" and float(unit["TimeoutStopSec"]) > 30 + STOP_EXTRA_S


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("path", [UNIT, SUPERVISOR], ids=["host", "supervisor"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, path: Path) -> None:
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text())
    unit = tmp_path / path.name.replace("@", "@a")
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "colony" in line]
    assert said == [], done.stderr


def test_the_options_that_it_shows_are_taken(tmp_path: Path) -> None:
    shown = re.findall(r"^#     (\w+ = .+)$", UNIT.read_text(), re.M)
    file = tmp_path / "a.toml"
    file.write_text("\n".join(shown))
    _, values = parse(["host", "--config", str(file)], {})
    assert (values["name"], values["expect"], values["leave_timeout"]) == ("a", 3, 30.0)
    assert values["metrics"] == "tcp://127.0.0.1:9420"


def test_the_options_of_a_supervisor_and_of_its_hosts_are_taken_from_one_file(tmp_path: Path) -> None:
    shown = re.findall(r"^#     (\w+ = .+|\[\w+\])$", SUPERVISOR.read_text(), re.M)
    file = tmp_path / "supervise.toml"
    file.write_text("\n".join(shown))
    _, values = parse(["supervise", "--config", str(file)], {})
    assert (values["name"], values["hosts"], values["max_hosts"]) == ("b1", ["2"], 3)
    assert values["watch"] == [("10.0.0.5", 7400), ("10.0.0.6", 7400)]
    _, values = parse(["host", "--config", str(file)], {})
    assert (values["expect"], values["keys"]) == (6, "/etc/colony/keys")
