"""The description of a session: named nodes with their settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from marey.errors import NodeMissing, SessionError, SettingError
from marey.lab import Lab
from marey.node import Node, Processor, Sink
from marey.node.control import setting_message
from marey.node.registry import ScriptLoaded, load, loading_script
from marey.session.shared import SharedSettings
from marey.stream.runtime import check_name

if TYPE_CHECKING:
    from marey.session.supervisor import Supervisor

RESERVED = {"session", *(name for name in dir(Lab) if not name.startswith("_"))}


class Session:
    """Named nodes under one supervisor; each camera and processor writes a stream of its name.

    Args:
        name: the session's name; while one of that name runs, this one becomes `name-2`.
        nodes: the nodes by name.
        shared: session-wide settings, as keyword `shared=SharedSettings(...)`.

    Raises:
        SessionError: a name is unusable, or a node reads a stream that nobody writes.
    """

    def __init__(
        self, name: str = "marey", /, *, shared: SharedSettings | None = None, **nodes: Node
    ) -> None:
        check_name("name of the session", name)
        for node, value in nodes.items():
            check_name("name of a node", node)
            if node in RESERVED:
                raise SessionError(f"name of a node: '{node}' is reserved; choose another")
            if not isinstance(value, Node):
                raise SessionError(f"{node}: found {type(value).__name__}, expected a node")
        self.name = name
        self.nodes = nodes
        self.shared = shared or SharedSettings()  # type: ignore[call-arg]
        self._check_wiring()

    @classmethod
    def from_toml(cls, path: Path | str, overrides: dict[str, str] | None = None) -> Session:
        """Read a session from a TOML file: one table for each node, `kind`, then its settings.

        A table `[session]` may give `name` and session-wide settings. The name is otherwise that
        of the file.

        Args:
            path: the file.
            overrides: `{"cam.rate": "200"}`; values are read as TOML, then as text.

        Raises:
            SessionError: the file cannot be read or describes no session.
            NodeMissing: a kind is not registered.
            SettingError: a setting is refused.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SessionError(f"{path}: {error}") from error
        return cls.from_tables(tables, path.stem, overrides)

    @classmethod
    def from_tables(
        cls, tables: dict[str, Any], name: str, overrides: dict[str, str] | None = None
    ) -> Session:
        """Build a session from tables such as a TOML file holds; see `from_toml`."""
        own = dict(tables.pop("session", {}))
        for key, text in (overrides or {}).items():
            node, _, field = key.partition(".")
            table = own if node == "session" else tables.get(node)
            if not isinstance(table, dict) or not field:
                raise SessionError(
                    f"{key}: no such node; expected node.setting=value with a node of "
                    f"{', '.join(tables)}"
                )
            table[field] = toml_value(text)
        name = own.pop("name", name)
        try:
            shared = SharedSettings(**own)
        except ValidationError as error:
            raise SettingError(setting_message("session", error)) from error
        nodes = {node: _build(node, table) for node, table in tables.items()}
        return cls(name, shared=shared, **nodes)

    def _check_wiring(self) -> None:
        if not self.nodes:
            raise SessionError(f"session '{self.name}': has no nodes")
        streams = [name for name, node in self.nodes.items() if not isinstance(node, Sink)]
        for name, node in self.nodes.items():
            sources = (
                [node.source]
                if isinstance(node, Processor)
                else node.sources
                if isinstance(node, Sink)
                else []
            )
            for source in sources:
                if source.partition(".")[0] not in streams:
                    close = difflib.get_close_matches(source, streams, 1)
                    hint = f"did you mean '{close[0]}'? " if close else ""
                    raise SessionError(
                        f"{name}: reads '{source}', which no node writes; {hint}"
                        f"streams are: {', '.join(streams) or 'none'}"
                    )
        for name in self.nodes:
            self._check_loop(name)

    def _check_loop(self, name: str) -> None:
        seen, at = [name], self.nodes[name]
        while isinstance(at, Processor):
            source = at.source.partition(".")[0]
            if source in seen:
                raise SessionError(f"{name}: reads itself: {' <- '.join([*seen, source])}")
            seen.append(source)
            at = self.nodes[source]

    def run(
        self, seconds: float | None = None, *, on_ready: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Run until Ctrl-C, SIGTERM, `lab.stop()`, the end of all cameras, or the time is over.

        Args:
            seconds: how long to run from the first frame; None for no limit.
            on_ready: called with the session's name when all nodes are running.

        Returns:
            The ledger.

        Raises:
            NodeError: a node could not start; names it and says why.
            NodeFailed: a node failed for good; the ledger is the error's.
        """
        if loading_script():
            raise ScriptLoaded
        return self._supervisor().run(seconds, signals=True, on_ready=on_ready)

    @contextmanager
    def running(self) -> Iterator[Lab]:
        """Run in the background of this process, as long as the `with` block lasts.

        Raises:
            NodeError: a node could not start; names it and says why.
            NodeFailed: a node failed for good; the ledger is the error's.
        """
        if loading_script():
            raise ScriptLoaded
        supervisor = self._supervisor()
        supervisor.start()
        lab = Lab(supervisor.name, supervisor.folder)
        try:
            yield lab
        finally:
            lab.close()
            supervisor.stop()
            self.ledger = supervisor.join()

    def _supervisor(self) -> Supervisor:
        from marey.session.supervisor import Supervisor

        return Supervisor(self)


def toml_value(text: str) -> Any:
    """A value as TOML writes it, or the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _build(name: str, table: Any) -> Node:
    if not isinstance(table, dict) or "kind" not in table:
        raise SessionError(f"{name}: expected a table with `kind = ...` and the node's settings")
    settings = dict(table)
    try:
        cls = load(str(settings.pop("kind")))
    except NodeMissing as error:
        raise NodeMissing(f"{name}: {error}") from error
    for field in settings:
        if field not in cls.model_fields:
            close = difflib.get_close_matches(field, cls.model_fields, 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise SettingError(
                f"{name}.{field}: '{cls.kind}' has no such setting; {hint}it has "
                f"{', '.join(sorted(cls.model_fields))}"
            )
    try:
        return cls.model_validate(settings)
    except ValidationError as error:
        raise SettingError(setting_message(name, error)) from error
