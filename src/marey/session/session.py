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
from marey.node import Node
from marey.node.control import setting_message
from marey.node.registry import ScriptLoaded, load, loading_script
from marey.session.background import in_background
from marey.session.shared import SharedSettings
from marey.session.wiring import check_wiring
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
        self.ledger: dict[str, Any] = {}
        """The account of the last run, also of one that failed."""
        check_wiring(name, nodes)

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
        supervisor = self._supervisor()
        try:
            return supervisor.run(seconds, signals=True, on_ready=on_ready)
        finally:
            self.ledger = supervisor.ledger

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
        try:
            with in_background(supervisor), Lab(supervisor.name, supervisor.folder) as lab:
                yield lab
        finally:
            self.ledger = supervisor.ledger

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
