"""How nodes and sessions end: `close` always runs, errors are told, readers finish what is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from marey import Session
from marey.errors import NodeFailed
from support.nodes import Flood, Keep, Motor, Newest, Spawner, Sum, Ticker, Wrong
from support.waiting import eventually, kept


def test_close_runs_after_an_exception(runtime: Path, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    session = Session(
        "bench",
        cam=Ticker(grabbing="raise broken", at=3, restart="never", diary=str(diary)),
    )
    with pytest.raises(NodeFailed, match=r"^cam: ValueError: broken$") as caught:
        session.run()
    assert diary.read_text().split("\n")[:-1] == ["cam open", "cam close"]
    assert caught.value.ledger["streams"]["cam"]["published"] == 3


def test_an_exception_in_close_is_an_error(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "bench", cam=Ticker(frames=5), out=Keep(file=str(tmp_path / "a"), closing="raise jammed")
    )
    with pytest.raises(NodeFailed, match=r"^out: ValueError: jammed$") as caught:
        session.run()
    assert len(kept(tmp_path / "a")) == 5
    assert caught.value.ledger["nodes"]["out"]["state"] == "failed"
    assert caught.value.ledger["nodes"]["cam"]["state"] == "ended"
    assert list(runtime.iterdir()) == []


def test_an_exception_in_close_is_an_error_in_the_background_too(
    runtime: Path, tmp_path: Path
) -> None:
    session = Session("bench", cam=Ticker(closing="raise jammed"))
    with pytest.raises(NodeFailed, match="jammed"), session.running():
        pass
    assert session.ledger["nodes"]["cam"]["state"] == "failed"


def test_the_error_of_the_body_is_not_hidden(runtime: Path) -> None:
    with pytest.raises(KeyError, match="mine"), Session("bench", cam=Ticker()).running():
        raise KeyError("mine")
    assert list(runtime.iterdir()) == []


def test_a_node_that_raises_is_told_with_traceback_and_restarted(
    runtime: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    session = Session(
        "bench",
        cam=Ticker(rate=200),
        sums=Sum(source="cam", failing="raise no idea", at=20, once=str(tmp_path / "once")),
        keep=Keep(file=str(out), sources=["sums"]),
    )
    with session.running() as lab, lab.events() as one, lab.events() as two:
        for listener in (one, two):
            event = next(e for e in listener if e.kind == "error")
            assert event.node == "sums"
            assert event.data["text"] == "sums: ValueError: no idea"
            assert "in process" in event.data["trace"]
            assert "raise ValueError" in event.data["trace"]
        eventually(lambda: [i for i in kept(out) if i["source_seq"] > 60])
        assert lab.status()["nodes"]["sums"]["restarts"] == 1
        assert lab.status()["nodes"]["cam"]["restarts"] == 0
    # The item on which it failed is named, and is the only one without a result.
    assert [i["source_seq"] for i in kept(out)] == [
        n for n in range(kept(out)[-1]["source_seq"] + 1) if n != 20
    ]
    lost = [i for i in session.ledger["incidents"] if i["what"] == "lost"]
    assert [(i["stream"], i["reader"], i["first"], i["count"], i["cause"]) for i in lost] == [
        ("cam", "sums", 20, 1, "the node failed on it")
    ]
    assert session.ledger["nodes"]["sums"]["restarts"] == 1


def test_a_node_that_must_not_be_restarted_is_not_and_others_go_on(
    runtime: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    session = Session(
        "bench",
        cam=Ticker(rate=200),
        sums=Sum(source="cam", failing="raise no idea", at=20, restart="never"),
        more=Sum(source="sums"),
        keep=Keep(file=str(out), sources=["cam"]),
        last=Keep(file=str(tmp_path / "last"), sources=["more"]),
    )
    with pytest.raises(NodeFailed, match="no idea"), session.running() as lab:
        eventually(lambda: lab.status()["nodes"]["sums"]["state"] == "failed")
        seen = len(kept(out))
        eventually(lambda: len(kept(out)) > seen + 50)
        # What reads the failed one's stream has come to its end.
        eventually(lambda: lab.status()["nodes"]["last"]["state"] == "ended")
        assert lab.status()["nodes"]["more"]["state"] == "ended"
    assert session.ledger["nodes"]["sums"] == {
        "state": "failed",
        "restarts": 0,
        "error": "sums: ValueError: no idea",
    }
    assert [i["source_seq"] for i in kept(tmp_path / "last")] == list(range(20))


def test_a_camera_that_raises_does_not_end_its_readers(runtime: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    session = Session(
        "bench",
        cam=Ticker(rate=500, grabbing="raise lost contact", at=10, once=str(tmp_path / "once")),
        sums=Sum(source="cam"),
        keep=Keep(file=str(out)),
    )
    with session.running() as lab:
        eventually(lambda: len(kept(out, "sums")) > 50)
        assert lab.status()["nodes"]["sums"]["restarts"] == 0
    for stream in ("cam", "sums"):
        assert [i["seq"] for i in kept(out, stream)] == list(range(len(kept(out, stream))))
    assert [i["epoch"] for i in kept(out, "cam")][8:12] == [1, 1, 2, 2]
    assert session.ledger["streams"]["cam"]["epochs"][1]["first_seq"] == 10
    outage = [i for i in session.ledger["incidents"] if i["what"] == "outage"]
    assert [(i["stream"], i["seq"], i["last"]) for i in outage] == [("cam", 10, 9)]


def test_a_node_that_dies_again_and_again_is_given_more_and_more_time(
    runtime: Path, tmp_path: Path
) -> None:
    session = Session("bench", cam=Ticker(), bad=Ticker(rate=1e4, grabbing="raise always", at=5))
    with pytest.raises(NodeFailed, match=r"^bad: ValueError: always$"), session.running() as lab:
        with lab.events() as events:
            delays = []
            for event in events:
                if event.kind == "state" and event.data["state"] == "restarting":
                    delays.append(event.data["delay"])
                    if len(delays) == 3:
                        break
        assert delays == [0.0, 0.5, 1.0]
        assert lab.status()["nodes"]["cam"]["restarts"] == 0
    assert session.ledger["nodes"]["bad"]["state"] == "failed"


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("list", "bad: result: found list, expected an array of"),
        ("type", "bad: result: found dtype float32, expected"),
        ("rows", "bad: result: found shape (5000,), expected at most (4096,)"),
    ],
)
def test_a_result_that_does_not_fit_is_told(runtime: Path, gives: str, says: str) -> None:
    session = Session(
        "bench",
        cam=Ticker(frames=100),
        bad=Wrong(source="cam", gives=gives, restart="never"),
    )
    with pytest.raises(NodeFailed) as caught:
        session.run()
    assert str(caught.value).startswith("bad: ")
    assert says in str(caught.value)


def test_slow_readers_of_a_lossless_stream_get_everything(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Ticker(rate=1e6, frames=300, lossless=True, buffer="8 frames"),
        sums=Sum(source="cam", slow=0.002, buffer="8 frames"),
        keep=Keep(file=str(tmp_path / "a"), sources=["sums"], slow=0.003),
        raw=Keep(file=str(tmp_path / "b"), sources=["cam"]),
    )
    ledger = session.run()
    assert [i["source_seq"] for i in kept(tmp_path / "a")] == list(range(300))
    assert [i["seq"] for i in kept(tmp_path / "b")] == list(range(300))
    for stream in ("cam", "sums"):
        for reader in ledger["streams"][stream]["readers"].values():
            assert (reader["received"], reader["lost"], reader["behind"]) == (300, 0, 0)
    assert [i for i in ledger["incidents"] if i["what"] == "lost"] == []


def test_a_lossless_processor_that_waits_for_its_reader_obeys_and_stops(
    runtime: Path, tmp_path: Path
) -> None:
    """Its reader is stopped; it must neither be taken for hung nor be deaf."""
    session = Session(
        "bench",
        cam=Ticker(rate=1e6, lossless=True, buffer="8 frames"),
        sums=Sum(source="cam", buffer="8 frames", hang_timeout=2),
        keep=Keep(
            file=str(tmp_path / "a"),
            sources=["sums"],
            failing="sleep 600",
            at=0,
            once=str(tmp_path / "x"),
            hang_timeout=60,
        ),
    )
    with session.running() as lab:
        eventually(lambda: lab.sums.head >= 8)
        began = time.monotonic()
        lab.sums.set(log_each=100)
        while time.monotonic() < began + 2.5:  # longer than its hang_timeout
            assert lab.sums.set(slow=0.0) == {"slow": 0.0}
            time.sleep(0.1)
        assert lab.status()["nodes"]["sums"]["restarts"] == 0
        os.kill(lab.status()["nodes"]["keep"]["pid"], 9)
    seen = [i["source_seq"] for i in kept(tmp_path / "a")]
    assert seen == list(range(len(seen)))
    assert len(seen) == session.ledger["streams"]["sums"]["published"]


def test_the_end_of_the_cameras_ends_the_session_after_all_was_read(
    runtime: Path, tmp_path: Path
) -> None:
    """Not lossless: the ring holds all frames, and the slow reader is waited for."""
    ledger = Session(
        "bench",
        cam=Ticker(rate=5000, frames=200, buffer="256 frames"),
        keep=Keep(file=str(tmp_path / "a"), slow=0.005),
    ).run()
    assert [i["seq"] for i in kept(tmp_path / "a")] == list(range(200))
    assert ledger["streams"]["cam"]["readers"]["keep"]["behind"] == 0


def test_the_session_ends_only_with_its_last_camera(runtime: Path, tmp_path: Path) -> None:
    Session(
        "bench",
        one=Ticker(frames=5),
        two=Ticker(frames=150),
        keep=Keep(file=str(tmp_path / "a")),
    ).run()
    assert len(kept(tmp_path / "a", "one")) == 5
    assert len(kept(tmp_path / "a", "two")) == 150


def test_a_time_limit_ends_it(runtime: Path) -> None:
    ledger = Session("bench", cam=Ticker(rate=100)).run(0.5)
    assert ledger["seconds"] >= 0.5
    assert ledger["streams"]["cam"]["published"] > 0


def test_a_reader_that_takes_only_the_newest_skips_and_loses_nothing(
    runtime: Path, tmp_path: Path
) -> None:
    ledger = Session(
        "bench", cam=Ticker(rate=2000, frames=400), newest=Newest(file=str(tmp_path / "a"))
    ).run()
    seen = [int(line) for line in (tmp_path / "a").read_text().split()]
    assert seen == sorted(set(seen))
    assert seen[-1] == 399
    reader = ledger["streams"]["cam"]["readers"]["newest"]
    assert reader["received"] == len(seen)
    assert reader["received"] + reader["skipped"] == 400
    assert reader["lost"] == 0


def test_a_hung_node_is_killed_and_restarted(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Ticker(rate=100),
        sums=Sum(source="cam", failing="hang", at=5, once=str(tmp_path / "x"), hang_timeout=1.0),
        keep=Keep(file=str(tmp_path / "a"), sources=["sums"]),
    )
    with session.running() as lab:
        eventually(lambda: kept(tmp_path / "a") and kept(tmp_path / "a")[-1]["source_seq"] > 20)
        assert lab.status()["nodes"]["sums"]["restarts"] == 1
    assert [i["source_seq"] for i in kept(tmp_path / "a")] == list(
        range(kept(tmp_path / "a")[-1]["source_seq"] + 1)
    )
    hung = [i["text"] for i in session.ledger["incidents"] if i["what"] == "hung"]
    assert hung == ["sums: no sign of life for 1 s"]


def test_a_node_in_an_endless_call_is_taken_for_hung(runtime: Path, tmp_path: Path) -> None:
    """Its other thread still beats; it is its loop that must get on."""
    session = Session(
        "bench",
        cam=Ticker(rate=100, grabbing="sleep 600", at=5, once=str(tmp_path / "x"), hang_timeout=1),
    )
    with session.running() as lab:
        eventually(lambda: lab.status()["nodes"]["cam"]["restarts"] == 1)
        eventually(lambda: lab.cam.head > 20)


def test_a_restarted_node_may_take_its_time_to_open(runtime: Path, tmp_path: Path) -> None:
    """Opening is bounded by start_timeout, not by hang_timeout."""
    session = Session(
        "bench",
        cam=Ticker(
            rate=200,
            opening="sleep 1.5",
            grabbing="kill",
            at=5,
            once=str(tmp_path / "x"),
            hang_timeout=0.5,
        ),
    )
    with session.running() as lab:
        eventually(lambda: lab.cam.head > 10)
        assert [i["what"] for i in lab.ledger()["incidents"]] == ["died", "outage"]


def test_a_hung_camera_does_not_keep_the_session_from_its_end(
    runtime: Path, tmp_path: Path
) -> None:
    session = Session(
        "bench",
        cam=Ticker(rate=500, grabbing="hang", at=50, hang_timeout=1.0),
        sums=Sum(source="cam"),
        keep=Keep(file=str(tmp_path / "a")),
    )
    with (
        pytest.raises(NodeFailed, match=r"^cam: did not stop within 1 s and was killed$"),
        session.running() as lab,
    ):
        eventually(lambda: lab.cam.head == 50)
    assert [i["seq"] for i in kept(tmp_path / "a", "cam")] == list(range(50))
    assert [i["source_seq"] for i in kept(tmp_path / "a", "sums")] == list(range(50))
    assert session.ledger["nodes"]["sums"]["state"] == "ended"


def test_what_a_node_started_ends_with_it(runtime: Path, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with Session("bench", cam=Spawner(file=str(file))).running() as lab:
        first = int(file.read_text())
        os.kill(lab.status()["nodes"]["cam"]["pid"], 9)
        second = eventually(lambda: (pid := int(file.read_text() or 0)) not in (0, first) and pid)
        eventually(lambda: not psutil.pid_exists(first))
        assert psutil.pid_exists(second)
    eventually(lambda: not psutil.pid_exists(second))


def test_a_node_that_floods_its_output_keeps_nobody_else_waiting(runtime: Path) -> None:
    with Session("bench", cam=Flood(), motor=Motor()).running() as lab:
        eventually(lambda: lab.cam.head > 50)
        assert lab.motor.move(to=3) == 3.0
        assert lab.get()["acquiring"] is True
        assert lab.status()["nodes"]["cam"]["restarts"] == 0
