"""Which kinds there are, and how another process finds a class."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from marey.errors import DriverMissing, NodeMissing, SessionError
from marey.node import Camera, registry
from marey.node.registry import kind_of, kinds, load, loading_script, reference, resolve
from support.nodes import Ticker


def test_built_in_kinds_are_registered_as_plug_ins_are() -> None:
    assert {"counter", "beads", "noise", "video", "recorder", "web"} <= set(kinds())
    cls = load("counter")
    assert issubclass(cls, Camera)
    assert cls.kind == "counter"
    assert kind_of(cls) == "counter"


def test_every_registered_kind_can_be_loaded_and_found_by_another_process() -> None:
    for name in kinds():
        cls = load(name)
        assert kind_of(cls) == name
        assert resolve(reference(cls)) is cls


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(NodeMissing) as caught:
        load("conter")
    assert str(caught.value).startswith("kind 'conter': did you mean 'counter'? registered are ")


def plug_in(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("mine", value, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


def test_a_kind_whose_driver_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "no_such_module:Camera")
    with pytest.raises(DriverMissing, match=r"^kind 'mine': cannot be imported: No module named"):
        load("mine")


def test_a_kind_that_is_no_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "pathlib:Path")
    with pytest.raises(NodeMissing, match=r"^kind 'mine': pathlib:Path is not a node$"):
        load("mine")


def test_a_plug_in_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, "support.nodes:Ticker")
    assert load("mine") is Ticker
    assert kind_of(Ticker) == "mine"


def test_a_class_of_a_module_is_found_by_its_name() -> None:
    assert reference(Ticker) == "support.nodes:Ticker"
    assert resolve("support.nodes:Ticker") is Ticker
    assert kind_of(Ticker) == "support.nodes:Ticker"


class Outer:
    """Holds a node."""

    class Inner(Ticker):
        """A node inside of a class."""


def test_a_class_inside_of_a_class_is_found() -> None:
    assert reference(Outer.Inner) == f"{__name__}:Outer.Inner"
    assert resolve(reference(Outer.Inner)) is Outer.Inner


def test_a_class_inside_of_a_function_is_refused() -> None:
    class Local(Ticker):
        """Nobody finds it."""

    with pytest.raises(SessionError, match="defined inside a function"):
        reference(Local)


@pytest.mark.parametrize("what", ["support.nodes:Nobody", "support.nodes:ROW", "os:path"])
def test_what_is_not_there_or_no_node_is_told(what: str) -> None:
    with pytest.raises(NodeMissing, match="has no such node"):
        resolve(what)


def script(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "script.py"
    file.write_text(text)
    return file


@pytest.fixture
def no_script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Undo what loading a script leaves: its module, and its folder on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("__marey_script__", None)


CLASS = "from support.nodes import Ticker\nclass Mine(Ticker):\n    pass\n"


def test_a_script_is_loaded_up_to_its_session(tmp_path: Path, no_script: Any) -> None:
    file = script(
        tmp_path,
        CLASS
        + "import marey\nmarey.Session('x', cam=Mine()).run()\nraise SystemExit('too far')\n"
        + "class Late(Ticker):\n    pass\n",
    )
    assert resolve(f"{file}:Mine").__name__ == "Mine"
    assert loading_script()
    with pytest.raises(NodeMissing, match="must stand above the line that runs the session"):
        resolve(f"{file}:Late")


def test_a_scripts_class_is_named_by_its_file(
    tmp_path: Path, no_script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = script(tmp_path, CLASS)
    cls = resolve(f"{file}:Mine")
    assert reference(cls) == f"{file}:Mine"


def test_a_notebooks_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ticker, "__module__", "__main__")
    main = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SessionError, match="defined at a prompt or in a notebook"):
        reference(Ticker)
    main.__file__ = "<stdin>"
    with pytest.raises(SessionError, match="defined at a prompt or in a notebook"):
        reference(Ticker)


def test_a_class_of_a_module_run_as_a_program_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m package.module`."""
    monkeypatch.setattr(Ticker, "__module__", "__main__")
    main = type(sys)("__main__")
    main.__spec__ = sys.modules["support.nodes"].__spec__
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert reference(Ticker) == "support.nodes:Ticker"
