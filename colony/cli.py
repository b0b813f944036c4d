"""The `colony` command: parsing, exit statuses, one clear line on failure."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import colony
from colony import config
from colony.commands import (
    bench,
    cells,
    drill,
    host,
    keys,
    life,
    map,
    moves,
    predict,
    simulate,
    state,
    supervise,
    top,
    up,
    why,
)
from colony.commands import lost as lost_command
from colony.commands.base import Call, Command, Exit, Failure, Positional, warn
from colony.errors import ColonyError, OutcomeUnknown, Unavailable

COMMANDS: tuple[Command, ...] = (
    *up.COMMANDS,
    *host.COMMANDS,
    *supervise.COMMANDS,
    *life.COMMANDS,
    *moves.COMMANDS,
    *state.COMMANDS,
    *why.COMMANDS,
    *top.COMMANDS,
    *drill.COMMANDS,
    *cells.COMMANDS,
    *lost_command.COMMANDS,
    *bench.COMMANDS,
    *map.COMMANDS,
    *predict.COMMANDS,
    *simulate.COMMANDS,
    *keys.COMMANDS,
)

EPILOG = """\
Each option can also be set in the environment (--state-dir: COLONY_STATE_DIR) or
in a TOML file given with --config (state_dir = "…", at the top or in [host]).
Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no quorum or
unavailable, 4 state may have been lost, 5 solitude.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` in place of printing all that could be typed."""
        raise config.UsageError(f"{self.prog}: {message} (see {self.prog} --help)")


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="colony",
        description="Replicated sessions in memory, without a master.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"colony {_version()}")
    for option in config.GLOBAL_OPTIONS:
        _add_option(parser, option)
    groups = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        described = command.help[0].upper() + command.help[1:] + "."
        inner = groups.add_parser(command.name, help=command.help, description=described, allow_abbrev=False)
        for positional in command.positionals:
            _add_positional(inner, positional)
        for option in (*command.options, *config.GLOBAL_OPTIONS):
            _add_option(inner, option)
    return parser


def _add_option(parser: argparse.ArgumentParser, option: config.Option) -> None:
    flag = f"--{option.name}"
    note = "" if option.default in (None, False) else f" (default {_shown(option.default)})"
    if option.metavar:
        parser.add_argument(
            flag,
            dest=option.key,
            type=_typed(option.parse),
            default=argparse.SUPPRESS,
            metavar=option.metavar,
            help=option.help.replace("%", "%%") + note,
        )
    else:
        parser.add_argument(
            flag,
            dest=option.key,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=option.help,
        )


def _add_positional(parser: argparse.ArgumentParser, positional: Positional) -> None:
    """Add one; its absence is the command's to judge, so no default hides it."""
    keywords: dict[str, Any] = {} if positional.nargs is None else {"nargs": positional.nargs}
    parser.add_argument(
        positional.name.lower(),
        metavar=positional.name,
        type=_typed(positional.parse),
        help=positional.help,
        **keywords,
    )


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ",".join(str(part) for part in default)
    return "yes" if default is True else str(default)


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def typed(value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def _version() -> str:
    return str(getattr(colony, "__version__", "unknown"))


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Command, dict[str, Any]]:
    """Return the command that was asked for, and its values by key.

    Raises:
        UsageError: The arguments, a variable or the file make no sense.
        SystemExit: Help or version was asked for, and is printed.
    """
    parser = build_parser()
    namespace, unknown = parser.parse_known_args(list(argv))
    flags = vars(namespace)
    name = flags.pop("command", None)
    if name is None:
        parser.print_help(sys.stderr)
        raise config.UsageError("colony: say which command")
    command = next(command for command in COMMANDS if command.name == name)
    options = (*config.GLOBAL_OPTIONS, *command.options)
    if unknown:
        raise config.UsageError(_unknown(command, unknown[0], options))
    file = _file_of(flags, environ)
    values = config.resolve(name, options, flags, environ, file)
    return command, {**flags, **values}


def _file_of(flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    path = flags.get("config") or environ.get("COLONY_CONFIG")
    if not path:
        return {}
    file = config.read_file(path)
    known = {command.name: (*config.GLOBAL_OPTIONS, *command.options) for command in COMMANDS}
    config.check_file(file, known)
    return file


def _unknown(command: Command, word: str, options: Sequence[config.Option]) -> str:
    what = "option" if word.startswith("-") else "argument"
    close = difflib.get_close_matches(
        word.split("=", maxsplit=1)[0], [f"--{option.name}" for option in options], n=1
    )
    hint = f"did you mean {close[0]}?" if close else f"see colony {command.name} --help"
    return f"colony {command.name}: unknown {what} {word}; {hint}"


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    connect: Callable[..., Any] | None = None,
) -> int:
    """Run one command, and return its exit status.

    Args:
        argv: Arguments after the program's name; None = the process's own.
        environ: Environment variables; None = the process's own.
        connect: What opens a store; None = `colony.connect`.
    """
    debug = False
    try:
        command, values = parse(
            sys.argv[1:] if argv is None else argv, os.environ if environ is None else environ
        )
        debug = values["log_level"] == "debug"
        logging.basicConfig(
            level=values["log_level"].upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        opened = connect or colony.connect
        if values["keys"] is not None:
            opened = partial(opened, keys=values["keys"], key=values["as"])
        return command.run(Call(values, opened))
    except SystemExit as asked:  # --help and --version
        return int(asked.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `colony events | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        status, line = explain(error)
        warn(line)
        if debug:
            traceback.print_exc()
        return status


def explain(error: Exception) -> tuple[Exit, str]:
    """Return the exit status of a failure, and the line that tells it."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, config.UsageError):
        return Exit.USAGE, said if said.startswith("colony") else f"colony: {said}"
    if isinstance(error, Failure):
        return error.status, f"colony: {said}"
    if isinstance(error, OutcomeUnknown):
        return Exit.UNAVAILABLE, f"colony: {said}; it may have been applied or not: look before trying again"
    if isinstance(error, Unavailable):
        hint = "is a host there? see --connect" if "no connection" in said else "see colony status"
        return Exit.UNAVAILABLE, f"colony: {said}; {hint}"
    if isinstance(error, ColonyError):
        return Exit.FAILED, f"colony: {said}"
    return Exit.FAILED, f"colony: {type(error).__name__}: {said} (--log-level debug shows where)"
