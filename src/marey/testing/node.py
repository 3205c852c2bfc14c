"""What every node must do, whatever its kind."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from marey.errors import MareyError, NodeError
from marey.node import Node
from marey.node.control import actions_of, describe, extra, settings_of
from marey.node.registry import load
from marey.testing.rig import Rig


class NodeSuite:
    """Settings, actions, opening and closing. Subclass the suite of your node's role instead.

    Attributes:
        kind: the name under which the node is registered; not checked where empty.
        patience: seconds to wait for what should come, such as the first frame.
    """

    kind: ClassVar[str] = ""
    patience: ClassVar[float] = 30.0

    def node(self) -> Node:
        """A new node of the class that is tested, with settings with which it can be opened."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `node`")

    def broken(self) -> Node | None:
        """A node whose `open` must fail, such as one that names a device that is not there."""
        return None

    @pytest.fixture
    def rig(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
        """Surroundings of the node, gone after the test."""
        with Rig() as rig:
            monkeypatch.setenv("MAREY_RUNTIME_DIR", str(rig.folder))
            yield rig

    # ------------------------------------------------------------ what is declared

    def test_it_is_registered(self) -> None:
        """`kind` names the class: its package has the entry point and is installed."""
        if self.kind:
            assert load(self.kind) is type(self.node())

    def test_it_is_explained(self) -> None:
        """The class has a docstring of its own: lists show its first line."""
        assert (vars(type(self.node())).get("__doc__") or "").strip()

    def test_every_setting_is_explained(self) -> None:
        """Each setting has a description: forms, help and lists show it."""
        fields = type(self.node()).model_fields
        assert [name for name, field in fields.items() if not field.description] == []

    def test_actions_are_explained(self) -> None:
        """Each action has a docstring, and parameters of types that can be sent."""
        node = self.node()
        actions = describe(node)["actions"]
        assert [name for name, facts in actions.items() if not facts["doc"]] == []
        for name, method in actions_of(node).items():
            parameters = inspect.signature(method).parameters.values()
            assert [p.name for p in parameters if p.annotation is p.empty] == [], name

    def test_settings_travel_as_json(self) -> None:
        """Settings survive the way to the node's process, and have a schema."""
        node = self.node()
        json.dumps(type(node).model_json_schema())
        sent = json.loads(json.dumps(settings_of(node)))
        assert settings_of(type(node).model_validate(sent)) == settings_of(node)

    def test_bad_settings_are_refused(self) -> None:
        """An unknown setting, a value of a foreign type and one beyond its range raise."""
        node = self.node()
        schema = type(node).model_json_schema()["properties"]
        bad: list[tuple[str, Any]] = [("no_such_setting", 1)]
        for name in type(node).model_fields:
            bad.append((name, _Foreign()))
            bad += [(name, value) for value in _beyond(schema[name])]
        taken = [(name, value) for name, value in bad if _takes(node, name, value)]
        assert taken == []

    # ------------------------------------------------------------ how it lives

    def test_it_can_be_closed_at_any_time(self, rig: Rig) -> None:
        """`close` is called always: before `open`, after it, and twice."""
        node = self.node()
        rig.equip(node)
        node.close()
        node.open()
        node.close()
        node.close()

    def test_it_opens_again(self, rig: Rig) -> None:
        """`close` releases all that `open` takes."""
        node = self.node()
        for _ in range(2):
            with rig.opened(node):
                pass

    def test_it_leaves_no_thread(self, rig: Rig) -> None:
        """Threads that `open` started have ended when `close` returns."""
        before = set(threading.enumerate())
        with rig.opened(self.node()):
            pass
        assert [thread.name for thread in threading.enumerate() if thread not in before] == []

    def test_a_failed_open_says_why(self, rig: Rig) -> None:
        """Where `broken` is given: one line, an error of marey's tree, and `close` works.

        A `NodeError` begins with the node's name; the others are told with it in front.
        """
        node = self.broken()
        if node is None:
            return
        with pytest.raises(MareyError) as caught, rig.opened(node, "broken"):
            pass
        message = str(caught.value)
        assert message.startswith("broken") or not isinstance(caught.value, NodeError)
        assert "\n" not in message

    def test_live_settings_are_taken_over(self, rig: Rig) -> None:
        """`changed` accepts the live settings that the node has already."""
        node = self.node()
        fields = type(node).model_fields
        live = {name for name, field in fields.items() if extra(field)["apply"] == "live"}
        with rig.opened(node):
            node.changed(live)


class _Foreign:
    """A value that no setting can mean."""

    def __repr__(self) -> str:
        return "an object of a foreign type"


def _beyond(schema: dict[str, Any]) -> list[float]:
    """Numbers just outside the range of a setting."""
    steps = {"minimum": -1, "exclusiveMinimum": 0, "maximum": 1, "exclusiveMaximum": 0}
    return [schema[key] + step for key, step in steps.items() if key in schema]


def _takes(node: Node, name: str, value: Any) -> bool:
    settings = {name: getattr(node, name) for name in type(node).model_fields}
    try:
        type(node).model_validate(settings | {name: value})
    except ValidationError:
        return False
    return True
