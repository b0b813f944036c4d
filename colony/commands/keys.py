"""`keygen`: key pairs for hosts, clients, operators and observers."""

from __future__ import annotations

from colony import keyring
from colony.commands.base import Call, Command, Exit, Positional
from colony.config import Option, UsageError, one_of, text

ROLES = ("client", "operator", "observer")


def keygen(call: Call) -> int:
    """Make the first keys of a cluster, or one more."""
    folder, role, name = call["dir"], call["role"], call["name"]
    if (role is None) != (name is None):
        raise UsageError("colony keygen: --role and --name go together: they add one key pair")
    if role is not None:
        files = keyring.add(folder, keyring.role_of(role), name)
        told = (
            f"give {files[0].name} and {keyring.HOST_PUBLIC} to its holder, and delete {files[0]} here",
            f"hosts take notice of {files[2]} within a second of its change: copy it to each",
        )
    else:
        files = keyring.make(folder)
        told = (
            f"hosts need host.key, host.pub and authorized: colony host --keys {folder}",
            "a client's machine needs host.pub and one of client.key, operator.key, observer.key",
        )
    call.show({"files": [str(path) for path in files]}, *(f"made {path}" for path in files), *told)
    return Exit.DONE


COMMANDS = (
    Command(
        "keygen",
        "make key pairs for hosts, clients, operators and observers",
        keygen,
        (
            Option("role", one_of(ROLES), None, f"add one key pair: {', '.join(ROLES)}", "ROLE"),
            Option("name", text, None, "what the added key is called", "NAME"),
        ),
        (Positional("DIR", "where they go"),),
    ),
)
