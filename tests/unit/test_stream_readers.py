"""Where readers begin, what they lose, how they end, and what their accounts say."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey._native import end_stream
from marey.errors import StreamClosed, StreamError, StreamMissing
from marey.stream import Reader, Source, Spec, Stream
from marey.stream.ledger import reader_account, stream_account

PAGE = Spec((64, 64), np.dtype("u1"))  # one page: rings have exactly as many slots as asked for


@pytest.fixture
def stream(runtime: Path) -> Iterator[Stream]:
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        yield stream


def write(stream: Stream, n: int) -> None:
    for _ in range(n):
        stream.write(np.full((64, 64), stream.head % 256, "u1"))


def drain(reader: Reader) -> list[int]:
    seqs = []
    while (frame := reader.read(0)) is not None:
        assert (frame.data == frame.seq % 256).all()
        seqs.append(frame.seq)
    return seqs


def account(runtime: Path, name: str) -> dict[str, Any]:
    found = [a for a in Source(runtime, "cam").ring.accounts() if a["name"] == name]
    assert len(found) == 1
    return found[0]


# ------------------------------------------------------------ where they begin


def test_every_begins_now_unless_told(runtime: Path, stream: Stream) -> None:
    write(stream, 3)
    with Source(runtime, "cam").every() as reader:
        assert reader.read(0) is None
        write(stream, 2)
        assert drain(reader) == [3, 4]


def test_every_begins_at_the_oldest_kept(runtime: Path, stream: Stream) -> None:
    write(stream, 20)
    with Source(runtime, "cam").every(start="oldest") as reader:
        assert drain(reader) == list(range(12, 20))


@pytest.mark.parametrize(("back", "first"), [(0.0, 4), (1.5, 3), (2.5, 2), (1e6, 0)])
def test_every_begins_some_seconds_back(
    runtime: Path, stream: Stream, back: float, first: int
) -> None:
    now = time.monotonic_ns()
    for age in (4, 3, 2, 1):
        stream.write(np.zeros((64, 64), "u1"), mono_time=now - age * 10**9)
    with Source(runtime, "cam").every(start=back) as reader:
        assert reader.cursor == first


@pytest.mark.parametrize("start", [-1.0, float("nan"), float("inf"), "yesterday", ""])
def test_a_senseless_start_is_refused(runtime: Path, stream: Stream, start: Any) -> None:
    with pytest.raises(StreamError, match="start: found"):
        Source(runtime, "cam").every(start=start)
    assert Source(runtime, "cam").ring.accounts() == []


def test_latest_skips_to_the_newest(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam", reader="eye").latest() as reader:
        write(stream, 5)
        assert reader.read(0).seq == 4
        assert reader.read(0) is None
        write(stream, 20)
        frame = reader.read(0)
        assert (frame.seq, frame.lost) == (24, range(0))
        reader.release()
        found = account(runtime, "eye")
        assert (found["received"], found["skipped"], found["lost"]) == (2, 23, 0)


def test_latest_waits_while_the_newest_is_being_overwritten(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam").latest() as reader:
        write(stream, 8)
        stream.lend(8)  # all slots: the newest item is gone before the next is there
        assert not reader.ready
        assert reader.read(0) is None
        stream.publish(1)
        assert reader.ready
        assert reader.read(0).seq == 8


def test_a_reader_may_wait_for_the_stream_to_be_made(runtime: Path) -> None:
    source = Source(runtime, "cam")
    seqs: list[int] = []

    def read() -> None:
        with source.every(start="oldest", timeout=None) as reader:
            seqs.extend(frame.seq for frame in reader)

    thread = threading.Thread(target=read)
    thread.start()
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        write(stream, 3)
    thread.join()
    assert seqs == [0, 1, 2]


def test_a_missing_stream_is_named(runtime: Path) -> None:
    source = Source(runtime, "cam")
    for act in (source.every, source.latest, lambda: source.block(2), lambda: source.head):
        with pytest.raises(StreamMissing, match="'cam'"):
            act()
    with pytest.raises(StreamMissing):
        source.wait(0.001)


# ------------------------------------------------------------ what they lose


def test_every_learns_exactly_what_it_lost(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam", reader="rec").every() as reader:
        write(stream, 2)
        assert reader.read(0).seq == 0
        reader.release()
        write(stream, 28)  # 30 published, the oldest kept is 22
        frame = reader.read(0)
        assert frame.lost == range(1, 26)  # it resumes in the middle of the ring
        assert [frame.seq, *drain(reader)] == [26, 27, 28, 29]
        found = account(runtime, "rec")
        assert (found["received"], found["lost"], found["torn"]) == (5, 25, 0)


def test_an_item_overwritten_in_use_is_counted_apart(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam", reader="rec").every() as reader:
        write(stream, 8)
        frame = reader.read(0)
        write(stream, 1)
        assert not frame.valid()
        assert not reader.release()
        assert drain(reader) == list(range(1, 9))
        found = account(runtime, "rec")
        assert (found["received"], found["lost"], found["torn"]) == (8, 0, 1)
        told = reader_account(found, stream.head)
        assert told["lost"] == 1
        assert told["causes"] == {"overwritten while in use": 1}


def test_losses_in_a_row_are_told_as_one_range(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam").every() as reader:
        write(stream, 20)
        stream.lend(8)  # everything published is being overwritten
        assert reader.read(0) is None
        stream.publish(8)
        write(stream, 2)
        frame = reader.read(0)
        assert frame.lost.start == 0
        assert frame.lost.stop == frame.seq


def test_what_was_purged_is_told_and_counted(runtime: Path, stream: Stream) -> None:
    with (
        Source(runtime, "cam", reader="rec").every() as reader,
        Source(runtime, "cam", reader="eye").latest() as newest,
    ):
        assert reader.purge() == 0
        write(stream, 5)
        assert reader.read(0).seq == 0
        assert (reader.purge(), newest.purge()) == (4, 5)  # what was in hand was received
        assert reader.read(0) is newest.read(0) is None
        write(stream, 1)
        frame = reader.read(0)
        assert (frame.seq, frame.lost) == (5, range(1, 5))
        assert newest.read(0).lost == range(0)
        reader.release()
        told = reader_account(account(runtime, "rec"), stream.head)
        assert (told["received"], told["lost"], told["causes"]) == (2, 4, {"purged": 4})
        told = reader_account(account(runtime, "eye"), stream.head)
        assert (told["lost"], told["skipped"]) == (0, 5)


def test_the_account_adds_up_from_outside(runtime: Path, stream: Stream) -> None:
    readers = {
        "fast": Source(runtime, "cam", reader="fast").every(),
        "slow": Source(runtime, "cam", reader="slow").every(),
        "eye": Source(runtime, "cam", reader="eye").latest(),
    }
    for step in range(50):
        write(stream, 3)
        readers["fast"].read(0)
        readers["fast"].read(0)
        readers["fast"].read(0)
        if step % 7 == 0:
            readers["slow"].read(0)
        if step % 2 == 0:
            readers["eye"].read(0)
    for reader in readers.values():
        reader.release()
    told = stream_account(Source(runtime, "cam").ring)
    assert told["published"] == 150
    assert told["readers"]["fast"]["received"] == 150
    assert told["readers"]["fast"]["lost"] == 0
    assert told["readers"]["slow"]["lost"] > 0
    for name, reader in readers.items():
        found = account(runtime, name)
        owed = found["cursor"] - found["start"]
        assert owed == found["received"] + found["lost"] + found["torn"] + found["skipped"]
        assert told["readers"][name]["behind"] == 150 - found["cursor"]
        reader.close()
    assert Source(runtime, "cam").ring.accounts() == []


def test_latencies_are_counted(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam", reader="rec").every() as reader:
        write(stream, 5)
        drain(reader)
        found = account(runtime, "rec")
        assert sum(found["latency"]) == 5
        assert reader_account(found, 5)["latency"]["p99"] > 0


# ------------------------------------------------------------ how they end


def test_readers_finish_what_is_left_and_then_learn_of_the_end(
    runtime: Path, stream: Stream
) -> None:
    every, latest = Source(runtime, "cam").every(), Source(runtime, "cam").latest()
    block = Source(runtime, "cam").block(4)
    write(stream, 6)
    stream.close()
    assert [frame.seq for frame in every] == list(range(6))
    assert [frame.seq for frame in latest] == [5]
    assert [(b.seq, len(b)) for b in block] == [(0, 4), (4, 2)]
    for reader in (every, latest, block):
        with pytest.raises(StreamClosed, match="has ended"):
            reader.read()
        reader.close()
        with pytest.raises(StreamClosed, match="reader was closed"):
            reader.read()


def test_what_was_lost_at_the_end_is_told_with_the_end(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam").every() as reader:
        write(stream, 8)
        stream.lend(8)  # begun, never published
        stream.close()
        with pytest.raises(StreamClosed, match="it has ended; items 0 to 7 were lost at its end"):
            reader.read()


def test_a_restarted_writer_goes_on_where_the_last_ended(runtime: Path) -> None:
    reader = None
    for epoch in (1, 2, 3):
        with Stream(runtime, "cam", PAGE, slots=8) as stream:
            reader = reader or Source(runtime, "cam").every()
            write(stream, 2)
            frames = [reader.read(0), reader.read(0)]
            assert [frame.seq for frame in frames] == [epoch * 2 - 2, epoch * 2 - 1]
            assert {frame.epoch for frame in frames} == {epoch}
    assert reader is not None
    reader.close()
    epochs = Source(runtime, "cam").ring.facts()["epochs"]
    assert [(e["epoch"], e["first_seq"]) for e in epochs] == [(1, 0), (2, 2), (3, 4)]


def test_what_a_writer_began_and_did_not_publish_stays_refused(runtime: Path) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=4)
    write(stream, 4)
    frame = Source(runtime, "cam").at(0)
    assert frame is not None
    out = stream.lend()
    assert out is not None
    out[:] = 99  # half an item, then the writer dies
    stream.close(ended=False)
    with Stream(runtime, "cam", PAGE, slots=4) as stream:
        assert stream.head == 4
        assert not frame.valid()
        assert Source(runtime, "cam").at(0) is None
        assert Source(runtime, "cam").oldest == 1
        write(stream, 1)
        assert Source(runtime, "cam").oldest == 1


def test_readers_follow_to_another_layout(runtime: Path) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=8)
    every, latest = Source(runtime, "cam").every(), Source(runtime, "cam").latest()
    write(stream, 3)
    stream.close(ended=False)
    with Stream(runtime, "cam", Spec((10, 20), np.dtype("f4")), slots=4) as stream:
        stream.write(np.full((10, 20), 0.5, "f4"))
        frames = [every.read(0) for _ in range(4)]
        assert [frame.seq for frame in frames] == [0, 1, 2, 3]
        assert [frame.data.shape for frame in frames] == [(64, 64)] * 3 + [(10, 20)]
        assert (frames[3].data == 0.5).all()
        assert latest.read(0).seq == 3  # the one that skips drains nothing
        assert Source(runtime, "cam").spec.shape == (10, 20)
        assert sorted(p.name for p in runtime.iterdir()) == [
            "cam.1.readers",
            "cam.2.data",
            "cam.ring",
        ]
        every.close()
        latest.close()


def test_a_kept_account_is_resumed_by_its_name(runtime: Path, stream: Stream) -> None:
    def reader(name: str, keep: bool = True) -> Reader:
        return Source(runtime, "cam", reader=name, keep=keep).every()

    first = reader("rec")
    write(stream, 3)
    assert first.read(0).seq == 0
    first.close()
    write(stream, 1)
    with reader("other") as other, reader("rec") as again:
        assert drain(again) == [1, 2, 3]
        assert other.read(0) is None
    with reader("rec", keep=False) as fresh:
        assert fresh.read(0) is None
    write(stream, 30)
    with reader("rec") as again:
        assert again.read(0).lost == range(4, 30)
        again.release()
        found = account(runtime, "rec")
        assert (found["received"], found["lost"]) == (5, 26)


def test_an_account_survives_another_layout(runtime: Path) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=8)
    source = Source(runtime, "cam", reader="rec", keep=True)
    reader = source.every()
    write(stream, 5)
    drain(reader)
    reader.close()
    write(stream, 1)
    stream.close(ended=False)
    with Stream(runtime, "cam", PAGE, slots=16) as stream:
        write(stream, 2)
        with source.every() as reader:
            frame = reader.read(0)
            assert (frame.seq, frame.lost) == (6, range(5, 6))  # item 5 went with the old ring
            found = account(runtime, "rec")
            assert (found["start"], found["received"], found["lost"]) == (0, 5, 1)


def test_a_stream_that_was_removed_and_made_anew_is_read_from_its_first_item(
    runtime: Path,
) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=8)
    reader = Source(runtime, "cam", reader="rec").every()
    write(stream, 3)
    assert drain(reader) == [0, 1, 2]
    for path in runtime.iterdir():
        path.unlink()  # its session was killed and cleared away
    stream.close(ended=False)
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        write(stream, 2)
        assert reader.read(None).seq == 0
        assert reader.read(None).seq == 1
        assert account(runtime, "rec")["start"] == 0
        reader.close()


def test_readers_of_a_removed_stream_end(runtime: Path, stream: Stream) -> None:
    write(stream, 1)
    with Source(runtime, "cam").every(start="oldest") as reader:
        for path in runtime.iterdir():
            path.unlink()
        assert [frame.seq for frame in reader] == [0]


def test_a_dead_writers_readers_can_be_told_of_the_end(runtime: Path) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=8)
    with Source(runtime, "cam").every() as reader:
        assert not end_stream(str(runtime), "cam")  # it lives
        stream.close(ended=False)
        assert reader.read(0) is None
        assert end_stream(str(runtime), "cam")
        with pytest.raises(StreamClosed):
            reader.read()
