"""The description of a session: named nodes with their settings."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

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
        except OSError as error:
            raise SessionError(f"{path}: {error.strerror or error}") from error
        except ValueError as error:  # it is no TOML, or not even text
            raise SessionError(f"{path}: {error}") from error
        return cls.from_tables(tables, path.stem, overrides)

    @classmethod
    def from_tables(
        cls, tables: dict[str, Any], name: str, overrides: dict[str, str] | None = None
    ) -> Session:
        """Build a session from tables such as a TOML file holds; see `from_toml`."""
        tables = {"session": {}} | tables
        others: dict[str, dict[str, str]] = {}
        for key, text in (overrides or {}).items():
            node, _, field = key.partition(".")
            if node not in tables or not field:
                raise SessionError(
                    f"{key}: no such node; expected node.setting=value with a node of "
                    f"{', '.join(tables)}"
                )
            others.setdefault(node, {})[field] = text
        own = tables.pop("session")
        if not isinstance(own, dict):
            raise SessionError("session: expected a table with session-wide settings")
        own = own | _values(SharedSettings, others.get("session", {}))
        name = own.pop("name", name)
        try:
            shared = SharedSettings(**own)
        except ValidationError as error:
            raise SettingError(setting_message("session", error)) from error
        nodes = {node: _build(node, table, others.get(node, {})) for node, table in tables.items()}
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


def toml_value(text: str, *, wants_text: bool = False) -> Any:
    """A value as TOML writes it, or the text itself where it is none.

    Args:
        text: what was typed.
        wants_text: whether text is expected, so that a run named 42 is no number.
    """
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if wants_text and not isinstance(value, str) else value


def _values(cls: type[BaseModel], texts: dict[str, str]) -> dict[str, Any]:
    """What was typed, as values of the settings of a class."""
    fields = cls.model_fields
    return {
        name: toml_value(text, wants_text=name not in fields or fields[name].annotation is str)
        for name, text in texts.items()
    }


def _build(name: str, table: Any, others: dict[str, str]) -> Node:
    if not isinstance(table, dict) or "kind" not in table | others:
        raise SessionError(f"{name}: expected a table with `kind = ...` and the node's settings")
    others = dict(others)
    settings = dict(table)
    kind = others.pop("kind", settings.pop("kind", ""))
    try:
        cls = load(str(kind))
    except NodeMissing as error:
        raise NodeMissing(f"{name}: {error}") from error
    settings |= _values(cls, others)
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
