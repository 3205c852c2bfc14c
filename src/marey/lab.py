"""Streams and commands of a running session for anyone: notebook, script, web page, program."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marey._native import Ring, is_alive
from marey.command import Asker, Listener
from marey.errors import NodeMissing, SessionError, StreamDamaged, StreamMissing
from marey.stream import Source
from marey.stream.closing import Closing
from marey.stream.ledger import stream_account
from marey.stream.runtime import runtime_folder, session_folder

if TYPE_CHECKING:
    from psutil import Process

SESSION_FILE = "session.json"
"""In a session's folder: its name, the supervisor's process, its nodes and their kinds."""


def read_session(folder: Path) -> dict[str, Any] | None:
    """What a session's folder says of it; None where it says nothing (yet)."""
    try:
        found: dict[str, Any] = json.loads((folder / SESSION_FILE).read_text())
    except (OSError, ValueError):
        return None
    return found


def sessions() -> list[str]:
    """Names of the sessions of this user that are running."""
    names = []
    for folder in sorted(runtime_folder().glob("[A-Za-z]*")):
        facts = read_session(folder) if folder.is_dir() else None
        if facts is not None and is_alive(facts["owner"]):
            names.append(facts["name"])
    return names


def attach(session: str) -> Lab:
    """Attach to a running session.

    Raises:
        SessionError: no session of that name is running.
    """
    folder = session_folder(session)
    facts = read_session(folder)
    if facts is None or not is_alive(facts["owner"]):
        running = sessions()
        raise SessionError(
            f"session '{session}': is not running; running are: {', '.join(running) or 'none'}"
        )
    return Lab(session, folder)


class Lab(Closing):
    """A running session: `lab.cam` is the node `cam`, with its stream, settings and actions.

    Args:
        name: the session's name.
        folder: its runtime folder.
        reader: under which name streams read through this lab keep their accounts.
    """

    def __init__(self, name: str, folder: Path, reader: str = "") -> None:
        self.name = name
        self.folder = folder
        self._reader = reader
        self._asker = Asker(folder, who=reader, running=self._runs)
        self._handles: dict[str, NodeHandle] = {}
        self._processes: dict[int, Process] = {}

    def _runs(self) -> bool:
        """Whether the session has its supervisor; one that was replaced meanwhile counts, too."""
        facts = read_session(self.folder)
        return facts is not None and is_alive(facts["owner"])

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes by name, each with its `kind` and `role`."""
        facts = read_session(self.folder)
        if facts is None:
            raise SessionError(f"session '{self.name}': is not running any more")
        nodes: dict[str, dict[str, Any]] = facts["nodes"]
        return nodes

    @property
    def streams(self) -> list[str]:
        """Names of all streams that exist now."""
        return stream_names(self.folder)

    def __getitem__(self, node: str) -> NodeHandle:
        known = self.nodes
        if node not in known:
            close = difflib.get_close_matches(node, known, 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise NodeMissing(
                f"session '{self.name}': has no node '{node}'; {hint}it has {', '.join(known)}"
            )
        return self._handles.setdefault(node, NodeHandle(self, node))

    def __getattr__(self, node: str) -> NodeHandle:
        if node.startswith("_"):
            raise AttributeError(node)
        return self[node]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.nodes]

    def stream(self, name: str) -> Source:
        """A stream by name, also one beside a node's own, such as `cam.truth`."""
        return Source(self.folder, name, reader=self._reader)

    def ask(self, node: str, verb: Any, name: str = "", **args: Any) -> Any:
        """Ask a node, or the supervisor as node `session`."""
        return self._asker.ask(node, verb, name, args)

    def call(
        self,
        node: str,
        action: str,
        args: dict[str, Any],
        timeout: float = 10.0,
        progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call an action of a node; see `NodeHandle.do`."""
        return self._asker.ask(node, "do", action, args, timeout=timeout, progress=progress)

    def set(self, **settings: Any) -> dict[str, dict[str, Any]]:
        """Set session-wide settings (`acquiring`, `folder`, `run`, `mode`).

        Returns:
            By node, what each node that follows one of them has now.

        Raises:
            SettingError: there is no such setting, or a node refuses it; then no node changed.
        """
        changed: dict[str, dict[str, Any]] = self._asker.ask("session", "set", "", settings)
        return changed

    def get(self) -> dict[str, Any]:
        """The session-wide settings."""
        values: dict[str, Any] = self.ask("session", "get")
        return values

    def events(self, patience: float = 5.0) -> Listener:
        """Events from now on: log lines, changed settings, progress, states, errors, losses.

        Args:
            patience: how long to wait until it is sure that no event is missed, s; 0 not to wait.
        """
        return self._asker.listen(patience)

    def status(self) -> dict[str, Any]:
        """Live counters: `streams` (see `ledger`) and `nodes` (state, cpu, rss, restarts, pid)."""
        told: dict[str, Any] = self.ask("session", "status")
        for facts in told["nodes"].values():
            facts.update(self._load_of(facts["pid"]))
        told["streams"] = stream_accounts(self.folder)
        return told

    def ledger(self) -> dict[str, Any]:
        """The account of every frame: per stream and reader what was made, delivered, lost, why."""
        found: dict[str, Any] = self.ask("session", "report")
        return found

    def stop(self) -> None:
        """Stop the session in order."""
        self.ask("session", "stop")

    def close(self) -> None:
        """Detach; the session goes on."""
        for handle in self._handles.values():
            handle._ring = None  # no segment stays mapped
        self._asker.close()

    def _load_of(self, pid: int | None) -> dict[str, float]:
        """CPU as a fraction of one core since the last call, and own memory in bytes."""
        import psutil  # not needed by nodes, which should start fast

        if pid is None:
            return {"cpu": 0.0, "rss": 0.0}
        try:
            if pid not in self._processes:
                self._processes[pid] = psutil.Process(pid)
            process = self._processes[pid]
            memory = process.memory_info()
            # Rings are shared, and mapped twice: they are nobody's own.
            own = memory.rss - getattr(memory, "shared", 0)
            return {"cpu": process.cpu_percent() / 100, "rss": float(own)}
        except psutil.Error:
            self._processes.pop(pid, None)
            return {"cpu": 0.0, "rss": 0.0}


class NodeHandle(Source):
    """One node of a running session: its stream, its settings and its actions.

    An action is called by its name: `lab.rec.start(before=5.0)`.
    """

    def __init__(self, lab: Lab, node: str) -> None:
        super().__init__(lab.folder, node, reader=lab._reader)
        self._lab = lab

    def get(self, name: str = "") -> Any:
        """The value of one setting, or all of them by name.

        Raises:
            SettingError: there is no such setting.
        """
        return self._lab.ask(self.name, "get", name)

    def set(self, **settings: Any) -> dict[str, Any]:
        """Set live settings, all or none of them, between two frames.

        Raises:
            SettingError: names node, field, what was found and what would be right.
        """
        return self._lab._asker.ask(self.name, "set", "", settings)  # type: ignore[no-any-return]

    def do(
        self,
        action: str,
        /,
        *,
        timeout: float = 10.0,
        progress: Callable[[Any], None] | None = None,
        **args: Any,
    ) -> Any:
        """Call an action.

        Args:
            timeout: how long to wait for the answer, or for the next sign of progress, s.
            progress: called with [fraction, text] while a long action runs.
            args: its arguments; for one that is called `timeout` or `progress`, use `Lab.call`.

        Raises:
            ActionError: no such action, an argument is refused, or the action failed.
            NoAnswer: the node did not answer in time.
        """
        return self._lab.call(self.name, action, args, timeout, progress)

    def describe(self) -> dict[str, Any]:
        """Kind, role, documentation, schema and values of the settings, and the actions."""
        found: dict[str, Any] = self._lab.ask(self.name, "describe")
        return found

    def __getattr__(self, action: str) -> Callable[..., Any]:
        if action.startswith("_"):
            raise AttributeError(action)

        def call(**args: Any) -> Any:
            return self.do(action, **args)

        return call


def stream_names(folder: Path) -> list[str]:
    """Names of the streams in a session's folder."""
    return sorted(path.name.removesuffix(".ring") for path in folder.glob("*.ring"))


def stream_accounts(folder: Path) -> dict[str, Any]:
    """The accounts of all streams in a session's folder."""
    accounts = {}
    for name in stream_names(folder):
        try:
            accounts[name] = stream_account(Ring(str(folder), name))
        except (StreamMissing, StreamDamaged):
            continue  # replaced or removed while we looked
    return accounts
