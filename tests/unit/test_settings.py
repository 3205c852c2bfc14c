"""Settings and actions: one declaration, and errors that say what would be right."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from marey.errors import ActionError, SettingError
from marey.node import Device, Setting, action, control


class Region(BaseModel):
    """A part of a picture."""

    x: int = 0
    width: int = Field(10, ge=1)


class Stage(Device):
    """A stage.

    It moves.
    """

    speed: float = Setting(1.0, unit="um/s", gt=0, le=10, description="how fast")
    mode: Literal["slow", "fast"] = "slow"
    regions: list[Region] = Setting(default_factory=list)
    binning: int = Setting(1, ge=1, apply="reopen")
    serial: str = Setting("S1", apply="start")
    position: float = Setting(0.0, readonly=True)
    name_of_run: str = Setting("", follows=True, advanced=True)
    limit: int = 5
    table: Any = None

    @field_validator("limit")
    @classmethod
    def _even(cls, value: int) -> int:
        if value == 13:
            raise ValueError("13 brings bad luck")
        return value

    @action
    def move(self, to: Annotated[float, Field(ge=-100, le=100)], *, fast: bool = False) -> float:
        """Go there."""
        self.position = to
        return -to if fast else to

    @action
    def scan(self, steps: int = 3) -> Generator[float, None, int]:
        """Go step by step."""
        yield from (n / steps for n in range(steps))
        return steps

    @action
    def overdo(self) -> None:
        """Assign what the setting refuses."""
        self.speed = 99

    def helper(self) -> None:
        """No action."""


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found._name = "stage"
    return found


def test_a_setting_carries_its_unit_range_and_time_of_application() -> None:
    facts = control.extra(Stage.model_fields["speed"])
    assert facts == {
        "unit": "um/s",
        "apply": "live",
        "readonly": False,
        "follows": False,
        "advanced": False,
    }
    # A plain field is a setting as well: without unit, applied live.
    assert control.extra(Stage.model_fields["mode"])["apply"] == "live"
    schema = control.describe_class(Stage)["schema"]["properties"]["speed"]
    assert schema["unit"] == "um/s"
    assert (schema["exclusiveMinimum"], schema["maximum"]) == (0, 10)
    assert schema["description"] == "how fast"


def test_a_description_holds_everything_that_a_form_needs(stage: Stage) -> None:
    found = control.describe(stage)
    assert found["role"] == "device"
    assert found["doc"] == "A stage.\n\nIt moves."
    assert list(found["actions"]) == ["move", "overdo", "scan"]
    move = found["actions"]["move"]
    assert move["doc"] == "Go there."
    assert move["schema"]["properties"]["to"] == {
        "title": "To",
        "type": "number",
        "minimum": -100,
        "maximum": 100,
    }
    assert move["schema"]["required"] == ["to"]
    assert found["settings"]["regions"] == []
    # What was described once is not changed by what happens to a node.
    stage.speed = 5
    assert control.describe(stage)["settings"]["speed"] == 5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"sped": 1},
            "stage.sped: there is no such setting; did you mean 'speed'? it has binning,",
        ),
        ({"speed": 0}, "stage.speed: found 0, expected to be greater than 0"),
        ({"speed": 11}, "stage.speed: found 11, expected to be less than or equal to 10"),
        ({"speed": "x"}, "stage.speed: found 'x', expected to be a valid number"),
        ({"speed": float("inf")}, "stage.speed: found inf, expected to be a finite number"),
        ({"mode": "mid"}, "stage.mode: found 'mid', expected to be 'slow' or 'fast'"),
        (
            {"regions": [{"width": 0}]},
            "stage.regions.0.width: found 0, expected to be greater than or equal to 1",
        ),
        ({"limit": 13}, "stage.limit: found 13, 13 brings bad luck"),
        ({"position": 1}, "stage.position: is told by the device and cannot be set"),
        ({"serial": "S2"}, "stage.serial: holds from the start of a session; it is now 'S1' and"),
        ({"limit": 6, "speed": 0}, "stage.speed: found 0"),
        (
            {"limit": "a", "speed": "b"},
            "stage.speed: found 'b', expected to be a valid number",
        ),
    ],
)
def test_a_refused_setting_names_node_field_found_and_expected(
    stage: Stage, changes: dict[str, Any], says: str
) -> None:
    before = control.settings_of(stage)
    with pytest.raises(SettingError) as caught:
        control.candidate(stage, changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert control.settings_of(stage) == before


def test_all_that_is_wrong_is_told_at_once(stage: Stage) -> None:
    with pytest.raises(SettingError) as caught:
        control.candidate(stage, {"limit": "a", "speed": "b"})
    assert "stage.speed: " in str(caught.value)
    assert "; stage.limit: " in str(caught.value)


def test_a_candidate_changes_nothing_until_it_is_assigned(stage: Stage) -> None:
    wanted, names = control.candidate(stage, {"speed": "2.5", "regions": [{"x": 3}], "limit": 5})
    assert names == {"speed", "regions"}  # `limit` is what it was
    assert stage.speed == 1.0
    control.assign(stage, wanted, names)
    assert (stage.speed, stage.regions) == (2.5, [Region(x=3)])
    assert control.settings_of(stage)["regions"] == [{"x": 3, "width": 10}]


def test_a_fixed_setting_may_be_set_to_what_it_is(stage: Stage) -> None:
    assert control.candidate(stage, {"serial": "S1"})[1] == set()


def test_values_that_are_arrays_are_compared(stage: Stage) -> None:
    stage.table = np.arange(3)
    assert control.candidate(stage, {"table": np.arange(3)})[1] == set()
    assert control.candidate(stage, {"table": np.arange(4)})[1] == {"table"}
    assert control.settings_of(stage)["table"] == [0, 1, 2]


def test_actions_take_validated_arguments(stage: Stage) -> None:
    assert control.call(stage, "move", {"to": "3"}) == 3.0
    assert stage.position == 3.0
    assert control.call(stage, "move", {"to": 3, "fast": True}) == -3.0
    long = control.call(stage, "scan", {"steps": 2})
    assert control.is_long(long)
    assert list(long) == [0.0, 0.5]


@pytest.mark.parametrize(
    ("name", "args", "error", "says"),
    [
        ("mve", {}, ActionError, "stage.mve(): there is no such action; did you mean 'move'?"),
        ("helper", {}, ActionError, "stage.helper(): there is no such action; it has move,"),
        ("close", {}, ActionError, "stage.close(): there is no such action; "),
        ("__init__", {}, ActionError, "stage.__init__(): there is no such action; "),
        ("move", {}, ActionError, "stage.move(to): must be given"),
        ("move", {"to": 101}, ActionError, "stage.move(to): found 101, expected to be less than"),
        ("move", {"to": 1, "at": 2}, ActionError, "stage.move(at): there is no such argument; "),
        ("move", {"to": 1, "self": 2}, ActionError, "stage.move(self): "),
        ("scan", {"steps": []}, ActionError, "stage.scan(steps): found [], expected to be a valid"),
        ("overdo", {}, SettingError, "stage.speed: found 99, expected to be less than or equal"),
    ],
)
def test_a_wrong_call_says_what_would_be_right(
    stage: Stage, name: str, args: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        control.call(stage, name, args)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_are_checked_when_a_node_is_made_and_when_it_assigns() -> None:
    with pytest.raises(ValidationError):
        Stage(speed=0)
    with pytest.raises(ValidationError):
        Stage(sped=1)  # type: ignore[call-arg]
    stage = Stage()
    with pytest.raises(ValidationError):
        stage.speed = 100
    assert stage.speed == 1.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.arange(3), [0, 1, 2]),
        (float("nan"), None),
        ([float("inf")], [None]),
        (Region(), {"x": 0, "width": 10}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (np.bool_(True), True),
        (None, None),
    ],
)
def test_values_are_sent_as_json_has_them(value: Any, expected: Any) -> None:
    assert control.plain(value) == expected


def test_what_is_nothing_to_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a object is nothing that can be sent$"):
        control.plain({"a": [object()]})
