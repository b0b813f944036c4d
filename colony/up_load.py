"""The workload's process as `colony up` sees it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colony.dash import Figures
from colony.up_processes import child_command, child_environment


class Load:
    """Starts the workload, hears its reports, and has it verify at the end.

    Main thread only, but for the reader thread inside.

    Args:
        log: Where its stderr goes.
    """

    def __init__(self, addresses: Sequence[str], sessions: int, log: Path) -> None:
        self.report: dict[str, Any] = {}
        command = child_command("workload", "--connect", ",".join(addresses), "--sessions", str(sessions))
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=child_environment(),
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="colony-reports", daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether its process exists."""
        return self._process.poll() is None

    @property
    def figures(self) -> Figures | None:
        """What the dashboard shows of it; None = no report yet."""
        report = self.report
        if not report:
            return None
        return Figures(
            ops_s=report.get("ops_s", 0.0),
            p99_ms=report.get("p99_ms"),
            acked=report.get("acked", 0),
            lost=report.get("lost", 0),
            stale=report.get("stale", 0),
        )

    def finish(self) -> None:
        """Have it stop and verify; the last report comes in its own time."""
        if self._process.stdin is not None and self.is_running:
            try:
                self._process.stdin.write(b"finish\n")
                self._process.stdin.flush()
            except OSError:
                pass  # it ended in this moment: there is no last report

    def close(self) -> None:
        """End its process, if it still runs."""
        if self.is_running:
            self._process.kill()
        self._process.wait()
        self._reader.join(2.0)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self.report = json.loads(line)
            except ValueError:
                continue  # something printed into the pipe: no report
