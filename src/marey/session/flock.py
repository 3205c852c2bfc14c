"""The nodes of a session: started, heard, watched, and started anew when they die."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from marey._native import end_stream
from marey.command import Event
from marey.errors import MareyError, NodeError
from marey.session.child import Child, describe_exit
from marey.session.chronicle import Chronicle
from marey.session.guardian import Guardian
from marey.session.post import Post

log = logging.getLogger("marey.session")

_TOLD = ("waiting", "opened", "ready", "running", "ended", "stopped")
_PAUSE = 2.0  # s between two looks, after which signs of life may have been missed
_DEAD = 10.0  # s that a killed process has to be gone


class Flock:
    """Looks after all nodes of one session; draws the consequences of what they tell.

    Args:
        session: the session's name.
        folder: its runtime folder.
        children: its nodes.
        post: where their events come in.
        guardian: who ends them if the supervisor dies.
    """

    def __init__(
        self,
        session: str,
        folder: Path,
        children: dict[str, Child],
        post: Post,
        guardian: Guardian,
    ) -> None:
        self.children = children
        self.chronicle = Chronicle()
        self.phase: Literal["starting", "running", "giving up"] = "starting"
        self.ending = False
        """Whether the session comes to its end: who dies at once again is not waited for."""
        """A death while starting ends the start."""
        self.failed = ""
        """Why the first node failed for good."""
        self._looked = time.monotonic()
        self._session = session
        self._folder = folder
        self._post = post
        self._guardian = guardian

    def spawn(self, child: Child) -> None:
        """Start a node's process."""
        line = self._post.line(child.name)
        post = self._post
        child.start(self._session, self._folder, line, post.put_line, post.nudge)
        assert child.pid is not None
        child.entry = self._guardian.add(child.pid)

    def attach(self, child: Child) -> None:
        """Let a node that has opened attach to the streams that it reads."""
        streams = sorted(name for c in self.children.values() for name in c.streams)
        if child.line is not None:
            child.line.tell("attach", {"streams": streams})

    def go(self, child: Child) -> None:
        """Let a node that is ready begin."""
        if child.line is None:
            return
        self._pay(child)
        child.line.tell("go")

    def look(self) -> None:
        """Take what came in, and look after every process.

        Raises:
            NodeError: a node died while the session was starting.
        """
        if time.monotonic() - self._looked > _PAUSE:  # we were stopped (Ctrl-Z), not the nodes
            for child in self.children.values():
                child.moved()
        self._looked = time.monotonic()
        for event in self._post.events():
            self._take(event)
        for line in self._post.lines():
            self.publish(line)
        for child in self.children.values():
            self._look_after(child)
        if self._guardian.look():
            self._incident("died", "session", "session: its guard had died; there is another now")

    def end_streams(self, child: Child) -> None:
        """End the streams of a node that will not write them any more: nobody waits for ever."""
        for stream in child.streams:
            with suppress(MareyError):
                end_stream(str(self._folder), stream)

    def kill_all(self) -> None:
        """Nothing must be left, whatever went wrong before."""
        for child in self.children.values():
            child.dismissed = True
            child.kill()
        until = time.monotonic() + _DEAD
        for child in self.children.values():
            while child.pid is not None and child.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            child.forget()

    def publish(self, event: Event) -> None:
        """Tell an event to everybody who listens, and to the log."""
        if event.kind == "error":
            log.error("%s", event.data["text"])
            if event.data.get("trace") and not event.data.get("known"):
                log.error("%s", event.data["trace"].rstrip())
        elif event.kind == "log":
            level = logging.getLevelNamesMapping().get(event.data["level"].upper(), logging.INFO)
            log.log(level, "%s: %s", event.node, event.data["text"])
        self._post.publish(event)

    # ------------------------------------------------------------ processes

    def _look_after(self, child: Child) -> None:
        code = child.poll()
        if code is not None:
            if not child.done:
                for event in self._post.last_words():  # what it said before it ended comes first
                    self._take(event)
            self._guardian.remove(child.entry)
            child.forget()
            self._has_ended(child, code)
        elif child.due is not None and time.monotonic() >= child.due:
            self.spawn(child)
        elif self.phase == "running" and not child.leaving and (late := child.overdue()):
            self._incident("hung", child.name, late)
            child.error, child.condemned = late, True
            child.kill()

    def _has_ended(self, child: Child, code: int) -> None:
        if child.dismissed:
            child.state = "stopped"
            return
        if code == 0 and child.state in ("ended", "stopped"):
            return
        if not child.reported:
            if not child.condemned:
                child.error = f"{child.name}: {describe_exit(code)}"
            data = {"text": child.error, "trace": ""}
            self.publish(Event(kind="error", node=child.name, data=data))
        if self.phase == "starting":
            child.state = "failed"
            raise NodeError(child.error)
        self._incident("died", child.name, child.error)
        # One that came to its end and then failed to close has nothing left to do.
        again = child.state != "ended" and not child.leaving
        delay = child.schedule() if again and child.settings["restart"] != "never" else None
        if delay is None or (self.ending and delay > 0):
            self.give_up(child)
        else:
            self._tell_state(child, delay=delay)

    def give_up(self, child: Child) -> None:
        """Do not start a node anew that has died."""
        child.due = None
        child.state = "failed"
        self.failed = self.failed or child.error
        self.end_streams(child)
        self._tell_state(child)

    def _pay(self, child: Child) -> None:
        """Tell a node what it could not hear before."""
        if child.owed and child.line is not None:
            child.line.tell("set", child.owed)
            child.owed = {}

    # ------------------------------------------------------------ events

    def _take(self, event: Event) -> None:
        child = self.children.get(event.node)
        try:
            if child is not None and self._heed(child, event):
                self.publish(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("%s: told something odd: %s: %s", event.node, type(error).__name__, error)

    def _heed(self, child: Child, event: Event) -> bool:
        """Draw the consequences of an event; whether it concerns the listeners."""
        data = event.data
        match event.kind:
            case "alive":
                child.beat(int(data["beats"]))
                return False
            case "state":
                return bool(data["pid"] == child.pid) and self._changed_state(child, data)
            case "setting":
                known = type(child.node).model_fields
                child.settings.update({k: v for k, v in data["values"].items() if k in known})
            case "error":
                child.error, child.reported = str(data["text"]), True
            case "lost" | "outage":
                self.chronicle.note(event)
            case "log" if data["level"] == "error":
                self.chronicle.tell("error", event.node, str(data["text"]))
        return True

    def _changed_state(self, child: Child, data: dict[str, Any]) -> bool:
        state = data["state"]
        if state not in _TOLD or child.pid is None or child.condemned:
            return False
        child.done = state == "stopped"
        if child.done and child.state == "ended":
            return False
        child.state = state
        child.moved()
        if state == "opened":
            child.streams = [str(name) for name in data["streams"]]
        elif state == "running":
            child.error = ""
            self._pay(child)
        # While all start together, each step waits for the slowest; later one goes on by itself.
        if self.phase == "running":
            if state == "opened":
                self.attach(child)
            elif state == "ready":
                self.go(child)
        return True

    def _tell_state(self, child: Child, **data: Any) -> None:
        data |= {"state": child.state, "error": child.error, "pid": child.pid}
        self.publish(Event(kind="state", node=child.name, data=data))

    def _incident(self, what: str, node: str, text: str) -> None:
        log.warning("%s", text)
        self.chronicle.tell(what, node, text)


def in_role(children: Iterable[Child], *roles: str) -> list[Child]:
    """Those of the children that have one of the roles."""
    return [child for child in children if child.role in roles]
