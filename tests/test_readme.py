"""What the README shows runs as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
_ADDRESS = "tcp://127.0.0.1:7420"
_START_S = 45.0


def ten_lines() -> str:
    """Return the Python that the README shows."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    match = re.search(
        r"\.\. ten-lines-begin\n\.\. code-block:: python\n\n(.*?)\.\. ten-lines-end", text, re.S
    )
    assert match is not None, "the README's marks are gone"
    return textwrap.dedent(match.group(1))


def test_the_ten_lines_are_ten_at_most_and_compile() -> None:
    code = ten_lines()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    compile(code, "README.rst", "exec")
    assert _ADDRESS in code


@contextmanager
def _cluster(tmp_path: Path) -> Iterator[str]:
    """Run `colony up` as the README says, small; yield an address of it."""
    output = tmp_path / "up.log"
    command = [sys.executable, "-m", "colony", "up", "--no-dash", "--hosts", "3", "--sessions", "20"]
    with open(output, "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + _START_S
        while True:
            said = output.read_text(errors="replace")
            ready = re.search(r"^ready .*--connect (tcp://[^,\s]+)", said, re.M)
            if ready is not None:
                break
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.1)
        yield ready.group(1)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own session: ourselves not among it
            process.wait()
    assert process.returncode == 0, output.read_text(errors="replace")


@pytest.mark.real
def test_the_ten_lines_run_as_they_stand(tmp_path: Path) -> None:
    with _cluster(tmp_path) as address:
        code = ten_lines().replace(_ADDRESS, address)  # the same, unless the port was taken
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True {'text': 'hello', 'read': 1} {'cart': ['apples', 'pears']}",
        "['sid-4711']",
        "True",
    ]


@pytest.mark.real
def test_the_session_outlives_its_host(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "demo" / "one_dies.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "['apples', 'pears', 'plums']" in done.stdout
