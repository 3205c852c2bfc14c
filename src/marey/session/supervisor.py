"""The supervisor: starts the nodes, watches them, stops them in order, leaves nothing behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from marey.command import Event, Pending
from marey.errors import ActionError, NodeError, NodeFailed
from marey.lab import stream_accounts
from marey.session.agreement import Agreement
from marey.session.child import Child
from marey.session.flock import Flock, in_role
from marey.session.guardian import Guardian
from marey.session.place import claim, give_up, tell_guard
from marey.session.post import Post
from marey.session.session import Session
from marey.session.wiring import missing_source, reads_nothing, root_of

_TICK = 0.05  # s between two looks at the children
_CLOSE = 10.0  # s that a node has to finish its item and close
_TERM = 1.0  # s between SIGTERM and SIGKILL
_DRAIN = 10.0  # s without any progress after which readers are not waited for any more
_ORDER = ("sink", "processor", "device", "camera", "node")
_UNOPENED = ("starting", "waiting")
_OVER = ("ended", "stopped", "failed")


class Supervisor:
    """Runs one session.

    Args:
        session: what to run.

    Raises:
        SessionError: a node's class cannot be found by its process.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.name = session.name
        self.folder: Path
        self.ledger: dict[str, Any] = {}
        self._children = {
            name: Child(name, node, session.shared) for name, node in session.nodes.items()
        }
        self._began: float | None = None
        self._stopping = threading.Event()
        self._interrupts = 0
        self._post: Post
        self._flock: Flock
        self._agreement: Agreement

    def stop(self) -> None:
        """Ask for an orderly stop; from any thread or signal handler."""
        self._stopping.set()

    def run(
        self, seconds: float | None, *, signals: bool, on_ready: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Run until stopped; returns the ledger. See `Session.run`."""
        with ExitStack() as stack:
            if signals and threading.current_thread() is threading.main_thread():
                stack.enter_context(self._signals())
            stack.enter_context(self._set_up())
            try:
                self._start_all()
                if not self._stopping.is_set():
                    self._begin(on_ready)
                    self._watch(seconds)
            finally:
                self._stop_all()
                self.ledger = self._account()
                untold = self._flock.chronicle.untold(self.ledger["streams"], self._children)
                self.ledger["incidents"] += untold
        if self._flock.failed:
            raise NodeFailed(self._flock.failed, self.ledger)
        return self.ledger

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupt(number: int, frame: Any) -> None:
            self._interrupts += 1
            self._stopping.set()
            if self._interrupts > 1:
                for child in self._children.values():
                    child.dismissed = True
                    child.kill()

        numbers = [signal.SIGINT, signal.SIGTERM]
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as under nohup
            numbers.append(hangup)
        previous = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        nodes = {name: {"kind": c.label, "role": c.role} for name, c in self._children.items()}
        with ExitStack() as stack:
            self.name, self.folder = claim(self.session.name, nodes)
            try:
                guardian = Guardian(self.folder, partial(tell_guard, self.folder))
            except BaseException:
                give_up(self.folder)
                raise
            stack.callback(guardian.done)
            stack.callback(give_up, self.folder)
            self._post = Post(self.folder)
            stack.callback(self._post.close)
            stack.callback(self._tell_state, "stopped")
            self._agreement = Agreement(
                self.folder,
                self.session.shared.model_copy(),
                running=lambda: not self._stopping.is_set(),
                nudge=self._post.nudge,
            )
            stack.callback(self._agreement.close)
            self._flock = Flock(self.name, self.folder, self._children, self._post, guardian)
            stack.callback(self._flock.kill_all)
            yield

    # ------------------------------------------------------------ start

    def _start_all(self) -> None:
        children = self._children.values()
        self._each(children, self._flock.spawn, *_UNOPENED)
        self._each(children, self._flock.attach, "opened")
        # Sinks before processors before devices before cameras: all see the first frame.
        for role in _ORDER:
            self._each(in_role(children, role), self._flock.go, "ready")

    def _each(self, children: Collection[Child], do: Callable[[Child], None], *left: str) -> None:
        """Do something with each of these, and wait until they have left these states."""
        for child in children:
            if not self._stopping.is_set():
                do(child)
        while any(c.state in left for c in children) and not self._stopping.is_set():
            self._tick()
            if self._stopping.is_set():  # nodes that were stopped write nothing, rightly
                return
            all_of_them = self._children.values()
            streams = {c.name: c.streams for c in all_of_them if c.state not in _UNOPENED}
            for child in all_of_them:
                if problem := missing_source(child.name, child.node, streams) or child.overdue():
                    raise NodeError(problem)

    def _begin(self, on_ready: Callable[[str], None] | None) -> None:
        self._began = time.monotonic()
        self._flock.phase = "running"
        self._tell_state("running")
        if on_ready is not None:
            on_ready(self.name)

    # ------------------------------------------------------------ run

    def _watch(self, seconds: float | None) -> None:
        while not self._stopping.is_set():
            self._tick()
            if seconds is not None and self._seconds >= seconds:
                break
            # All cameras have come to their end; a session without cameras goes on.
            cameras = in_role(self._children.values(), "camera")
            if cameras and all(c.state in _OVER for c in cameras):
                break

    def _tick(self) -> None:
        """Sleep until something came, then look at it."""
        self._post.sleep(_TICK)
        self._flock.look()
        for pending in self._post.requests():
            self._obey(pending)
        if changes := self._agreement.look(self._children):
            data = {"values": changes, "seq": None}
            self._flock.publish(Event(kind="setting", node="session", data=data))

    def _obey(self, pending: Pending) -> None:
        match pending.request.verb:
            case "status":
                pending.answer(self._status())
            case "report":
                pending.answer(self._account())
            case "get":
                pending.answer(self._agreement.shared.model_dump())
            case "set":
                self._agreement.ask(pending)
            case "stop":
                self.stop()
                pending.answer()
            case other:
                pending.fail("session", ActionError(f"session: does not know '{other}'"))

    @property
    def _seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _status(self) -> dict[str, Any]:
        return {
            "seconds": self._seconds,
            "shared": self._agreement.shared.model_dump(),
            "nodes": {
                name: {
                    "kind": c.label,
                    "role": c.role,
                    "state": c.state,
                    "error": c.error,
                    "pid": c.pid,
                    "restarts": c.restarts,
                }
                for name, c in self._children.items()
            },
        }

    def _account(self) -> dict[str, Any]:
        """The ledger: every stream and its readers, the nodes, and what happened."""
        return {
            "session": self.name,
            "seconds": self._seconds,
            "streams": stream_accounts(self.folder),
            "nodes": {
                name: {"state": c.state, "restarts": c.restarts, "error": c.error}
                for name, c in self._children.items()
            },
            "incidents": list(self._flock.chronicle.incidents),
        }

    def _tell_state(self, state: str) -> None:
        self._post.publish(Event(kind="state", node="session", data={"state": state}))

    # ------------------------------------------------------------ stop

    def _stop_all(self) -> None:
        """Cameras first, then devices; the others finish what is left and end by themselves.

        What follows a camera finishes before devices are stopped: it may still ask for them.
        """
        self._stopping.set()
        self._flock.ending = True
        self._tell_state("stopping")
        children = list(self._children.values())
        if self._began is None:
            self._flock.phase = "giving up"
        else:
            cameras, devices = in_role(children, "camera"), in_role(children, "device", "node")
            nodes = self.session.nodes
            followers = [
                c
                for c in in_role(children, "processor")
                if self._children[root_of(c.name, nodes)] in cameras
            ]
            self._end_sources(cameras)
            if devices:
                self._drain(followers)
            self._end_sources(devices)
            readers = in_role(children, "processor", "sink")
            self._drain([c for c in readers if not reads_nothing(c.node)])
        self._end(children)

    def _end_sources(self, children: list[Child]) -> None:
        self._end(children)
        for child in children:
            self._flock.end_streams(child)  # one that had to be killed leaves no one waiting

    def _drain(self, readers: list[Child]) -> None:
        """Wait for readers to finish what is left, as long as they get on with it."""
        before = -1
        names = {child.name for child in readers}
        while any(c.comes for c in readers):
            settled = 0
            for account in stream_accounts(self.folder).values():
                found = account["readers"]
                settled += sum(found[name]["received"] for name in names & found.keys())
            if settled == before:
                return
            before = settled
            self._reap(readers, _DRAIN)

    def _end(self, children: list[Child]) -> None:
        """Ask to stop, then tell, then kill."""
        for child in children:
            child.leaving = True
            if child.due is not None:
                self._flock.give_up(child)
            if child.pid is None:
                continue
            if child.state == "starting" or child.line is None:
                child.dismissed = True
                child.kill(signal.SIGTERM)
            else:
                child.line.tell("stop")
        patience = max((min(_CLOSE, c.settings["hang_timeout"]) for c in children), default=0.0)
        self._reap(children, patience)
        left = [child for child in children if child.pid is not None]
        for child in left:
            child.kill(signal.SIGTERM)
        self._reap(left, min(_TERM, patience))
        for child in left:
            if child.pid is None:
                continue
            if not child.dismissed:
                child.error = f"{child.name}: did not stop within {patience:g} s and was killed"
                child.condemned = True
            child.kill()
        self._reap(left, _CLOSE)

    def _reap(self, children: list[Child], seconds: float) -> None:
        """Go on looking until these have ended, or the time is over."""
        until = time.monotonic() + seconds
        while any(c.comes for c in children) and time.monotonic() < until:
            self._tick()
