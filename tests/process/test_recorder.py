"""The sink `recorder` in sessions with real processes, fed by the camera `replay`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey import Block, Frame, Lab, Processor, Session
from marey.cameras.counter import Counter
from marey.cameras.replay import Replay
from marey.errors import ActionError, MareyError, NodeError, RecordingError
from marey.recording import RecordedItem, RecordedStream, RecordingWriter, open_recording
from marey.sinks.recorder import Recorder
from marey.stream import STAMP, UNKNOWN, Spec

SPEC = Spec((32, 48), np.dtype("u2"), rate=200, pixel_format="Mono16")


pytestmark = pytest.mark.usefixtures("runtime")


def film(folder: Path, count: int, *, spec: Spec = SPEC, name: str = "film", skip: int = -1) -> str:
    """A recording of `count` frames: number i in all pixels, counter and time."""
    with RecordingWriter.create(folder, name) as writer:
        writer.add_stream("cam", spec)
        for i in range(count):
            n = i + (skip > 0 and i >= skip)
            stamp = np.array([(i, UNKNOWN, n, 10 * n, 1000 + n, 5_000_000 * n, 0)], STAMP)
            shape = spec.shape if i % 5 else (spec.shape[0] // 2, spec.shape[1] - 1)
            data = np.full(shape, i, spec.dtype)
            writer.append("cam", RecordedItem(data, stamp, 1, range(0)))
    return str(writer.path)


def numbers(stream: RecordedStream) -> list[int]:
    """The number that stands in the pixels of each frame, which must be the same in all."""
    found = []
    for one in stream:
        assert one.data.min() == one.data.max()
        found.append(int(one.data[0, 0]))
    return found


def watch(lab: Lab, frames: int) -> list[int]:
    """Let some frames pass; returns their seq."""
    seen: list[int] = []
    with lab.cam.every() as reader:
        for frame in reader:
            seen.append(frame.seq)
            if len(seen) == frames:
                break
    return seen


def await_that(lab: Lab, what: Any) -> None:
    """Let frames pass until something holds; the limit on a test's time ends a vain wait."""
    while not what():
        watch(lab, 3)


def test_a_film_is_recorded_bit_for_bit(tmp_path: Path) -> None:
    path = film(tmp_path, 400, skip=100)
    ledger = Session(
        "bench",
        cam=Replay(path=path, lossless=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data"), autostart=True, chunk=0.25),
    ).run()
    assert ledger["streams"]["cam"]["published"] == 400
    assert ledger["streams"]["cam"]["device_lost"] == 1
    assert ledger["streams"]["cam"]["readers"]["rec"]["received"] == 400
    (run,) = (tmp_path / "data").iterdir()
    was, rec = open_recording(path)["cam"], open_recording(run)
    now = rec["cam"]
    assert rec.complete
    assert (len(now), now.gaps) == (400, [])
    for one, other in zip(was, now, strict=True):
        assert np.array_equal(one.data, other.data)
        assert (one.seq, one.device_frame, one.device_time, one.host_time) == (
            other.seq,
            other.device_frame,
            other.device_time,
            other.host_time,
        )
    told = rec.metadata
    assert (told["session"], told["node"]) == ("bench", "rec")
    assert told["settings"]["cam"]["lossless"] is True
    assert told["settings"]["rec"]["chunk"] == 0.25
    assert told["ledger"]["streams"]["cam"]["published"] == 400
    assert told["streams"] == {"cam": {"items": 400, "lost": 0}}


class Mean(Processor):
    """The mean of each frame, and as many zeros behind it as its seq modulo 3."""

    row = np.dtype([("mean", "f8")])

    def process(self, frame: Frame | Block) -> np.ndarray:
        rows = np.zeros(1 + frame.seq % 3, self.row)
        rows["mean"][0] = frame.data.mean()
        return rows


def test_results_are_recorded_beside_their_frames(tmp_path: Path) -> None:
    Session(
        "bench",
        cam=Replay(path=film(tmp_path, 100), lossless=True),
        mean=Mean(source="cam"),
        rec=Recorder(folder=str(tmp_path / "data"), autostart=True),
    ).run()
    (run,) = (tmp_path / "data").iterdir()
    rec = open_recording(run)
    assert sorted(rec.streams) == ["cam", "mean"]
    frames, means = rec["cam"], rec["mean"]
    assert (len(frames), len(means), means.gaps) == (100, 100, [])
    for one in means:
        assert one.source_seq is not None
        frame = frames.by_seq(one.source_seq)
        assert frame is not None
        assert one.data["mean"].tolist() == [frame.data.mean()] + [0.0] * (one.source_seq % 3)
        assert (one.host_time, one.mono_time) == (frame.host_time, frame.mono_time)
    table = means.to_pandas()
    assert table[table["mean"] > 0]["source_seq"].tolist() == list(range(1, 100))


def test_it_starts_and_stops_when_asked(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=400, loop=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data")),
    )
    with session.running() as lab:
        watch(lab, 5)
        assert not (tmp_path / "data").exists()
        with pytest.raises(MareyError, match=r"rec\.stop\(\): is not recording"):
            lab.rec.stop()
        path = lab.rec.start(name="one")["path"]
        with pytest.raises(MareyError, match=r"rec\.start\(\): is recording to .*/one already"):
            lab.rec.start()
        with pytest.raises(ActionError, match="before"):
            lab.rec.start(before="soon")
        await_that(
            lab, lambda: "cam" in open_recording(path) and len(open_recording(path)["cam"]) > 9
        )
        assert lab.rec.get("recording") is True
        told = lab.rec.stop()
        assert lab.rec.get("recording") is False
        rec = open_recording(path)
        assert rec.complete
        assert told["path"] == path == str(tmp_path / "data" / "one")
        assert told["items"] == {"cam": len(rec["cam"])}
        assert told["lost"] == {"cam": 0}

        lab.set(run="two", folder=str(tmp_path / "other"))
        lab.rec.set(recording=True)
        watch(lab, 20)
        lab.rec.set(recording=False)
        assert lab.rec.get("path") == str(tmp_path / "other" / "two")
        lab.rec.set(recording=True)
    assert sorted(p.name for p in (tmp_path / "other").iterdir()) == ["two", "two-2"]
    for run in (tmp_path / "other").iterdir():
        assert open_recording(run).complete


def changes(path: str) -> list[dict[str, Any]]:
    """Changed settings of the camera, as a recording has them."""
    events = open_recording(path).events
    return [e for e in events if (e["kind"], e["node"]) == ("setting", "cam")]


def test_settings_that_change_meanwhile_stand_in_the_recording(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=400, loop=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data")),
    )
    with session.running() as lab:
        lab.cam.set(rate=300)  # before the recording: not in it
        path = lab.rec.start(name="one")["path"]
        watch(lab, 5)
        for rate in (200.0, 100.0):
            lab.cam.set(rate=rate)
            wanted = {"rate": rate}
            await_that(lab, lambda w=wanted: w in [e["data"]["values"] for e in changes(path)])
        lab.rec.stop()
    told = changes(path)
    assert [event["data"]["values"] for event in told] == [{"rate": 200.0}, {"rate": 100.0}]
    seqs = [event["data"]["seq"] for event in told]
    assert 0 < seqs[0] <= seqs[1]


def test_what_was_purged_is_a_gap_with_its_cause(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Counter(rate=5000),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data"), autostart=True),
    )
    with session.running() as lab:
        passed: list[int] = []
        await_that(lab, lambda: passed.append(lab.rec.purge()["cam"]) or any(passed))
        watch(lab, 5)
        lab.rec.stop()
        rec = open_recording(lab.rec.get("path"))["cam"]
    assert {gap.cause for gap in rec.gaps} == {"purged"}
    assert sum(len(gap.lost) for gap in rec.gaps) == sum(passed)
    assert len(rec) + sum(passed) == [*rec][-1].seq + 1


def test_the_seconds_before_the_start_are_kept_without_a_seam(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=500, loop=True, buffer="2000 frames"),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data")),
    )
    with session.running() as lab:
        watch(lab, 300)
        head = lab.cam.head
        told = lab.rec.start(before=0.4)
        assert 0.1 < told["before"]["cam"] <= 0.45
        watch(lab, 100)
        assert lab.rec.stop()["lost"] == {"cam": 0}
        with pytest.raises(MareyError, match=r"before=-1.*expected 0 to 86400"):
            lab.rec.start(before=-1.0)
        assert lab.rec.get("recording") is False
    cam = open_recording(told["path"])["cam"]
    seqs = cam.stamps["seq"].tolist()
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert head - 300 <= seqs[0] < head - 20
    assert seqs[-1] > head
    assert numbers(cam) == [seq % 50 for seq in seqs]
    assert cam.gaps == []


def test_a_killed_recorder_goes_on_with_its_recording(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=300, loop=True, buffer="5000 frames"),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data")),
    )
    with session.running() as lab:
        path = lab.rec.start()["path"]
        for life in (1, 2):
            await_that(lab, lambda: len(open_recording(path).streams) > 0)
            watch(lab, 30)
            os.kill(lab.status()["nodes"]["rec"]["pid"], signal.SIGKILL)
            await_that(lab, lambda n=life: lab.status()["nodes"]["rec"]["restarts"] == n)
            await_that(lab, lambda: lab.status()["nodes"]["rec"]["state"] == "running")
        assert lab.rec.get("recording") is True
        watch(lab, 30)
        told = lab.rec.stop()
    assert told["path"] == path
    assert [p.name for p in (tmp_path / "data").iterdir()] == [Path(path).name]
    rec = open_recording(path)
    seqs = rec["cam"].stamps["seq"].tolist()
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert numbers(rec["cam"]) == [seq % 50 for seq in seqs]
    assert rec["cam"].gaps == []
    assert len(rec.metadata["resumed"]) == 2


def test_a_stopped_recorder_that_is_killed_does_not_begin_again(tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=300, loop=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data"), autostart=True),
    )
    with session.running() as lab:
        await_that(lab, lambda: lab.rec.get("recording"))
        lab.rec.stop()
        os.kill(lab.status()["nodes"]["rec"]["pid"], signal.SIGKILL)
        await_that(lab, lambda: lab.status()["nodes"]["rec"]["restarts"] == 1)
        await_that(lab, lambda: lab.status()["nodes"]["rec"]["state"] == "running")
        assert lab.rec.get("recording") is False
        watch(lab, 10)
    assert len(list((tmp_path / "data").iterdir())) == 1


@pytest.mark.parametrize("limit", ["0.5 MiB", "0.2 s"])
def test_it_ends_by_itself_at_its_limit(tmp_path: Path, limit: str) -> None:
    session = Session(
        "bench",
        cam=Replay(path=film(tmp_path, 50), rate=300, loop=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data"), autostart=True, limit=limit),
    )
    with session.running() as lab:
        await_that(lab, lambda: not lab.rec.get("recording"))
        rec = open_recording(lab.rec.get("path"))
        assert rec.complete
        assert rec.metadata["ended_because"] == f"its limit of {limit} was reached"
        if limit.endswith("MiB"):
            assert len(rec["cam"]) == -(-(2**19) // SPEC.nbytes)


def test_a_camera_that_is_opened_with_other_frames_is_recorded_on(tmp_path: Path) -> None:
    wide = Spec((16, 64), np.dtype("u1"), rate=200)
    first, second = film(tmp_path, 50), film(tmp_path, 50, spec=wide, name="wide")
    session = Session(
        "bench",
        cam=Replay(path=first, rate=300, loop=True),
        rec=Recorder(sources=["cam"], folder=str(tmp_path / "data"), autostart=True),
    )
    with session.running() as lab:
        watch(lab, 20)
        lab.cam.set(path=second)
        watch(lab, 20)
        path = lab.rec.stop()["path"]
    rec = open_recording(path)
    assert [rec[name].spec.shape for name in rec] == [(32, 48), (16, 64)]
    old, new = (rec[name] for name in rec)
    assert new.name == f"cam@{new.epochs[0]}"
    assert new.stamps["seq"][0] == old.stamps["seq"][-1] + 1
    assert numbers(new)[:3] == [0, 1, 2]


def test_a_folder_that_cannot_be_written_is_told_to_who_asks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = str(tmp_path / "file")
    path = film(tmp_path, 50)
    session = Session(
        "bench",
        cam=Replay(path=path, rate=300, loop=True),
        rec=Recorder(sources=["cam"], folder=blocked),
    )
    with session.running() as lab:
        with pytest.raises(RecordingError, match="no recording can be made there"):
            lab.rec.start()
        with pytest.raises(MareyError, match="no recording can be made there"):
            lab.rec.set(recording=True)
        assert lab.rec.get("recording") is False
        lab.rec.set(folder=str(tmp_path / "data"))
        lab.rec.start()
    with (
        pytest.raises(NodeError, match=r"rec: .*no recording can be made there"),
        Session(
            "bench",
            cam=Replay(path=path),
            rec=Recorder(sources=["cam"], folder=blocked, autostart=True),
        ).running(),
    ):
        pass


def test_limits_are_checked_when_they_are_set() -> None:
    for limit in ("", "90 s", "1.5 h", "200 GiB", "3min"):
        Recorder(limit=limit)
    for limit in ("fast", "-1 s", "10", "10 parsec"):
        with pytest.raises(ValueError, match="limit"):
            Recorder(limit=limit)
