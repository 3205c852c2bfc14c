"""Settings, actions and events of running nodes, as anybody sees them who attaches."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

import marey
from marey import Lab, Session
from marey.command import Asker, Event, command_address, events_address, inbox_address
from marey.errors import ActionError, NoAnswer, NodeMissing, SessionError, SettingError
from support.nodes import Keep, Motor, Sum, Ticker
from support.waiting import eventually, kept


@pytest.fixture
def lab(runtime: Path, tmp_path: Path) -> Iterator[Lab]:
    """A session with a camera at 500 Hz, a processor and a motor."""
    session = Session(
        "bench",
        cam=Ticker(rate=500, refused=0.5, diary=str(tmp_path / "diary")),
        sums=Sum(source="cam"),
        motor=Motor(interval=0.01),
    )
    with session.running() as found:
        yield found


# ---------------------------------------------------------------- wrong questions


WRONG: list[tuple[Callable[[Lab], Any], type[Exception], str]] = [
    (
        lambda lab: lab.cma,
        NodeMissing,
        "session 'bench': has no node 'cma'; did you mean 'cam'? it has cam, sums, motor",
    ),
    (
        lambda lab: lab["stage"].get(),
        NodeMissing,
        "session 'bench': has no node 'stage'; it has cam, sums, motor",
    ),
    (
        lambda lab: lab.cam.set(exposur=1),
        SettingError,
        "cam.exposur: there is no such setting; did you mean 'exposure'? it has acquiring, at,",
    ),
    (
        lambda lab: lab.cam.get("rat"),
        SettingError,
        "cam.rat: there is no such setting; did you mean 'rate'? it has",
    ),
    (
        lambda lab: lab.cam.set(exposure="long"),
        SettingError,
        "cam.exposure: found 'long', expected to be a valid number",
    ),
    (
        lambda lab: lab.cam.set(exposure=2),
        SettingError,
        "cam.exposure: found 2, expected to be less than or equal to 1",
    ),
    (
        lambda lab: lab.cam.set(exposure=float("nan")),
        SettingError,
        "cam.exposure: found None, expected to be a valid number",
    ),
    (
        lambda lab: lab.cam.set(binning=[1]),
        SettingError,
        "cam.binning.1: must be given",
    ),
    (
        lambda lab: lab.cam.set(offset=13),
        SettingError,
        "cam: 13 brings bad luck",
    ),
    (
        lambda lab: lab.cam.set(temperature=4),
        SettingError,
        "cam.temperature: is told by the device and cannot be set",
    ),
    (
        lambda lab: lab.cam.set(serial="T-2"),
        SettingError,
        "cam.serial: holds from the start of a session; it is now 'T-1' and cannot be changed",
    ),
    (
        lambda lab: lab.motor.mov(to=1),
        ActionError,
        "motor.mov(): there is no such action; did you mean 'move'? it has array, boom,",
    ),
    (
        lambda lab: lab.cam.snap(),
        ActionError,
        "cam.snap(): there is no such action; it has none",
    ),
    (lambda lab: lab.motor.move(), ActionError, "motor.move(to): must be given"),
    (
        lambda lab: lab.motor.move(to=101),
        ActionError,
        "motor.move(to): found 101, expected to be less than or equal to 100",
    ),
    (
        lambda lab: lab.motor.move(too=1, to=1),
        ActionError,
        "motor.move(too): there is no such argument; did you mean 'to'? it has fast, to",
    ),
    (
        lambda lab: lab.motor.move(to=object()),
        ActionError,
        "motor.move: a object is nothing that can be sent",
    ),
    (lambda lab: lab.motor.boom(), ActionError, "motor: ZeroDivisionError: boom"),
    (
        lambda lab: lab.motor.odd(),
        ActionError,
        "motor: ValueError: a object is nothing that can be sent",
    ),
    (
        lambda lab: lab.motor.too_fast(),
        SettingError,
        "motor.speed: found 1000.0, expected to be less than or equal to 10",
    ),
    (
        lambda lab: lab.motor.myself(),
        ActionError,
        "motor: asks itself, and would wait for ever",
    ),
    (
        lambda lab: lab.set(mod="x"),
        SettingError,
        "session.mod: there is no such setting; did you mean 'mode'? it has acquiring, folder,",
    ),
    (
        lambda lab: lab.set(acquiring="perhaps"),
        SettingError,
        "session.acquiring: found 'perhaps', expected to be a valid boolean",
    ),
    (
        lambda lab: lab.ask("session", "do", "dance"),
        ActionError,
        "session: does not know 'do'",
    ),
    (lambda lab: lab.ask("cam", "status"), ActionError, "cam: 'status' is not expected now"),
]


def test_a_wrong_question_is_an_error_at_the_asker(lab: Lab) -> None:
    before = {name: lab[name].get() for name in ("cam", "sums")}
    for ask, error, says in WRONG:
        with pytest.raises(error) as caught:
            ask(lab)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    assert {name: lab[name].get() for name in ("cam", "sums")} == before
    with lab.sums.every() as reader:
        assert reader.read(10) is not None
    assert {n["restarts"] for n in lab.status()["nodes"].values()} == {0}


# ---------------------------------------------------------------- settings


def test_several_settings_are_set_all_or_none(lab: Lab) -> None:
    assert lab.cam.set(exposure=0.1, offset=3) == {"exposure": 0.1, "offset": 3}
    with pytest.raises(SettingError):
        lab.cam.set(exposure=0.2, offset=999)
    with pytest.raises(SettingError):
        lab.cam.set(exposure=0.2, serial="x")
    assert (lab.cam.get("exposure"), lab.cam.get("offset")) == (0.1, 3)


def test_a_setting_holds_from_the_frame_that_its_event_names(lab: Lab) -> None:
    before = 0
    with lab.events() as events, lab.cam.every() as reader:
        for offset in (100, 7, 200, 0):
            lab.cam.set(offset=offset)
            event = next(e for e in events if e.kind == "setting")
            assert event.node == "cam"
            assert event.data["values"] == {"offset": offset}
            since = event.data["seq"]
            while (frame := reader.read(10)).seq < since + 2:
                number = (int(frame.data[0, 0]) - (frame.device_frame or 0)) % 256
                assert number == (offset if frame.seq >= since else before)
            before = offset


def test_setting_what_is_already_so_changes_nothing(lab: Lab) -> None:
    with lab.events() as events:
        assert lab.cam.set(exposure=0.01) == {"exposure": 0.01}
        lab.cam.set(exposure=0.02)
        assert next(e for e in events if e.kind == "setting").data["values"] == {"exposure": 0.02}


def test_numpy_values_can_be_set(lab: Lab) -> None:
    assert lab.cam.set(exposure=np.float32(0.5) / 2, offset=np.int64(4))["offset"] == 4
    assert lab.cam.set(binning=np.array([2, 2])) == {"binning": [2, 2]}


def test_what_changed_refuses_is_taken_back(lab: Lab, tmp_path: Path) -> None:
    with lab.events() as events:
        with pytest.raises(SettingError) as caught:
            lab.cam.set(exposure=0.5, offset=3)
        assert str(caught.value) == "cam: ValueError: the sensor refuses 0.5"
        assert (lab.cam.get("exposure"), lab.cam.get("offset")) == (0.01, 0)
        lab.cam.set(offset=4)
        assert next(e for e in events if e.kind == "setting").data["values"] == {"offset": 4}
    # The node was told of the way there and of the way back.
    diary = (tmp_path / "diary").read_text().splitlines()
    assert diary == ["cam open", *["cam changed exposure,offset"] * 2, "cam changed offset"]


def test_a_camera_is_opened_again_for_another_shape(lab: Lab, tmp_path: Path) -> None:
    with lab.cam.every() as reader, lab.sums.every() as sums:
        widths, seqs, results = [], [], []
        for width in (10, 3, 40):
            lab.cam.set(width=width)
            since = lab.cam.head + 5
            while not seqs or seqs[-1] < since:
                frame = reader.read(10)
                seqs.append(frame.seq)
                assert frame.valid()
                widths.append(frame.data.shape[1])
            while not results or results[-1]["source_seq"] < since:
                result = sums.read(10)
                results.append(result.stamps[0])
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        assert sorted(set(widths)) == [3, 6, 10, 40]
        assert [width for width, _ in _runs(widths)] in ([6, 10, 3, 40], [10, 3, 40])
    assert [int(r["source_seq"]) for r in results] == list(
        range(int(results[0]["source_seq"]), int(results[-1]["source_seq"]) + 1)
    )
    assert lab.cam.spec.shape == (4, 40)
    assert {n["restarts"] for n in lab.status()["nodes"].values()} == {0}
    diary = (tmp_path / "diary").read_text().splitlines()
    assert diary == ["cam open", *["cam close", "cam open"] * 3]


def test_an_open_that_refuses_is_taken_back(lab: Lab, tmp_path: Path) -> None:
    with lab.cam.every() as reader:
        with pytest.raises(SettingError) as caught:
            lab.cam.set(width=13)
        assert str(caught.value) == "cam: ValueError: no sensor is 13 pixels wide"
        assert lab.cam.get("width") == 6
        head = lab.cam.head
        seqs = [reader.read(10).seq]
        while seqs[-1] < head + 10:
            frame = reader.read(10)
            seqs.append(frame.seq)
            assert frame.data.shape == (4, 6)
    assert seqs == list(range(seqs[0], seqs[-1] + 1))
    assert lab.status()["nodes"]["cam"]["restarts"] == 0


def test_a_restarted_node_has_the_settings_that_it_had(lab: Lab) -> None:
    lab.cam.set(exposure=0.125, offset=9)
    lab.motor.move(to=7)
    lab.motor.set(speed=3.0)
    pids = {n: lab.status()["nodes"][n]["pid"] for n in ("cam", "motor")}
    for pid in pids.values():
        import os

        os.kill(pid, 9)
    for name in pids:
        eventually(lambda name=name: lab.status()["nodes"][name]["restarts"] == 1)  # type: ignore[misc]
    assert (lab.cam.get("exposure"), lab.cam.get("offset")) == (0.125, 9)
    assert (lab.motor.get("position"), lab.motor.get("speed")) == (7.0, 3.0)


def test_a_node_describes_itself(lab: Lab) -> None:
    found = lab.motor.describe()
    assert found["kind"] == "support.nodes:Motor"
    assert found["role"] == "device"
    assert found["doc"].startswith("A stage with telemetry")
    assert found["schema"]["properties"]["speed"]["unit"] == "um/s"
    assert found["schema"]["properties"]["speed"]["maximum"] == 10
    assert found["schema"]["properties"]["position"]["readonly"] is True
    assert found["settings"]["speed"] == 1.0
    assert found["streams"] == ["motor"]
    assert set(found["actions"]) >= {"move", "sweep", "boom"}
    assert found["actions"]["move"]["doc"] == "Go there at once."
    assert found["actions"]["move"]["schema"]["properties"]["to"]["maximum"] == 100
    assert lab.sums.describe()["streams"] == ["sums", "sums.tenth"]


# ---------------------------------------------------------------- actions


def test_actions_answer_and_their_changes_are_told(lab: Lab) -> None:
    with lab.events() as events:
        assert lab.motor.move(to="5", fast=True) == 5.0
        assert lab.motor.do("move", to=-5) == -5.0
        told = [next(e for e in events if e.kind == "setting").data["values"] for _ in range(2)]
    assert told == [{"position": 5.0}, {"position": -5.0}]
    assert lab.motor.array() == {"a": [0, 1, 2], "b": 0.5, "c": None}


def test_an_error_in_an_action_is_told_to_all_and_the_node_goes_on(lab: Lab) -> None:
    with lab.events() as events:
        with pytest.raises(ActionError, match="ZeroDivisionError"):
            lab.motor.boom()
        found = [next(events) for events in [iter(events)] * 2]
    kinds = {event.kind: event for event in found}
    # What it changed before it failed is told as well.
    assert kinds["setting"].data["values"] == {"speed": 2.0}
    assert kinds["error"].data["text"] == "motor: ZeroDivisionError: boom"
    assert "in boom" in kinds["error"].data["trace"]
    assert lab.motor.touch() == "motor"


def test_a_reader_that_is_behind_can_be_purged(runtime: Path) -> None:
    session = Session("bench", cam=Ticker(frames=400), sums=Sum(source="cam", slow=0.02))
    with session.running() as lab, lab.events() as events:
        eventually(lambda: lab.status()["streams"]["cam"]["readers"]["sums"]["behind"] > 20)
        passed = lab.sums.purge()["cam"]
        assert passed > 0
        lost = next(event for event in events if event.kind == "lost").data
        assert (lost["stream"], lost["reader"], lost["cause"]) == ("cam", "sums", "purged")
        assert lost["count"] == passed
    told = session.ledger["streams"]["cam"]
    account = told["readers"]["sums"]
    assert account["causes"] == {"purged": passed}
    assert account["received"] + passed == told["published"]
    assert session.ledger["streams"]["sums"]["published"] == account["received"]


def test_a_long_action_reports_progress_while_frames_go_on(lab: Lab) -> None:
    progress: list[Any] = []
    with lab.events() as events, lab.motor.every() as reader:
        assert lab.motor.do("sweep", steps=4, pause=0.15, progress=progress.append) == 4
        told = []
        while (event := events.next(0.5)) is not None:
            if event.kind == "progress":
                told.append([event.data["fraction"], event.data["text"]])
        rows = []
        while reader.ready:
            rows.append(float(reader.read(0).data["position"][0]))
    assert progress == told
    assert [p for p, _ in _runs([tuple(p) for p in progress])] == [
        (0.0, "step 0"),
        (0.25, "step 1"),
        (0.5, "step 2"),
        (0.75, "step 3"),
    ]
    # The motor's own stream went on meanwhile, at each step.
    assert [position for position, _ in _runs(rows)][-4:] == [0.0, 1.0, 2.0, 3.0]
    assert len(rows) > 20


def test_a_long_action_that_fails_tells_so(lab: Lab) -> None:
    with pytest.raises(ActionError, match=r"^motor.sweep\(\): stuck at step 2$"):
        lab.motor.sweep(steps=5, fail_at=2)
    assert lab.motor.sweep(steps=2) == 2


def test_a_long_action_runs_once_at_a_time_beside_others(lab: Lab) -> None:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(lab.motor.sweep(steps=3, pause=0.3)))
    thread.start()
    eventually(lambda: lab.motor.get("position") == 1.0)
    with pytest.raises(ActionError, match=r"^motor.sweep\(\): is running already$"):
        lab.motor.sweep()
    assert lab.motor.touch() == "motor"
    assert lab.motor.set(speed=4.0) == {"speed": 4.0}
    thread.join()
    assert answers == [3]


def test_an_action_without_progress_is_waited_for(lab: Lab) -> None:
    """It takes longer than the asker's patience, but the node shows that it is under way."""
    assert lab.motor.do("silent", seconds=2.5, timeout=1.8) == "done"


def test_a_node_that_ends_answers_what_it_was_asked(runtime: Path) -> None:
    errors: list[BaseException] = []
    with Session("bench", motor=Motor()).running() as lab:

        def sweep() -> None:
            try:
                lab.motor.sweep(steps=2, pause=60)
            except ActionError as error:
                errors.append(error)

        thread = threading.Thread(target=sweep)
        thread.start()
        with lab.events() as events:
            next(e for e in events if e.kind == "progress")
        lab.stop()
        thread.join()
    assert [str(error) for error in errors] == ["motor: has stopped"]


def test_a_stopped_node_does_not_answer(runtime: Path) -> None:
    import os
    import signal

    with Session("bench", motor=Motor(), cam=Ticker()).running() as lab:
        pid = lab.status()["nodes"]["motor"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NoAnswer, match=r"^motor: no answer to 'do touch' within 0.3 s$"):
            lab.motor.do("touch", timeout=0.3)
        os.kill(pid, signal.SIGCONT)
        # The late answer does not meet the next question.
        assert lab.motor.move(to=1) == 1.0


def test_asking_a_session_that_has_ended_does_not_take_long(runtime: Path) -> None:
    with Session("bench", motor=Motor()).running():
        mine = marey.attach("bench")
        assert mine.motor.touch() == "motor"
    began = time.monotonic()
    with pytest.raises(SessionError, match="session has ended"):
        mine.ask("motor", "get")
    with pytest.raises(SessionError, match="is not running any more"):
        mine.motor.get()
    assert time.monotonic() - began < 5
    mine.close()
    with pytest.raises(SessionError, match="closed"):
        mine.ask("motor", "get")


# ---------------------------------------------------------------- nodes that ask


def test_two_nodes_that_call_each_other_do_not_wait_for_ever(runtime: Path) -> None:
    session = Session("bench", one=Motor(peer="two"), two=Motor(peer="one"))
    with session.running() as lab:
        assert lab.one.visit(action="touch") == "two"
        # `one` asks `two`, which asks `one` while that waits for it.
        with pytest.raises(ActionError) as caught:
            lab.one.visit(action="visit")
        assert str(caught.value).startswith("one: is itself waiting for an answer of 'two'")
        assert lab.one.touch() == "one"
        assert lab.two.touch() == "two"


def test_settings_are_told_by_a_node_that_is_busy(runtime: Path) -> None:
    session = Session("bench", cam=Ticker(), sums=Sum(source="cam", failing="sleep 3", at=5))
    with session.running() as lab:
        eventually(lambda: lab.sums.head == 5 and lab.cam.head > 10)
        for _ in range(5):
            assert lab.sums.get("at") == 5
            assert lab.sums.describe()["role"] == "processor"
            assert lab.sums.head == 5


# ---------------------------------------------------------------- events


def test_every_line_that_a_node_writes_is_told(lab: Lab) -> None:
    with lab.events() as one, lab.events() as two:
        lab.motor.shout(text="hello")
        for listener in (one, two):
            found: dict[str, str] = {}
            while len(found) < 5:
                event = listener.next(10)
                assert event is not None
                if event.kind == "log" and "hello" in event.data["text"]:
                    assert event.node == "motor"
                    found[event.data["text"]] = event.data["level"]
            assert found.pop("log hello") == "warning"
            assert found.pop("stdout hello") == "stderr"
            assert found.pop("stderr hello") == "stderr"
            assert found.pop("raw hello") == "stderr"
            assert "UserWarning: warning hello" in found.popitem()[0]


def test_listening_ends_with_the_session(runtime: Path) -> None:
    with Session("bench", cam=Ticker()).running():
        lab = marey.attach("bench")
        events = lab.events()
        lab.stop()
    states = [(e.node, e.data["state"]) for e in events if e.kind == "state"]
    assert states[0] == ("session", "stopping")
    assert states[-1] == ("session", "stopped")
    assert ("cam", "stopped") in states
    assert events.next() is None
    events.close()
    with pytest.raises(SessionError):
        lab.events()
    lab.close()


def test_an_event_tells_its_time_and_kind(lab: Lab) -> None:
    with lab.events() as events:
        now = time.time_ns()
        lab.cam.set(offset=1)
        event = next(e for e in events if e.kind == "setting")
        assert isinstance(event, Event)
        assert abs(event.time - now) < 10e9
        assert events.next(0) is None
        assert not events.over


# ---------------------------------------------------------------- under load


def test_a_thousand_commands_from_four_threads(lab: Lab) -> None:
    failures: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        with marey.attach("bench") as mine:
            for i in range(250):
                to = float(rng.randrange(-100, 100))
                try:
                    match rng.randrange(7):
                        case 0:
                            assert mine.motor.move(to=to) == to
                        case 1:
                            assert mine.cam.set(exposure=0.2) == {"exposure": 0.2}
                        case 2:
                            assert set(mine.cam.get()) >= {"exposure", "offset"}
                        case 3:
                            with pytest.raises(SettingError):
                                mine.cam.set(offset=-1)
                        case 4:
                            assert mine.sums.describe()["role"] == "processor"
                        case 5:
                            assert mine.status()["nodes"]["cam"]["state"] == "running"
                        case 6:
                            mine.set(run=f"{seed}-{i}")
                except BaseException as error:  # noqa: BLE001 - reported by the main thread
                    failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    reader = lab.ledger()["streams"]["cam"]["readers"]["sums"]
    assert reader["lost"] == 0


def test_one_lab_is_shared_by_threads(lab: Lab) -> None:
    answers: list[Any] = []

    def work(to: float) -> None:
        answers.extend(lab.motor.move(to=to) == to for _ in range(50))

    threads = [threading.Thread(target=work, args=(float(to),)) for to in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 200


def test_commands_are_answered_while_frames_run_at_ten_thousand_a_second(
    runtime: Path, tmp_path: Path
) -> None:
    cam = Ticker(rate=10_000, buffer="16384 frames")
    with Session("bench", cam=cam, sums=Sum(source="cam")).running() as lab:
        eventually(lambda: lab.cam.head > 1000)
        for i in range(100, 200):
            assert lab.cam.set(offset=i) == {"offset": i}
            assert lab.sums.set(skip=i) == {"skip": i}
        assert lab.status()["nodes"]["cam"]["restarts"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_bytes_that_are_no_message_do_no_harm(lab: Lab, seed: int) -> None:
    rng = random.Random(seed)
    good = b'{"id":1,"verb":"get","name":"","args":{}}'
    junk: list[list[bytes]] = [
        [b""],
        [b"", b"", b""],
        [b"{}"],
        [b"null"],
        [b"[1,2]"],
        [b"\xff\xfe\x00"],
        [b"{" * 10_000],
        [b'{"id":1e999,"verb":"get"}'],
        [b'{"id":1,"verb":"attach","args":{}}'],
        [b'{"id":1,"verb":"go"}'],
        [b'{"id":1,"verb":"set","args":{"exposure":[[[[]]]]}}'],
        [b'{"id":1,"verb":"do","name":"__init__","args":{}}'],
        [b'{"id":1,"verb":"do","name":"close","args":{}}'],
        [b'{"id":1,"verb":"get","name":"' + b"x" * 100_000 + b'"}'],
        [good, good, good],
        [b'{"kind":"state","node":"cam","data":{}}'],
        [b'{"kind":"state","node":"cam","data":{"state":"failed","pid":null}}'],
        [b'{"kind":"alive","node":"cam","data":{"beats":"many"}}'],
        [b'{"kind":"setting","node":"cam","data":{"values":3}}'],
        [b'{"kind":"setting","node":"cam","data":{"values":{"nonsense":1}}}'],
        [b'{"kind":"lost","node":"cam","data":{"what":{"deep":[]}}}'],
        [b'{"kind":"error","node":"sums","data":{}}'],
        [b'{"kind":"log","node":"nobody","data":{}}'],
        [b'{"kind":"log","node":"session","data":{}}'],
    ]
    junk += [[rng.randbytes(rng.randrange(1, 300))] for _ in range(30)]
    for _ in range(30):  # a good message with some bytes changed
        text = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        junk.append([bytes(text)])
    rng.shuffle(junk)
    context = zmq.Context()
    sockets = []
    for address, kind in (
        (command_address(lab.folder, "cam"), zmq.DEALER),
        (command_address(lab.folder, "session"), zmq.DEALER),
        (inbox_address(lab.folder), zmq.PUSH),
    ):
        sockets.append(context.socket(kind))
        sockets[-1].setsockopt(zmq.LINGER, 0)
        sockets[-1].connect(address)
    for message in junk:
        for sock in sockets:
            sock.send_multipart(message)
    listener = context.socket(zmq.SUB)
    listener.connect(events_address(lab.folder))
    # Bytes that do not even speak the protocol of the sockets.
    for name in ("cam.cmd", "session.cmd", "session.in", "session.events"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(lab.folder / name))
            raw.sendall(rng.randbytes(5000))
    for node in ("cam", "sums", "motor"):
        assert lab[node].get()["restart"] == "on-failure"
    assert lab.cam.set(exposure=0.3) == {"exposure": 0.3}
    assert lab.set(mode="well")["cam"] == {"mode": "well"}
    # Messages on one socket are obeyed in their order: a good one comes after all of the junk.
    sockets[0].send(b'{"id":77,"verb":"get","name":"rate"}')
    eventually(lambda: b'"id":77' in sockets[0].recv())
    status = lab.status()
    assert {n["restarts"] for n in status["nodes"].values()} == {0}
    assert {n["state"] for n in status["nodes"].values()} == {"running"}
    with lab.sums.every() as reader:
        assert reader.read(10) is not None
    for sock in (*sockets, listener):
        sock.close(linger=0)
    context.term()


def test_an_asker_that_breaks_off_leaves_nothing_open(lab: Lab) -> None:
    asker = Asker(lab.folder)

    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asker.ask("motor", "do", "sweep", {"pause": 0.1}, progress=stop)
    assert asker.ask("motor", "do", "touch") == "motor"
    asker.close()  # would wait for ever for a socket that was left open
    with pytest.raises(SessionError, match="closed"):
        asker.ask("motor", "do", "touch")


def test_a_sink_has_no_stream(runtime: Path, tmp_path: Path) -> None:
    with Session("bench", cam=Ticker(), keep=Keep(file=str(tmp_path / "a"))).running() as lab:
        assert lab.streams == ["cam"]
        with pytest.raises(marey.errors.StreamMissing, match="stream 'keep'"):
            lab.keep.latest()
        eventually(lambda: kept(tmp_path / "a"))
        assert dir(lab)[-2:] == ["cam", "keep"] or {"cam", "keep"} <= set(dir(lab))


def _runs(values: list[Any]) -> list[tuple[Any, int]]:
    """Values with the number of times that each follows upon itself."""
    runs: list[tuple[Any, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return runs
