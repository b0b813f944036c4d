"""A control group around some processes of a test: a small box of its own.

With version 1 of control groups or with version 2, whichever this machine has
its controllers in. Without either, or without the right to make one,
`why_not` says so, and the test is skipped.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

CGROUPS = Path("/sys/fs/cgroup")
V2 = "cgroup.controllers"
PERIOD_US = 100_000
ENTER = 'for group in $0; do echo $$ > "$group/cgroup.procs" || exit 1; done; exec "$@"'


def _is_v2() -> bool:
    return (CGROUPS / V2).exists() and {"cpu", "memory"} <= set((CGROUPS / V2).read_text().split())


class ControlGroup:
    """Limits on CPU and memory for all processes that are started in it.

    Args:
        name: Of the group; the process id is added.
        cpus: CPUs that its processes may use together.
        memory: Bytes that they may have together.
    """

    def __init__(self, name: str, *, cpus: float, memory: int) -> None:
        leaf = f"colony-{name}-{os.getpid()}"
        self.memory_max = memory
        quota = int(cpus * PERIOD_US)
        if _is_v2():
            self.paths = [CGROUPS / leaf]
            self.paths[0].mkdir()
            self._write("cpu.max", f"{quota} {PERIOD_US}")
            self._write("memory.max", str(memory))
            self._used = self.paths[0] / "memory.current"
        else:
            self.paths = [CGROUPS / controller / leaf for controller in ("cpu", "cpuacct", "memory")]
            for path in self.paths:
                path.mkdir()
            self._write("cpu.cfs_period_us", str(PERIOD_US))
            self._write("cpu.cfs_quota_us", str(quota))
            self._write("memory.limit_in_bytes", str(memory))
            self._used = self.paths[2] / "memory.usage_in_bytes"

    def _write(self, name: str, text: str) -> None:
        path = next(path / name for path in self.paths if (path / name).exists())
        path.write_text(text)

    @property
    def used_file(self) -> Path:
        """Where it says how many bytes are in use."""
        return self._used

    def inside(self, command: list[str]) -> list[str]:
        """Return the command that runs a command in it."""
        return ["sh", "-c", ENTER, " ".join(map(str, self.paths)), *command]

    def close(self) -> None:
        """Remove it; its processes must have ended."""
        for path in self.paths:
            for _ in range(100):
                try:
                    path.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def why_not() -> str:
    """Return why no control group can be made here; "" = one can."""
    try:
        ControlGroup("try", cpus=1.0, memory=1 << 30).close()
    except (OSError, StopIteration) as error:
        return f"no control group can be made here: {error}"
    return ""
