"""The log of a running host: what is told to whom, and when."""

from __future__ import annotations

import json

from agents.effects import Answer, Note, Requested
from agents.log import Log
from agents.messages.client import BAD, OK, Admin, Greet, Reply
from tests.agents.serving import ask, serving


def test_notes_are_kept_at_once_and_told_when_somebody_sees_to_that() -> None:
    heard: list[str] = []
    log = Log(lambda: 5.0, lambda noted: heard.append(noted.note.kind))
    log.add(Note("first", "…"))
    log.add(Note("second", "…"))
    assert heard == [] and [noted.wall_s for noted in log.notes.after(0)] == [5.0, 5.0]
    log.tell()
    log.tell()
    assert heard == ["first", "second"]


def test_whoever_asks_with_the_numbers_of_another_life_gets_all() -> None:
    log = Log(lambda: 5.0, None)
    log.add(Note("first", "…"))
    told = json.loads(log.answer(Admin(1, "events", {"after": 7, "life": "another"}), "h1").text)
    assert [event["kind"] for event in told["events"]] == ["first"] and told["name"] == "h1"
    told = json.loads(log.answer(Admin(1, "events", {"after": 1, "life": log.notes.life}), "h1").text)
    assert told["events"] == [] and told["last"] == 1


def test_the_event_log_is_answered_from_the_notes() -> None:
    with serving() as server:
        server.container.script = lambda event, now_s: (
            [Note("seen", "a greeting"), Answer(event.caller, Reply(event.request.id, OK))]
            if type(event) is Requested
            else []
        )
        ask(server, Greet(1))
        reply = ask(server, Admin(2, "events", {"after": 0}))
        told = json.loads(reply.text)
        assert [event["kind"] for event in told["events"]] == ["seen"]
        assert told["last"] == 1
        assert ask(server, Admin(3, "events", {"after": "x"})).code == BAD
