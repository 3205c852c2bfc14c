"""The conformance suites find what they look for: each check fails for a node that breaks it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict

from marey.errors import NodeError
from marey.node import (
    BlockCamera,
    Camera,
    Device,
    EndOfStream,
    Node,
    Processor,
    Setting,
    Sink,
    Stamp,
    action,
)
from marey.stream import Frame, Spec
from marey.testing import (
    BlockCameraSuite,
    CameraSuite,
    DeviceSuite,
    Film,
    NodeSuite,
    ProcessorSuite,
    Rig,
    SinkSuite,
    Witness,
)

Array = np.ndarray[Any, Any]
ROW = np.dtype([("mean", "f8")])


class GoodCamera(BlockCamera):
    """A camera that does all that it must."""

    _count: int = 0
    _bits: ClassVar[int] = 8

    def open(self) -> None:
        self._count = 250

    def describe(self) -> Spec:
        return Spec((32, 48), np.dtype("u1"), 100.0, "Mono8", meta={"counter_bits": self._bits})

    def grab(self, out: Array) -> Stamp | None:
        out[...] = self._count % 256
        self._count += 1
        return Stamp(device_frame=self._count % (1 << self._bits))

    def grab_block(self, out: Array, stamps: Array) -> int:
        for item, stamp in zip(out[:3], stamps, strict=False):
            told = self.grab(item)
            assert told is not None
            stamp["device_frame"] = told.device_frame
        return 3


class GoodProcessor(Processor):
    """The mean of each frame."""

    row: ClassVar[np.dtype[Any]] = ROW

    def process(self, frame: Any) -> Array | None:
        self.emit("squares", np.square(frame.data.ravel()[:4], dtype="f8"))
        return np.array([frame.data.mean()], [("mean", "f8")])

    def also(self) -> dict[str, Spec]:
        return {"squares": Spec((4,), np.dtype("f8"))}


class GoodDevice(Device):
    """Always at the same place."""

    row: ClassVar[np.dtype[Any]] = ROW

    def poll(self) -> Array | None:
        return np.array([(1.0,)], self.row)

    @action
    def home(self, speed: float = 1.0) -> None:
        """Go home."""


class GoodSink(Sink):
    """Adds everything up."""

    _sum: float = 0.0

    def append(self, name: str, frame: Frame) -> None:
        if frame.data.dtype.names is None:
            self._sum += float(frame.data.sum())


# ------------------------------------------------------------------ what breaks a rule


class Mute(GoodSink):
    __doc__ = ""


class Unexplained(GoodSink):
    """A setting says nothing of itself."""

    model_config = ConfigDict(use_attribute_docstrings=False)
    gain: float = Setting(1.0)


class UnexplainedAction(GoodDevice):
    """An action says nothing of itself."""

    @action
    def move(self, to: float) -> None:
        pass


class UntypedAction(GoodDevice):
    """An argument may be anything."""

    @action
    def move(self, to):  # type: ignore[no-untyped-def]
        """Go there."""


class Secretive(GoodSink):
    """A setting does not survive JSON."""

    pair: set[str] = Setting(default_factory=lambda: {"b", "a", "c"}, description="several")

    def __init__(self, **settings: Any) -> None:
        settings.pop("pair", None)
        super().__init__(**settings)
        self.__dict__["pair"] = {str(np.random.default_rng().integers(1 << 60))}


class Anything(GoodSink):
    """A setting takes anything."""

    gain: Any = Setting(1.0, description="whatever")


class Lenient(GoodSink):
    """Unknown settings are swallowed."""

    model_config = ConfigDict(extra="ignore")


class Limitless(GoodSink):
    """Its range stands in its schema only."""

    gain: float = Setting(1.0, description="whatever")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **kwargs)
        schema["properties"]["gain"]["maximum"] = 10
        return schema


class CannotClose(GoodSink):
    """Closing needs an open one."""

    _open: list[int] | None = None

    def open(self) -> None:
        self._open = [1]

    def close(self) -> None:
        assert self._open is not None
        self._open.clear()


class OpensOnce(GoodSink):
    """Takes something that it does not give back."""

    _taken: bool = False

    def open(self) -> None:
        if self._taken:
            raise NodeError("taken")
        self._taken = True


class LeavesThread(GoodSink):
    """Its thread goes on."""

    _thread: threading.Thread | None = None
    ended: ClassVar[threading.Event] = threading.Event()

    def open(self) -> None:
        self._thread = threading.Thread(target=self.ended.wait, name="left", daemon=True)
        self._thread.start()


class FailsInManyWords(GoodSink):
    """Says too much when it cannot open."""

    def open(self) -> None:
        raise NodeError(f"{self.name}: no\ndevice")


class FailsNamelessly(GoodSink):
    """Does not say who cannot open."""

    def open(self) -> None:
        raise NodeError("no device")


class FailsStrangely(GoodSink):
    """Raises what is not of the family."""

    def open(self) -> None:
        raise OSError("no device")


class FailsTwice(GoodSink):
    """Cannot be closed when it could not be opened."""

    def open(self) -> None:
        raise NodeError(f"{self.name}: no device")

    def close(self) -> None:
        raise ValueError("not open")


class DoesNotFail(GoodSink):
    """Opens though it should not be able to."""


class RefusesItsOwn(GoodSink):
    """Does not take the settings that it has."""

    def changed(self, names: set[str]) -> None:
        raise NodeError("no")


class Rows(GoodCamera):
    """Its frames are rows."""

    def describe(self) -> Spec:
        return Spec((32,), ROW)


class Line(GoodCamera):
    """Its frames are lines."""

    def describe(self) -> Spec:
        return Spec((32,), np.dtype("u1"))


class LastRowMissing(GoodCamera):
    """Fills all but the last row."""

    def grab(self, out: Array) -> Stamp | None:
        return super().grab(out[:-1])


class LastColumnMissing(GoodCamera):
    """Fills all but the last column."""

    def grab(self, out: Array) -> Stamp | None:
        return super().grab(out[:, :-1])


class NothingWritten(GoodCamera):
    """Fills nothing at all."""

    def grab(self, out: Array) -> Stamp | None:
        return super().grab(np.empty_like(out))


class Overruns(GoodCamera):
    """Writes behind what it was lent."""

    def grab(self, out: Array) -> Stamp | None:
        stamp = super().grab(out)
        np.lib.stride_tricks.as_strided(out, (33, 48))[32] += 1
        return stamp


class Remembers(GoodCamera):
    """Writes into what it was lent before."""

    _before: Array | None = None

    def grab(self, out: Array) -> Stamp | None:
        if self._before is not None:
            self._before[0] += 1
        self._before = out
        return super().grab(out)


class AnswersWithTheFrame(GoodCamera):
    """Returns a picture instead of a stamp."""

    def grab(self, out: Array) -> Any:
        super().grab(out)
        return out


class Dawdles(GoodCamera):
    """Is slower than the suite allows."""

    def grab(self, out: Array) -> Stamp | None:
        time.sleep(0.05)
        return super().grab(out)


class NeverComes(GoodCamera):
    """Has no frame."""

    def grab(self, out: Array) -> Stamp | None:
        return None


class Empty(GoodCamera):
    """Ends before it begins."""

    def grab(self, out: Array) -> Stamp | None:
        raise EndOfStream


class TooLarge(GoodCamera):
    """Claims a larger frame than described."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(shape=(33, 48))


class OtherDimensions(GoodCamera):
    """Claims a frame of other dimensions than described."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(shape=(32,))


class StandsStill(GoodCamera):
    """Its counter does not count."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(device_frame=7)


class CountsDown(GoodCamera):
    """Its counter falls."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(device_frame=(1000 - self._count) % 256)


class WrapsLater(GoodCamera):
    """Its counter goes beyond the bits that it claims."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(device_frame=self._count)


class CountsSometimes(GoodCamera):
    """Its counter is known only now and then."""

    def grab(self, out: Array) -> Stamp | None:
        stamp = super().grab(out)
        return stamp if self._count % 2 else Stamp()


class TellsSeconds(GoodCamera):
    """Its time is in seconds."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(device_time=0.5)  # type: ignore[arg-type]


class FromTheFuture(GoodCamera):
    """Its frames are yet to be taken."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(host_time=time.time_ns() + 10**12)


class WrongClock(GoodCamera):
    """Takes Unix time for monotonic time."""

    def grab(self, out: Array) -> Stamp | None:
        super().grab(out)
        return Stamp(mono_time=time.time_ns())


class ClaimsMore(GoodCamera):
    """Fills fewer frames of a block than it says."""

    def grab_block(self, out: Array, stamps: Array) -> int:
        return super().grab_block(out, stamps) + 1


class BlockWithoutCounter(GoodCamera):
    """Counts the first frame of a block only."""

    def grab_block(self, out: Array, stamps: Array) -> int:
        filled = super().grab_block(out, stamps)
        stamps["device_frame"][1:] = np.iinfo("u8").max
        return filled


class OtherRow(GoodProcessor):
    """Describes other rows than `row` says."""

    def describe(self, source: Spec) -> Spec:
        return Spec((4,), np.dtype([("other", "f8")]))


class OtherType(GoodProcessor):
    """Its results are of another type than described."""

    def process(self, frame: Any) -> Array | None:
        return np.zeros(1, [("mean", "f4")])


class TooManyRows(GoodProcessor):
    """Its results are larger than described."""

    max_rows: ClassVar[int] = 2

    def process(self, frame: Any) -> Array | None:
        return np.zeros(3, self.row)


class EmitsTooMuch(GoodProcessor):
    """What it emits is larger than described."""

    def process(self, frame: Any) -> Array | None:
        self.emit("squares", np.zeros(5))
        return None


class EmitsElsewhere(GoodProcessor):
    """Emits to a stream that it does not have."""

    def process(self, frame: Any) -> Array | None:
        self.emit("circles", np.zeros(4))
        return None


class ChangesInput(GoodProcessor):
    """Writes into what others read."""

    def process(self, frame: Any) -> Array | None:
        for segment in self.lab.folder.glob(f"{self.source}.*.data"):
            np.memmap(segment, mode="r+")[:] ^= 255
        return super().process(frame)


class KeepsFrame(GoodProcessor):
    """Keeps the frame."""

    _kept: Any = None

    def process(self, frame: Any) -> Array | None:
        self._kept = frame
        return super().process(frame)


class KeepsView(GoodProcessor):
    """Keeps a view of the pixels."""

    _kept: Any = None

    def process(self, frame: Any) -> Array | None:
        self._kept = frame.data[::2, ::2]
        return super().process(frame)


class ReturnsView(GoodProcessor):
    """Its result is a view of its input."""

    row: ClassVar[Any] = None

    def describe(self, source: Spec) -> Spec:
        return source

    def process(self, frame: Any) -> Array | None:
        return frame.data  # type: ignore[no-any-return]


class Chooses(GoodSink):
    """Takes gray pictures only."""

    def append(self, name: str, frame: Frame) -> None:
        height, width = frame.data.shape
        self._sum += height * width


class SinkKeepsView(GoodSink):
    """Keeps a view of what it was given."""

    _kept: Any = None

    def append(self, name: str, frame: Frame) -> None:
        self._kept = frame.data


class PollsWrongly(GoodDevice):
    """Its telemetry is of another type than described."""

    def poll(self) -> Array | None:
        return np.zeros(1, "f8")


class PollsTooMuch(GoodDevice):
    """Its telemetry is larger than described."""

    def poll(self) -> Array | None:
        return np.zeros(2, self.row)


class PollsNothing(GoodDevice):
    """It has no telemetry."""

    def poll(self) -> Array | None:
        return None


class PollsSlowly(GoodDevice):
    """Its poll takes longer than the suite allows."""

    def poll(self) -> Array | None:
        time.sleep(0.05)
        return super().poll()


class Pictures(GoodDevice):
    """Its telemetry is no rows."""

    def describe(self) -> Spec:
        return Spec((4, 4), np.dtype("u1"))


# ------------------------------------------------------------------ the suites on trial

SUITES: dict[type[Node], type[NodeSuite]] = {
    BlockCamera: BlockCameraSuite,
    Camera: CameraSuite,
    Processor: ProcessorSuite,
    Sink: SinkSuite,
    Device: DeviceSuite,
}


def suite_for(make: Callable[[], Node], **attributes: Any) -> NodeSuite:
    node = make()
    base = next(suite for role, suite in SUITES.items() if isinstance(node, role))
    return type("Suite", (base,), {"node": lambda self: make()} | attributes)()


def run(suite: NodeSuite, check: str, rig: Rig) -> None:
    method = getattr(suite, check)
    if "rig" in method.__code__.co_varnames[: method.__code__.co_argcount]:
        method(rig)
    else:
        method()


def checks(suite: type[NodeSuite]) -> list[str]:
    return [name for name in dir(suite) if name.startswith("test_")]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with Rig() as rig:
        monkeypatch.setenv("MAREY_RUNTIME_DIR", str(rig.folder))
        yield rig


def good(cls: type[Node]) -> Node:
    return cls(source="cam") if issubclass(cls, Processor) else cls()


SESSION = "test_it_runs_in_a_session"
GOOD = (GoodCamera, GoodProcessor, GoodSink, GoodDevice)


@pytest.mark.parametrize(
    ("cls", "check"),
    [(cls, check) for cls in GOOD for check in checks(type(suite_for(lambda c=cls: good(c))))],  # type: ignore[misc]
)
def test_a_good_node_passes(cls: type[Node], check: str, rig: Rig) -> None:
    if check != SESSION:
        run(suite_for(lambda: good(cls)), check, rig)


BAD: list[tuple[type[Node], str, dict[str, Any]]] = [
    (Mute, "test_it_is_explained", {}),
    (Unexplained, "test_every_setting_is_explained", {}),
    (UnexplainedAction, "test_actions_are_explained", {}),
    (UntypedAction, "test_actions_are_explained", {}),
    (Secretive, "test_settings_travel_as_json", {}),
    (Anything, "test_bad_settings_are_refused", {}),
    (Lenient, "test_bad_settings_are_refused", {}),
    (Limitless, "test_bad_settings_are_refused", {}),
    (CannotClose, "test_it_can_be_closed_at_any_time", {}),
    (OpensOnce, "test_it_opens_again", {}),
    (LeavesThread, "test_it_leaves_no_thread", {}),
    (FailsInManyWords, "test_a_failed_open_says_why", {"broken": lambda self: self.node()}),
    (FailsNamelessly, "test_a_failed_open_says_why", {"broken": lambda self: self.node()}),
    (FailsStrangely, "test_a_failed_open_says_why", {"broken": lambda self: self.node()}),
    (FailsTwice, "test_a_failed_open_says_why", {"broken": lambda self: self.node()}),
    (DoesNotFail, "test_a_failed_open_says_why", {"broken": lambda self: self.node()}),
    (RefusesItsOwn, "test_live_settings_are_taken_over", {}),
    (GoodSink, "test_it_is_registered", {"kind": "stage"}),
    (Rows, "test_it_describes_its_frames", {}),
    (Line, "test_it_describes_its_frames", {}),
    (LastRowMissing, "test_it_fills_what_it_is_lent", {}),
    (LastColumnMissing, "test_it_fills_what_it_is_lent", {}),
    (NothingWritten, "test_it_fills_what_it_is_lent", {}),
    (Overruns, "test_it_fills_what_it_is_lent", {}),
    (Remembers, "test_it_forgets_what_it_was_lent", {}),
    (AnswersWithTheFrame, "test_it_fills_what_it_is_lent", {}),
    (Dawdles, "test_it_fills_what_it_is_lent", {"slowest": 0.01}),
    (NeverComes, "test_it_fills_what_it_is_lent", {"patience": 0.01}),
    (Empty, "test_it_fills_what_it_is_lent", {}),
    (TooLarge, "test_its_frames_fit", {}),
    (OtherDimensions, "test_its_frames_fit", {}),
    (StandsStill, "test_its_counter_goes_up", {}),
    (CountsDown, "test_its_counter_goes_up", {}),
    (WrapsLater, "test_its_counter_goes_up", {}),
    (CountsSometimes, "test_its_counter_goes_up", {}),
    (TellsSeconds, "test_its_times_are_times", {}),
    (FromTheFuture, "test_its_times_are_times", {}),
    (WrongClock, "test_its_times_are_times", {}),
    (ClaimsMore, "test_it_fills_blocks", {}),
    (BlockWithoutCounter, "test_it_fills_blocks", {}),
    (OtherRow, "test_it_describes_its_results", {}),
    (OtherType, "test_its_results_fit_the_description", {}),
    (TooManyRows, "test_its_results_fit_the_description", {}),
    (EmitsTooMuch, "test_what_it_emits_fits_the_description", {}),
    (EmitsElsewhere, "test_what_it_emits_fits_the_description", {}),
    (ChangesInput, "test_it_does_not_change_its_input", {}),
    (KeepsFrame, "test_it_does_not_keep_its_input", {}),
    (KeepsView, "test_it_does_not_keep_its_input", {}),
    (ReturnsView, "test_it_does_not_keep_its_input", {}),
    (Chooses, "test_it_takes_all_that_streams_carry", {}),
    (SinkKeepsView, "test_it_does_not_change_or_keep_what_it_is_given", {}),
    (PollsWrongly, "test_it_answers_polls", {}),
    (PollsTooMuch, "test_it_answers_polls", {}),
    (PollsNothing, "test_it_answers_polls", {}),
    (PollsSlowly, "test_it_answers_polls", {"slowest": 0.01}),
    (Pictures, "test_it_describes_its_telemetry", {}),
]


@pytest.mark.parametrize(
    ("cls", "check", "attributes"), BAD, ids=[f"{cls.__name__}-{check}" for cls, check, _ in BAD]
)
def test_a_bad_node_fails(
    cls: type[Node], check: str, attributes: dict[str, Any], rig: Rig
) -> None:
    LeavesThread.ended.clear()
    suite = suite_for(lambda: good(cls), **attributes)
    try:
        with pytest.raises((Exception, pytest.fail.Exception)):
            run(suite, check, rig)
    finally:
        LeavesThread.ended.set()
        for thread in threading.enumerate():
            if thread.name == "left":
                thread.join()


def test_every_check_has_a_node_that_fails_it() -> None:
    known = {check for suite in SUITES.values() for check in checks(suite)}
    assert known - {SESSION} == {check for _, check, _ in BAD}


def test_a_session_that_does_not_deliver_is_found_out(rig: Rig) -> None:
    """`Film` and `Witness` are importable, hence can be sent to a process."""
    np.save(rig.folder / "film.npy", np.zeros((5, 32, 48), np.uint8))
    film = suite_for(lambda: Film(file=str(rig.folder / "film.npy")))
    run(film, SESSION, rig)
    run(suite_for(Witness), SESSION, rig)
    missing = suite_for(lambda: Film(file=str(rig.folder / "missing.npy"), restart="never"))
    with pytest.raises(NodeError, match=r"missing\.npy"):
        run(missing, SESSION, rig)
