"""Which kinds of nodes there are: built-in ones and plug-ins are found in the same way."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from marey.errors import DriverMissing, NodeMissing, SessionError
from marey.node.base import Node

GROUP = "marey.nodes"
"""The group of entry points in which a plug-in names its kinds."""

_SCRIPT = "__marey_script__"


class ScriptLoaded(BaseException):
    """Raised by `Session.run` in a worker that loads a script only for its classes."""


def kinds() -> dict[str, EntryPoint]:
    """The registered kinds by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


def load(kind: str) -> type[Node]:
    """The class of a registered kind.

    Raises:
        NodeMissing: no such kind is registered.
        DriverMissing: the kind's module needs something that is not installed.
    """
    known = kinds()
    if kind not in known:
        close = difflib.get_close_matches(kind, known, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise NodeMissing(f"kind '{kind}': {hint}registered are {', '.join(known)}")
    try:
        found = known[kind].load()
    except ImportError as error:
        raise DriverMissing(f"kind '{kind}': cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise NodeMissing(f"kind '{kind}': {known[kind].value} is not a node")
    found.kind = kind
    return found


def kind_of(cls: type[Node]) -> str:
    """The registered name of a class, or `module:Class` where it is not registered."""
    for name, point in kinds().items():
        # An entry point may name the package that offers the class: only then must it be loaded.
        near = point.attr == cls.__qualname__ and cls.__module__.startswith(point.module)
        if near and (cls.__module__ == point.module or point.load() is cls):
            cls.kind = name
            return name
    return f"{cls.__module__}:{cls.__qualname__}"


def reference(cls: type[Node]) -> str:
    """How another process finds the class: `module:Class`, or `file.py:Class` for a script's own.

    Raises:
        SessionError: the class lives in a notebook or prompt, where no other process finds it.
    """
    if cls.__module__ not in ("__main__", _SCRIPT):
        return f"{cls.__module__}:{cls.__qualname__}"
    file = getattr(sys.modules[cls.__module__], "__file__", None)
    if file is None:
        raise SessionError(
            f"class {cls.__qualname__}: defined at a prompt, where its process cannot find it; "
            "write it into a module and import it"
        )
    return f"{Path(file).resolve()}:{cls.__qualname__}"


def resolve(reference: str) -> type[Node]:
    """The class that `reference` named, in this process."""
    place, _, name = reference.rpartition(":")
    module = _script(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise NodeMissing(f"{reference}: not a node")
    found.kind = kind_of(found)
    return found


def lazy(package: str, names: list[str], name: str) -> type[Node]:
    """A class of a package whose modules are imported only when one is asked for.

    Each class stands in the module of its name: `BeadTracker` in `bead_tracker`.

    Raises:
        AttributeError: the package has no such class.
    """
    if name not in names:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module = re.sub(r"(?<=.)([A-Z])", r"_\1", name).lower()
    found: type[Node] = getattr(importlib.import_module(f"{package}.{module}"), name)
    return found


def loading_script() -> bool:
    """Whether a script is being loaded for its classes only."""
    return _SCRIPT in sys.modules


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_SCRIPT, path)
    if spec is None or spec.loader is None:
        raise SessionError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_SCRIPT] = module
    sys.path.insert(0, str(path.parent))
    with suppress(ScriptLoaded):  # it came to its session: all its classes stand above that line
        spec.loader.exec_module(module)
    return module
