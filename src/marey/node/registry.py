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
        NodeMissing: no such kind is registered, or its module is broken.
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
    except Exception as error:  # a plug-in's module may raise anything
        raise NodeMissing(
            f"kind '{kind}': cannot be imported: {type(error).__name__}: {error}"
        ) from error
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
        SessionError: the class lives in a function, notebook or prompt, where no other process
            finds it.
    """
    name = cls.__qualname__
    if "<locals>" in name:
        raise SessionError(
            f"class {name}: defined inside a function, where its process cannot find it; "
            "move it to the level of its module"
        )
    if cls.__module__ not in ("__main__", _SCRIPT):
        return f"{cls.__module__}:{name}"
    module = sys.modules[cls.__module__]
    spec = getattr(module, "__spec__", None)
    if cls.__module__ == "__main__" and spec is not None:  # run by `python -m`
        return f"{spec.name}:{name}"
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        raise SessionError(
            f"class {name}: defined at a prompt or in a notebook, where its process cannot find "
            "it; write it into a module and import it"
        )
    return f"{Path(file).resolve()}:{name}"


def resolve(reference: str, kind: str = "") -> type[Node]:
    """The class that `reference` named, in this process.

    Args:
        reference: what `reference` gave.
        kind: the name under which the class is registered, where that is known.

    Raises:
        NodeMissing: there is no such class any more.
        SessionError: its module runs a session when it is imported.
    """
    place, _, name = reference.rpartition(":")
    if place.endswith(".py"):
        module = _script(Path(place))
    else:
        _loading.append(place)
        try:
            module = importlib.import_module(place)
        except ScriptLoaded:
            raise SessionError(
                f"module {place}: runs a session when it is imported; put that below "
                "`if __name__ == '__main__':`"
            ) from None
        finally:
            _loading.pop()
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise NodeMissing(
            f"class {name}: {place} has no such node; in a script it must stand above the line "
            "that runs the session"
        )
    found.kind = kind or kind_of(found)
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


_loading: list[str] = []


def loading_script() -> bool:
    """Whether a script or module is being loaded for its classes only."""
    return bool(_loading) or _SCRIPT in sys.modules


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_SCRIPT, path)
    if spec is None or spec.loader is None:
        raise SessionError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_SCRIPT] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    with suppress(ScriptLoaded):  # it came to its session: all its classes stand above that line
        spec.loader.exec_module(module)
    return module
