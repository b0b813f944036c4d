"""Options of the command line, and where their values come from.

A value is taken from the first of: the flag, the environment, the TOML file,
the default. Each option has one key, say `state_dir`: the flag `--state-dir`,
the environment variable `COLONY_STATE_DIR` and the key `state_dir` of the
file. A key may also be given for one command alone (`COLONY_HOST_STATE_DIR`,
or `state_dir` in the table `[host]`); within one source the narrower wins.
"""

from __future__ import annotations

import difflib
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

DEFAULT_CONNECT = "tcp://127.0.0.1:7420"
LOG_LEVELS = ("debug", "info", "warning", "error")

_ADDRESS = re.compile(r"tcp://(\[[0-9a-fA-F:]+\]|[^:/\s\[\],]+):(\d{1,5})")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class UsageError(Exception):
    """A wrong option, key or value; the text names it and its source."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    Attributes:
        name: As the flag spells it, without the dashes.
        parse: Turns text into the value; raises `ValueError` that says why.
        default: The value where no source gives one.
        help: One line for people.
        metavar: What stands for the value in the help; "" = a yes/no option.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    metavar: str = ""

    @property
    def key(self) -> str:
        """Its name in the file and in the parsed values."""
        return self.name.replace("-", "_")

    def variables(self, command: str) -> tuple[str, str]:
        """Return its environment variables, the narrower one first."""
        return f"COLONY_{_upper(command)}_{self.key.upper()}", f"COLONY_{self.key.upper()}"


def _upper(command: str) -> str:
    return command.replace("-", "_").upper()


# -- what values look like ---------------------------------------------------


def text(value: str) -> str:
    """Return the value as it is, unless it is empty."""
    if not value.strip():
        raise ValueError("it is empty")
    return value


def yes_or_no(value: str) -> bool:
    """Return the truth value of 1/0, true/false, yes/no or on/off."""
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither yes nor no")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(value: str) -> int:
        try:
            number = int(value.replace("_", ""))
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if not low <= number <= high:
            raise ValueError(f"{number} is out of range: {low:,} to {high:,}")
        return number

    return parse


def seconds(value: str) -> float:
    """Return a time in seconds; > 0, at most a year."""
    try:
        number = float(value.removesuffix("s"))
    except ValueError:
        raise ValueError(f"{value!r} is not a number of seconds") from None
    if not 0 < number <= 366 * 86400:
        raise ValueError(f"{value} is out of range: more than 0 seconds, at most a year")
    return number


def moment(value: str) -> float:
    """Return a time, in seconds since the epoch: so long ago (90s, 10m, 2h, 1d), or a date and time."""
    match = _AGO.fullmatch(value.strip())
    if match is not None:
        return time.time() - float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2] or "s"]
    try:
        return datetime.fromisoformat(value.strip()).timestamp()
    except ValueError:
        raise ValueError(f"{value!r} is no time like 90s, 10m, 2h or 2026-01-31T12:00") from None


def words(value: str) -> list[str]:
    """Return the words of a comma-separated list; at least one."""
    return [text(part).strip() for part in value.split(",")]


def grace(value: str) -> float:
    """Return a time in seconds; 0 to a day."""
    return 0.0 if value.removesuffix("s") in ("0", "0.0") else seconds(value)


def listening(value: str) -> str:
    """Return where to listen, `tcp://IP:PORT`, from that or from a port alone: then on loopback."""
    return address(f"tcp://127.0.0.1:{value}" if value.strip().isdecimal() else value)


def share(value: str) -> float:
    """Return a share of a whole, at least 0 and below 1, from text such as 0.4."""
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None
    if not 0 <= number < 1:
        raise ValueError(f"{value} is out of range: 0 to less than 1")
    return number


def size(value: str) -> int:
    """Return a number of bytes from text such as 512M, 2GiB or 1048576."""
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size like 512M or 2GiB")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def address(value: str) -> str:
    """Return an address `tcp://HOST:PORT`, checked."""
    match = _ADDRESS.fullmatch(value.strip())
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{value!r} is not an address like {DEFAULT_CONNECT}")
    return value.strip()


def addresses(value: str) -> list[str]:
    """Return the addresses of a comma-separated list; at least one."""
    return [address(part) for part in value.split(",")]


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that takes one of these words."""

    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return value.lower()

    return parse


GLOBAL_OPTIONS = (
    Option("connect", addresses, [DEFAULT_CONNECT], "hosts to ask, comma-separated", "ADDR[,ADDR…]"),
    Option("keys", text, None, "directory with keys, if the cluster demands them: see colony keygen", "DIR"),
    Option("as", text, None, "which key of --keys, such as observer; none = the only one", "KEY"),
    Option("json", yes_or_no, False, "print JSON"),
    Option("config", text, None, "TOML file with options", "FILE"),
    Option("log-level", one_of(LOG_LEVELS), "warning", f"one of {', '.join(LOG_LEVELS)}", "LEVEL"),
)

QUORUM = Option(
    "quorum",
    one_of(("majority", "available")),
    "majority",
    "of a new cluster: serve only with a majority, or on every side of a split",
    "majority|available",
)
APART = Option(
    "apart",
    one_of(("host", "box", "rack", "zone")),
    "host",
    "of a new cluster: what no two copies of a colony ever share, even if there are fewer copies then",
    "host|box|rack|zone",
)


# -- sources -----------------------------------------------------------------


def read_file(path: str) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        UsageError: It can't be read, or isn't TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read the config file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} is not TOML: {error}") from None


def check_file(file: Mapping[str, Any], known: Mapping[str, Iterable[Option]]) -> None:
    """Refuse keys that no command has: a misspelt key must not pass in silence.

    Args:
        file: The tables of the file.
        known: The options of each command, the global ones included.

    Raises:
        UsageError: It names the key, and the one that was probably meant.
    """
    everywhere = {option.key for options in known.values() for option in options}
    for key, value in file.items():
        if isinstance(value, dict):
            if key not in known:
                raise UsageError(f"config file: no command has the table [{key}]{_meant(key, known)}")
            here = {option.key for option in known[key]}
            for inner in value:
                if inner not in here:
                    raise UsageError(f"config file: [{key}] has no key {inner!r}{_meant(inner, here)}")
        elif key not in everywhere:
            raise UsageError(f"config file: no option has the key {key!r}{_meant(key, everywhere)}")


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def resolve(
    command: str,
    options: Iterable[Option],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the value of each option of a command, by key.

    Args:
        flags: Parsed values of the flags that were given.
        file: The tables of the TOML file; {} = none.

    Raises:
        UsageError: A value makes no sense; the text names its source.
    """
    return {option.key: _value(command, option, flags, environ, file) for option in options}


def _value(
    command: str,
    option: Option,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Mapping[str, Any],
) -> Any:
    if option.key in flags:
        return flags[option.key]
    for variable in option.variables(command):
        if variable in environ:
            return _parsed(option, environ[variable], variable)
    table = file.get(command, {})
    for source, where in ((table, f"[{command}] {option.key}"), (file, option.key)):
        if option.key in source and not isinstance(source[option.key], dict):
            return _parsed(option, _as_text(source[option.key]), f"config file: {where}")
    return option.default


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return str(value)


def _parsed(option: Option, value: str, source: str) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
