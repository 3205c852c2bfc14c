"""The supervisor: starts the nodes, watches them, stops them in order, leaves nothing behind."""

from __future__ import annotations

import json
import logging
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zmq
from pydantic import ValidationError

from marey._native import end_stream
from marey.command import Asker, Event, Pending, Server, events_address, inbox_address
from marey.errors import ActionError, MareyError, NodeError, NodeFailed, SettingError
from marey.lab import stream_accounts
from marey.node.control import extra, plain, role, setting_message
from marey.node.registry import kind_of, reference
from marey.session import guard
from marey.session.child import Child, describe_exit
from marey.session.place import claim, write_session
from marey.session.session import Session

log = logging.getLogger("marey.session")

_TICK = 50  # ms between two looks at the children
_DRAIN = 10.0  # s that readers have to finish what is left after the cameras stopped
_HANG = 30.0  # s without a round of its loop after which a node is taken for hung
_INCIDENTS = 10_000


class Supervisor:
    """Runs one session.

    Args:
        session: what to run.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.shared = session.shared.model_copy()
        self.children = {
            name: Child(
                name,
                reference(type(node)),
                plain(node.model_dump()),
                role(type(node)),
                kind_of(type(node)),
            )
            for name, node in session.nodes.items()
        }
        self.name, self.folder = claim(session.name)
        self.incidents: list[dict[str, Any]] = []
        self._stopping = threading.Event()
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._failed = ""
        self._failure: MareyError | None = None
        self._began: float | None = None
        self._ledger: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._interrupts = 0
        self._entries: dict[str, str] = {}

    # ------------------------------------------------------------ from outside

    def start(self) -> None:
        """Run in a thread; returns when all nodes are running.

        Raises:
            NodeError: a node could not start.
        """

        def run() -> None:
            try:
                self.run(None, signals=False, on_ready=lambda _: self._ready.set())
            except MareyError as error:
                self._failure = error
            finally:
                self._ready.set()

        self._thread = threading.Thread(target=run, name=f"supervisor-{self.name}")
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Ask for an orderly stop."""
        self._stopping.set()

    def join(self) -> dict[str, Any]:
        """Wait for the end; returns the ledger.

        Raises:
            NodeFailed: a node failed for good.
        """
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._ledger

    def run(
        self, seconds: float | None, *, signals: bool, on_ready: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Run until stopped; returns the ledger. See `Session.run`."""
        previous = self._catch_signals() if signals else {}
        try:
            self._set_up()
            try:
                self._start_all()
                if not self._stopping.is_set():
                    self._began = time.monotonic()
                    if on_ready is not None:
                        on_ready(self.name)
                    self._watch(seconds)
            finally:
                self._stop_all()
                self._ledger = self._account()
        finally:
            self._tear_down()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._failed:
            raise NodeFailed(self._failed, self._ledger)
        return self._ledger

    # ------------------------------------------------------------ life

    def _catch_signals(self) -> dict[int, Any]:
        def interrupt(number: int, frame: Any) -> None:
            self._interrupts += 1
            self._stopping.set()
            if self._interrupts > 1:
                for child in self.children.values():
                    child.kill()

        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP"):
            numbers.append(signal.SIGHUP)
        return {number: signal.signal(number, interrupt) for number in numbers}

    def _set_up(self) -> None:
        nodes = {name: {"kind": c.label, "role": c.role} for name, c in self.children.items()}
        write_session(self.folder, self.name, nodes)
        self._context = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.bind(inbox_address(self.folder))
        self._events = self._context.socket(zmq.XPUB)
        self._events.setsockopt(zmq.LINGER, 200)
        self._events.setsockopt(zmq.XPUB_WELCOME_MSG, b"welcome")
        self._events.bind(events_address(self.folder))
        self._server = Server(self.folder, "session")
        self._asker = Asker(self.folder)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _tear_down(self) -> None:
        for child in self.children.values():
            child.kill()
        self._reap(until=time.monotonic() + 5)
        self._asker.close()
        self._server.close()
        self._inbox.close(linger=0)
        self._events.close()
        self._context.term()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):  # somebody ended the guard; nothing is left to guard
            self._guard.stdin.write("done\n")
            self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, sign: str, entry: str) -> None:
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(f"{sign}{entry}\n")
            self._guard.stdin.flush()
        except BrokenPipeError:
            log.warning(
                "the guard has ended: a killed supervisor would leave its nodes to themselves"
            )

    def _spawn(self, child: Child) -> None:
        child.start(self.name, self.folder, lambda name, line: self._lines.put((name, line)))
        self._entries[child.name] = child.entry
        self._tell_guard("+", child.entry)

    def _start_all(self) -> None:
        for child in self.children.values():
            self._spawn(child)
        self._until(lambda: all(c.state != "starting" for c in self.children.values()))
        streams = sorted(name for c in self.children.values() for name in c.streams)
        self._tell_all("attach", {"streams": streams}, list(self.children))
        self._until(
            lambda: all(c.state not in ("starting", "opened") for c in self.children.values())
        )
        # Sinks before processors before devices before cameras: all see the first frame.
        for kind in ("sink", "processor", "device", "camera", "node"):
            self._tell_all("go", {}, [n for n, c in self.children.items() if c.role == kind])

    def _tell_all(self, verb: Any, args: dict[str, Any], names: list[str]) -> None:
        for name in names:
            child = self.children[name]
            if self._stopping.is_set() or child.state in ("ended", "stopped", "failed"):
                continue
            self._asker.ask(name, verb, "", args)
            if verb == "go":
                child.state = "running"

    def _until(self, reached: Callable[[], bool]) -> None:
        while not reached() and not self._stopping.is_set():
            self._tick(starting=True)
            for child in self.children.values():
                allowed = float(child.settings["start_timeout"])
                if (
                    child.state in ("starting", "opened")
                    and time.monotonic() - child.started > allowed
                ):
                    raise NodeError(f"{child.name}: not ready after {allowed:g} s")

    def _watch(self, seconds: float | None) -> None:
        assert self._began is not None
        while not self._stopping.is_set():
            self._tick()
            if seconds is not None and time.monotonic() - self._began >= seconds:
                break
            if self._is_over():
                break

    def _is_over(self) -> bool:
        """Whether all cameras have come to their end (a session without cameras goes on)."""
        cameras = [c for c in self.children.values() if c.role == "camera"]
        over = ("ended", "failed", "stopped")
        return bool(cameras) and all(c.state in over for c in cameras)

    def _tick(self, starting: bool = False) -> None:
        """One look at events, requests, processes and lines."""
        if self._inbox.poll(_TICK):
            for _ in range(1000):
                try:
                    text = self._inbox.recv(zmq.DONTWAIT)
                except zmq.Again:
                    break
                self._take(Event.model_validate_json(text))
        while self._events.poll(0):
            self._events.recv()  # who subscribes and leaves
        while not self._lines.empty():
            name, line = self._lines.get()
            self._publish(Event(kind="log", node=name, data={"level": "stderr", "text": line}))
        while self._server.pending:
            self._obey(self._server.pending.popleft())
        for child in self.children.values():
            self._look_after(child, starting)

    def _look_after(self, child: Child, starting: bool) -> None:
        code = child.poll()
        if code is not None:
            self._drain_inbox()
            child.forget()
            self._tell_guard("-", self._entries.pop(child.name))
            self._has_ended(child, code, starting)
        elif (
            child.state == "restarting" and child.due is not None and time.monotonic() >= child.due
        ):
            self._spawn(child)
        elif child.pid and not starting and time.monotonic() - child.moved > _HANG:
            self._incident("hung", child.name, f"{child.name}: no sign of life for {_HANG:g} s")
            child.moved = time.monotonic()
            child.kill()

    def _drain_inbox(self) -> None:
        """What a process said before it ended comes before its end."""
        while self._inbox.poll(20):
            self._take(Event.model_validate_json(self._inbox.recv()))

    def _has_ended(self, child: Child, code: int, starting: bool) -> None:
        if code == 0:
            if child.state != "ended":
                child.state = "stopped"
            return
        if not child.reported:
            child.error = f"{child.name}: {describe_exit(code)}"
            self._publish(
                Event(kind="error", node=child.name, data={"text": child.error, "trace": ""})
            )
        if starting:
            child.state = "failed"
            raise NodeError(child.error)
        self._incident("died", child.name, child.error)
        if self._stopping.is_set() or child.settings["restart"] == "never":
            self._fail(child)
            return
        delay = child.schedule()
        self._state(child, delay=delay)

    def _fail(self, child: Child) -> None:
        child.state = "failed"
        self._failed = self._failed or child.error
        for stream in child.streams:
            with suppress(MareyError):
                end_stream(str(self.folder), stream)  # its readers must not wait for ever
        self._state(child)

    # ------------------------------------------------------------ events

    def _take(self, event: Event) -> None:
        child = self.children.get(event.node)
        if child is None:
            return
        if event.kind == "alive":
            child.beat(event.data["beats"])
            return
        match event.kind:
            case "state":
                self._changed_state(child, event)
            case "setting":
                child.settings.update(event.data["values"])
            case "error":
                child.error, child.reported = event.data["text"], True
            case "lost":
                self._note(event, event.data)
            case "outage":
                self._note(event, event.data)
        self._publish(event)

    def _changed_state(self, child: Child, event: Event) -> None:
        state = event.data["state"]
        if child.state == "restarting" or event.data["pid"] != child.pid:
            return
        if state == "stopped" and child.state == "ended":
            return
        child.state = state
        child.moved = time.monotonic()
        if state == "opened":
            child.streams = event.data["streams"]
            if self._began is not None:
                streams = sorted(name for c in self.children.values() for name in c.streams)
                self._asker.ask(child.name, "attach", "", {"streams": streams})
        if state == "ready" and self._began is not None:
            self._asker.ask(child.name, "go")
            child.state = "running"
            child.error = ""
            self._state(child)

    def _note(self, event: Event, data: dict[str, Any]) -> None:
        self.incidents.append({"time": event.time, "node": event.node, "what": event.kind, **data})
        del self.incidents[:-_INCIDENTS]

    def _incident(self, what: str, node: str, text: str) -> None:
        log.warning("%s", text)
        self.incidents.append({"time": time.time_ns(), "node": node, "what": what, "text": text})

    def _state(self, child: Child, **data: Any) -> None:
        data |= {"state": child.state, "error": child.error, "pid": child.pid}
        self._publish(Event(kind="state", node=child.name, data=data))

    def _publish(self, event: Event) -> None:
        if event.kind == "error":
            log.error("%s", event.data["text"])
            if event.data.get("trace") and not event.data.get("known"):
                log.error("%s", event.data["trace"].rstrip())
        elif event.kind == "log":
            log.info("%s: %s", event.node, event.data["text"])
        self._events.send(event.model_dump_json().encode())

    # ------------------------------------------------------------ commands

    def _obey(self, pending: Pending) -> None:
        request = pending.request
        try:
            match request.verb:
                case "status":
                    pending.answer(self._status())
                case "report":
                    pending.answer(self._account())
                case "get":
                    pending.answer(self.shared.model_dump())
                case "set":
                    pending.answer(self._set_shared(request.args))
                case "stop":
                    self.stop()
                    pending.answer()
                case other:
                    raise ActionError(f"session: does not know '{other}'")
        except MareyError as error:
            pending.fail("session", error)

    def _status(self) -> dict[str, Any]:
        return {
            "seconds": 0.0 if self._began is None else time.monotonic() - self._began,
            "shared": self.shared.model_dump(),
            "nodes": {
                name: {
                    "kind": c.label,
                    "role": c.role,
                    "state": c.state,
                    "error": c.error,
                    "pid": c.pid,
                    "restarts": c.restarts,
                }
                for name, c in self.children.items()
            },
        }

    def _set_shared(self, changes: dict[str, Any]) -> dict[str, Any]:
        """All or nothing: each node checks first, then all take over and acknowledge."""
        try:
            wanted = type(self.shared).model_validate(self.shared.model_dump() | changes)
        except ValidationError as error:
            raise SettingError(setting_message("session", error)) from error
        values = wanted.model_dump()
        followers = {}
        for name, node in self.session.nodes.items():
            fields = type(node).model_fields
            own = {f: values[f] for f in changes if f in fields and extra(fields[f])["follows"]}
            if own and self.children[name].state == "running":
                followers[name] = own
        for name, own in followers.items():
            self._asker.ask(name, "check", "", own)
        answers = {name: self._asker.ask(name, "set", "", own) for name, own in followers.items()}
        self.shared = wanted
        self._publish(Event(kind="setting", node="session", data={"values": changes, "seq": None}))
        return answers

    # ------------------------------------------------------------ the end

    def _account(self) -> dict[str, Any]:
        """The ledger: every stream and its readers, the nodes, and what happened."""
        return {
            "session": self.name,
            "seconds": 0.0 if self._began is None else time.monotonic() - self._began,
            "streams": stream_accounts(self.folder),
            "nodes": {
                name: {"state": c.state, "restarts": c.restarts, "error": c.error}
                for name, c in self.children.items()
            },
            "incidents": self.incidents,
        }

    def _stop_all(self) -> None:
        """Cameras and devices first; the others finish what is left and end by themselves."""
        self._stopping.set()
        starting = self._began is None
        children = list(self.children.values())
        sources = [c for c in children if c.role in ("camera", "device", "node")]
        for child in children if starting else sources:
            self._ask_to_stop(child)
        if not starting:
            self._reap(until=time.monotonic() + _DRAIN, wanted=sources)
            for child in sources:  # a camera that had to be killed leaves no one waiting
                for stream in child.streams:
                    with suppress(MareyError):
                        end_stream(str(self.folder), stream)
            self._drain([c for c in children if c not in sources and not self._reads_nothing(c)])
            for child in children:
                self._ask_to_stop(child)
        self._reap(until=time.monotonic() + 3)
        for child in children:
            child.kill(signal.SIGTERM)
        self._reap(until=time.monotonic() + 1)
        for child in children:
            if child.pid is not None:
                self._incident("killed", child.name, f"{child.name}: did not stop and was killed")
                child.kill()
        self._reap(until=time.monotonic() + 5)

    def _drain(self, readers: list[Child]) -> None:
        """Wait for readers to finish what is left, as long as they get on with it."""
        before = -1
        while any(c.pid is not None for c in readers):
            accounts = stream_accounts(self.folder).values()
            settled = sum(r["received"] for a in accounts for r in a["readers"].values())
            if settled == before:
                return
            before = settled
            self._reap(until=time.monotonic() + _DRAIN, wanted=readers)

    def _reads_nothing(self, child: Child) -> bool:
        return bool(getattr(self.session.nodes[child.name], "on_demand", False))

    def _ask_to_stop(self, child: Child) -> None:
        child.due = None
        if child.pid is None:
            return
        if child.state in ("starting", "restarting"):
            child.kill(signal.SIGTERM)
            return
        try:
            self._asker.ask(child.name, "stop", timeout=2.0)
        except MareyError as error:
            log.warning("%s", error)

    def _reap(self, until: float, wanted: list[Child] | None = None) -> None:
        wanted = list(self.children.values()) if wanted is None else wanted
        while any(c.pid is not None for c in wanted) and time.monotonic() < until:
            self._tick()


def ledger_json(ledger: dict[str, Any]) -> str:
    """The ledger as one JSON object."""
    return json.dumps(plain(ledger))
