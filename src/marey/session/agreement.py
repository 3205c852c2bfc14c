"""How session-wide settings change: every node that follows them agrees, or nothing changes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from marey.command import Asker, Pending, plain
from marey.errors import MareyError, SettingError
from marey.node.control import candidate, setting_message, unknown
from marey.session.child import Child
from marey.session.shared import SharedSettings

log = logging.getLogger("marey.session")


@dataclass
class Change:
    """A change that is asked for, and how far it got.

    Attributes:
        pending: the request, to be answered.
        changes: what is to change, as the asker gave it.
        wanted: the session-wide settings afterwards.
        before: what the running followers have now, by node.
        after: what they are to have, by node.
    """

    pending: Pending
    changes: dict[str, Any]
    wanted: SharedSettings
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)
    future: Future[dict[str, Any]] | None = None


class Agreement:
    """Changes session-wide settings one after the other, without keeping the supervisor waiting.

    First every follower checks the change, then each takes it over and acknowledges it; where
    one fails in that, those before it take it back.

    Args:
        folder: the session's runtime folder.
        shared: the session-wide settings.
        running: whether the session goes on.
        nudge: called when a change is decided.
    """

    def __init__(
        self,
        folder: Path,
        shared: SharedSettings,
        running: Callable[[], bool],
        nudge: Callable[[], None],
    ) -> None:
        self.shared = shared
        self._asker = Asker(folder, running=running)
        self._nudge = nudge
        self._waiting: deque[Pending] = deque()
        self._present: Change | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agreement")

    def ask(self, pending: Pending) -> None:
        """Take a request to change session-wide settings."""
        self._waiting.append(pending)

    def look(self, children: dict[str, Child]) -> dict[str, Any] | None:
        """Go on with what is asked for; returns the changes that just came to hold, if any."""
        held = None
        if self._present is not None and self._present.future is not None:
            if not self._present.future.done():
                return None
            held = self._conclude(self._present, self._present.future, children)
            self._present = None
        if self._present is None and self._waiting:
            self._begin(self._waiting.popleft(), children)
        return held

    def close(self) -> None:
        """Answer what still waits, and end."""
        while self._waiting:
            self._waiting.popleft().fail("session", SettingError("session: is stopping"))
        self._thread.shutdown()
        if self._present is not None and self._present.future is not None:
            error = self._present.future.exception()
            self._present.pending.fail("session", error or SettingError("session: is stopping"))
        self._asker.close()

    def _begin(self, pending: Pending, children: dict[str, Child]) -> None:
        changes = pending.request.args
        try:
            change = Change(pending, changes, self._wanted(changes))
            values = change.wanted.model_dump()
            for child in children.values():
                own = {name: plain(values[name]) for name in child.follows & changes.keys()}
                if not own:
                    continue
                if child.state == "running":
                    change.after[child.name] = own
                    change.before[child.name] = {name: child.settings[name] for name in own}
                elif child.comes:  # it is away, and will hear of it when it is back
                    node = type(child.node).model_validate(child.settings)
                    node._name = child.name
                    candidate(node, own)
        except (MareyError, ValidationError) as error:
            pending.fail("session", error)
            return
        self._present = change
        change.future = self._thread.submit(self._settle, change)
        change.future.add_done_callback(lambda _: self._nudge())

    def _wanted(self, changes: dict[str, Any]) -> SharedSettings:
        cls = type(self.shared)
        for name in changes:
            if name not in cls.model_fields:
                raise SettingError(f"session.{name}: {unknown(name, cls.model_fields)}")
        try:
            return cls.model_validate(self.shared.model_dump() | changes)
        except ValidationError as error:
            raise SettingError(setting_message("session", error)) from error

    def _settle(self, change: Change) -> dict[str, Any]:
        """Ask the followers; runs in the thread."""
        for name, own in change.after.items():
            self._asker.ask(name, "check", "", own)
        told: dict[str, Any] = {}
        # The node that asks is waiting for our answer: it takes the change over after that.
        others = [name for name in change.after if name != change.pending.request.asker]
        try:
            for name in others:
                told[name] = self._asker.ask(name, "set", "", change.after[name])
        except MareyError:
            for name in others[: len(told) + 1]:
                self._take_back(name, change.before[name])
            raise
        return told

    def _take_back(self, name: str, before: dict[str, Any]) -> None:
        try:
            self._asker.ask(name, "set", "", before)
        except MareyError as error:
            log.warning("session: a change could not be taken back: %s", error)

    def _conclude(
        self, change: Change, future: Future[dict[str, Any]], children: dict[str, Child]
    ) -> dict[str, Any] | None:
        error = future.exception()
        if error is not None:
            change.pending.fail("session", error)
            return None
        told = future.result()
        values = change.wanted.model_dump()
        for child in children.values():
            own = {name: plain(values[name]) for name in child.follows & change.changes.keys()}
            if not own or child.name in told:
                continue
            child.settings.update(own)
            if child.name in change.after:  # the asker
                told[child.name] = own
                if child.line is not None:
                    child.line.tell("set", own)
            else:
                child.owed.update(own)
        self.shared = change.wanted
        change.pending.answer(told)
        return change.changes
