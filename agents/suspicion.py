"""Suspicion: who falls silent is noted with the evidence, and its process looked for.

The detector judges; this says so, once for each suspect.
"""

from __future__ import annotations

from agents.detector import Verdict
from agents.effects import Note, ProbeProcess
from agents.standing import Standing
from agents.views import Member


class Suspicion:
    """Whom one member suspects, as it has said so."""

    def __init__(self, here: Standing, now_s: float) -> None:
        self._here = here
        self._suspects: frozenset[str] = frozenset()
        self._probe_s = now_s

    @property
    def is_any(self) -> bool:
        """Whether somebody was suspected when it was last looked."""
        return bool(self._suspects)

    def look(self, now_s: float) -> None:
        """Note new suspects, and see whether their processes are gone."""
        here = self._here
        assert here.known is not None, "only members suspect each other"
        if not self._suspects and here.detector.is_calm(now_s):
            return
        suspects = []
        is_probe_due = now_s >= self._probe_s
        if is_probe_due:
            self._probe_s = now_s + here.settings.probe_s
        for member in here.known.members:
            if not here.detector.suspected(member.id, now_s):
                continue
            suspects.append(member.id)
            if member.id not in self._suspects:
                here.do(self._suspected(member, now_s))
            near = member.machine != "" and member.machine == here.me.machine
            if is_probe_due and near and here.detector.verdict(member.id, now_s) is not Verdict.DEAD:
                here.do(ProbeProcess(member))
        self._suspects = frozenset(suspects)

    def _suspected(self, member: Member, now_s: float) -> Note:
        """Return who is suspected of what, on what evidence."""
        here = self._here
        contact, told = here.contacts.get(member.id), here.detector.evidence(member.id, now_s)
        reason = "silent"
        if contact is None or not contact.up:
            reason = f"its link is down{f': {contact.lost}' if contact is not None and contact.lost else ''}"
        elif here.detector.is_deaf(member.id, now_s):
            reason = "it says that it does not hear this host"
        return Note("suspect", reason, host=member.id, details=told)
