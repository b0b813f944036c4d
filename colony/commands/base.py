"""What each command is, and what it is called with."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from colony.config import Option, UsageError
from colony.errors import ColonyError

Json = dict[str, Any]


class Exit(IntEnum):
    """Exit statuses of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    LOST = 4
    SOLITUDE = 5


class Failure(Exception):
    """A command can't do it; the text says why and what to do."""

    def __init__(self, text: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.status = status


class Asks(Protocol):
    """What answers an operator's commands: a store, or a fake of one."""

    def admin(self, command: str, arguments: Json, *, timeout: float | None = None) -> Json:
        """Return a host's answer; raises `ColonyError`."""


@dataclass(frozen=True, slots=True)
class Positional:
    """One argument without a flag; `nargs` as argparse has it."""

    name: str
    help: str
    nargs: str | None = None
    parse: Callable[[str], Any] = str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command: its values, by key, and the way to the cluster."""

    values: Mapping[str, Any]
    connect: Callable[..., Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    @contextmanager
    def store(self) -> Iterator[Any]:
        """Open a store on the connected cluster; closed at the end.

        Raises:
            UsageError: The store found no sense in an argument, and sent nothing.
        """
        store = self.connect(",".join(self["connect"]))
        try:
            yield store
        except ColonyError:
            raise
        except (TypeError, ValueError) as error:
            raise UsageError(str(error)) from error
        finally:
            store.close()

    def ask(self, command: str, **arguments: Any) -> Json:
        """Return the cluster's answer to one operator's command."""
        with self.store() as store:
            answer: Json = store.admin(command, arguments)
            return answer

    def show(self, answer: Any, *lines: str) -> None:
        """Print the answer as JSON where that was asked for, else the lines."""
        if self["json"]:
            say(json.dumps(answer, ensure_ascii=False, default=str))
        else:
            for line in lines:
                say(line)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the command line."""

    name: str
    help: str
    run: Callable[[Call], int]
    options: tuple[Option, ...] = ()
    positionals: tuple[Positional, ...] = ()


def toml_in(path: str) -> Json:
    """Return what a TOML file holds.

    Raises:
        Failure: It can't be read, or is none.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is no TOML: {error}") from error


def say(line: str) -> None:
    """Print a line on stdout, at once."""
    print(line, flush=True)


def warn(line: str) -> None:
    """Print a line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)
