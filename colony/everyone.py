"""Everyone: one question to all hosts of a cluster at once, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from colony.errors import ColonyError, Refused

Json = dict[str, Any]

ASK_S = 3.0
AT_ONCE = 16  # hosts asked at the same time


def ask_each(
    connect: Callable[..., Any],
    members: Sequence[Mapping[str, Any]],
    command: str,
    arguments: Mapping[str, Any],
) -> list[Json | str]:
    """Return each member's own answer to an operator's command, or why there is none.

    Args:
        connect: Opens a store from addresses, comma-separated.
        members: As `status` lists them.
    """
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(lambda member: _answer(connect, member, command, arguments), members))


def _answer(
    connect: Callable[..., Any], member: Mapping[str, Any], command: str, arguments: Mapping[str, Any]
) -> Json | str:
    try:
        store = connect(str(member.get("address")), timeout=ASK_S)
        try:
            answer: Json = store.admin(command, dict(arguments))
        finally:
            store.close()
    except Refused as error:
        return f"it knows another view ({error})"
    except ColonyError as error:
        return f"it does not answer ({error})"
    if answer.get("name", member.get("name")) != member.get("name"):
        return "another host answers in its place"
    return answer
