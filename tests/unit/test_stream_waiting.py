"""Waiting: readers for items, lossless writers for readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from marey._native import Doorbell, rung, wait_any
from marey.errors import StreamClosed, StreamError
from marey.stream import Reader, Source, Spec, Stream

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


# ------------------------------------------------------------ waiting


def test_read_waits_for_the_next_item(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam").every() as reader:
        thread = threading.Timer(0.02, write, (stream, 1))
        thread.start()
        assert reader.read(timeout=None).seq == 0
        thread.join()


def test_a_block_waits_until_it_is_full(runtime: Path, stream: Stream) -> None:
    with Source(runtime, "cam").block(3) as reader:
        write(stream, 2)
        assert reader.read(0.01) is None
        write(stream, 1)
        assert len(reader.read(0)) == 3


def test_wait_any_answers_to_readers_and_bell(runtime: Path, stream: Stream) -> None:
    with Stream(runtime, "other", PAGE, slots=8) as other:
        readers = [Source(runtime, name).every() for name in ("cam", "other")]
        bell = Doorbell()
        assert not wait_any(readers, bell, rung(bell), 0)
        write(other, 1)
        assert wait_any(readers, bell, rung(bell), 60)
        assert [reader.ready for reader in readers] == [False, True]
        readers[1].read()
        readers[1].release()
        before = rung(bell)
        thread = threading.Thread(target=bell.ring)
        thread.start()
        assert wait_any(readers, bell, before, 60)
        thread.join()
        stream.close()
        assert wait_any(readers, None, 0, 60)  # the end is news as well
        for reader in readers:
            reader.close()


def test_waiting_on_a_reader_ends_when_it_is_closed(runtime: Path, stream: Stream) -> None:
    reader = Source(runtime, "cam").every()
    started = threading.Event()
    raised = []

    def read() -> None:
        started.set()
        with pytest.raises(StreamClosed) as caught:
            reader.read()
        raised.append(str(caught.value))

    thread = threading.Thread(target=read)
    thread.start()
    started.wait()
    reader.close()
    thread.join()
    assert raised == ["stream 'cam': this reader was closed"]


# ------------------------------------------------------------ lossless streams


def test_a_lossless_writer_waits_for_every_reader_but_not_for_latest(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=4, lossless=True) as stream:
        write(stream, 9)  # nobody reads: nobody is waited for
        every = Source(runtime, "cam", reader="rec").every(start="oldest")
        latest = Source(runtime, "cam").latest()
        assert every.read(0).seq == 5
        with pytest.raises(StreamError, match="no room in time"):
            stream.write(np.zeros((64, 64), "u1"), timeout=0)
        assert stream.lend(timeout=0) is None
        assert stream.laggard == "rec"
        every.release()
        stream.write(np.full((64, 64), 9, "u1"), timeout=0)
        assert drain(every) == [6, 7, 8, 9]
        every.close()
        write(stream, 20)
        latest.close()


def test_a_lossless_writer_goes_on_as_soon_as_there_is_room(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=4, lossless=True) as stream:
        reader = Source(runtime, "cam").every()
        thread = threading.Thread(target=write, args=(stream, 500))
        thread.start()
        seqs = [reader.read().seq for _ in range(500)]
        thread.join()
        assert seqs == list(range(500))
        reader.close()


def test_a_lossless_writer_can_be_closed_while_it_waits(runtime: Path) -> None:
    stream = Stream(runtime, "cam", PAGE, slots=4, lossless=True)
    reader = Source(runtime, "cam").every()
    write(stream, 4)
    raised = []

    def fifth() -> None:
        with pytest.raises(StreamClosed) as caught:
            write(stream, 1)
        raised.append(str(caught.value))

    thread = threading.Thread(target=fifth)
    thread.start()
    while stream.laggard is None:
        time.sleep(0.001)
    stream.close()
    thread.join()
    assert raised == ["stream 'cam': it is closed"]
    assert [frame.seq for frame in reader] == [0, 1, 2, 3]
    reader.close()


def test_blocks_and_lent_items_fit_a_lossless_ring_together(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8, lossless=True) as stream:
        assert stream.most == 4
        with pytest.raises(StreamError, match="expected 1 to 4"):
            stream.lend(5)
        with pytest.raises(StreamError, match="expected 1 to 4"):
            Source(runtime, "cam").block(5)
        # Whatever the offset of the two, neither waits for the other for ever.
        write(stream, 3)
        reader = Source(runtime, "cam").block(4, start="now")
        for _ in range(20):
            while stream.lend(4, timeout=0) is not None:
                stream.publish(4)
            assert reader.read(0) is not None
        reader.close()
