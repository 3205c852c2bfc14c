"""What a stream refuses: wrong items, stamps, sizes and users of it; in one line each."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey._native import Writer
from marey.errors import (
    StreamError,
    StreamTooLarge,
)
from marey.stream import STAMP, Source, Spec, Stream, slots_for
from support.processes import python

SPEC = Spec((4, 6), np.dtype("u2"))
PAGE = Spec((64, 64), np.dtype("u1"))

# ------------------------------------------------------------ items


@pytest.mark.parametrize(
    ("item", "kind", "message"),
    [
        (np.zeros((4, 6), "u1"), StreamError, "found dtype uint8, expected uint16"),
        (np.zeros((4, 6), ">u2"), StreamError, "found dtype >u2, expected uint16"),
        (np.zeros((5, 6), "u2"), StreamTooLarge, "found shape (5, 6), expected at most (4, 6)"),
        (np.zeros((4, 7), "u2"), StreamTooLarge, "found shape (4, 7), expected at most (4, 6)"),
        (np.zeros(6, "u2"), StreamError, "found shape (6,), expected at most (4, 6)"),
        (np.zeros((1, 1, 4, 6), "u2"), StreamError, "found shape (1, 1, 4, 6), expected at most"),
        (np.uint16(1), StreamError, "found uint16, expected an array of uint16"),
        ([[1, 2]], StreamError, "found list, expected an array of uint16"),
        (None, StreamError, "found NoneType, expected an array of uint16"),
        (b"x" * 48, StreamError, "found bytes, expected an array of uint16"),
    ],
)
def test_a_wrong_item_is_refused(
    runtime: Path, item: Any, kind: type[Exception], message: str
) -> None:
    with Stream(runtime, "cam", SPEC, slots=8) as stream:
        with pytest.raises(kind, match=re.escape(f"stream 'cam': item: {message}")) as caught:
            stream.write(item)
        assert type(caught.value) is kind
        with pytest.raises(StreamError, match="stream 'cam': item: found"):
            stream.write_block(item)
        assert stream.head == 0
        assert stream.write(np.ones((4, 6), "u2")) == 0


def test_a_block_has_whole_items(runtime: Path) -> None:
    with Stream(runtime, "cam", SPEC, slots=8) as stream:
        with pytest.raises(StreamError, match=r"found shape \(2, 3, 6\), expected \(n, 4, 6\)"):
            stream.write_block(np.zeros((2, 3, 6), "u2"))
        assert stream.write_block(np.zeros((0, 4, 6), "u2")) == 0
        assert stream.head == 0


@pytest.mark.parametrize(
    "stamps",
    [
        np.zeros(2, STAMP),
        np.zeros((3, 1), STAMP),
        np.zeros(3, "i8"),
        np.zeros((), STAMP),
        [1, 2, 3],
    ],
)
def test_wrong_stamps_are_refused(runtime: Path, stamps: Any) -> None:
    with Stream(runtime, "cam", SPEC, slots=8) as stream:
        with pytest.raises(StreamError, match="an array of 3 of marey"):
            stream.write_block(np.zeros((3, 4, 6), "u2"), stamps)
        stream.lend(3)
        with pytest.raises(StreamError, match="stamps: found"):
            stream.publish(3, stamps)
        assert stream.head == 0


def test_only_what_was_lent_is_published(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        for act in (stream.publish, stream.publish_one, lambda: stream.publish(10**12)):
            with pytest.raises(StreamError, match="publish"):
                act()
        stream.lend(2)
        stream.publish(1)
        with pytest.raises(StreamError, match="publish 2 items: 1 are lent"):
            stream.publish(2)
        with pytest.raises(StreamError, match="publish 0 items"):
            stream.publish(0)
        for n in (0, 9):
            with pytest.raises(StreamError, match=f"lend {n} items: expected 1 to 8"):
                stream.lend(n)
    # A writer that takes over has nothing lent either.
    stream = Stream(runtime, "cam", PAGE, slots=8)
    stream.lend(3)
    stream.close(ended=False)
    with (
        Stream(runtime, "cam", PAGE, slots=8) as stream,
        pytest.raises(StreamError, match="publish 1 items: 0 are lent"),
    ):
        stream.publish()


def test_blocks_fit_their_ring(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8):
        with pytest.raises(StreamError, match="a block of 9: expected 1 to 8 in its ring of 8"):
            Source(runtime, "cam").block(9)
        assert Source(runtime, "cam").ring.accounts() == []


# ------------------------------------------------------------ descriptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": ()}, "expected 1 to 4 positive lengths"),
        ({"shape": (1, 1, 1, 1, 1)}, "expected 1 to 4 positive lengths"),
        ({"shape": (4, 0)}, "expected 1 to 4 positive lengths"),
        ({"shape": (4, -1)}, "expected 1 to 4 positive lengths"),
        ({"shape": (4.5,)}, "expected whole numbers"),
        ({"shape": 4}, "expected whole numbers"),
        ({"dtype": "nonsense"}, "expected whole numbers and a NumPy dtype"),
        ({"dtype": object}, "expected numbers or packed fields"),
        ({"dtype": "V0"}, "expected numbers or packed fields"),
        ({"dtype": ("f4", (2,))}, "expected numbers or packed fields"),
        ({"dtype": np.dtype([("a", "u1"), ("b", "f8")], align=True)}, "packed fields"),
        ({"rate": -1.0}, "rate: found"),
        ({"rate": float("nan")}, "rate: found"),
    ],
)
def test_a_description_that_others_cannot_read_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(StreamError, match=re.escape(message)):
        Spec(**{"shape": (4, 4), "dtype": np.dtype("u1"), **change})


def test_what_json_cannot_say_is_refused(runtime: Path) -> None:
    for meta in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises(StreamError, match="description of a stream"):
            Stream(runtime, "cam", Spec((4,), np.dtype("u1"), meta=meta))
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "[" * 99_999, b"\xff", '{"shape": [1], "dtype": "O"}', "1e999"],
)
def test_a_description_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(StreamError, match="cannot be read"):
        Spec.from_json(text)


# ------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    ("buffer", "rate", "slots"),
    [
        ("2 s", 100.0, 200),
        ("500ms", 100.0, 50),
        ("1 MiB", 0.0, 256),
        ("64 frames", 0.0, 64),
        ("1 frames", 0.0, 8),
        ("auto", 0.0, 64),
        ("auto", 100.0, 200),
        ("auto", 1e6, 65536),
    ],
)
def test_a_buffer_is_a_length_or_a_size(buffer: str, rate: float, slots: int) -> None:
    assert slots_for(buffer, Spec((64, 64), np.dtype("u1"), rate=rate)) == slots


@pytest.mark.parametrize("buffer", ["", "2", "2 h", "-1 s", "2 s 3", "auto ", "1 s"])
def test_a_senseless_buffer_is_refused(buffer: str) -> None:
    with pytest.raises(StreamError, match="buffer: "):
        slots_for(buffer, Spec((64, 64), np.dtype("u1")))


def test_a_ring_that_does_not_fit_is_refused_with_the_numbers(runtime: Path) -> None:
    with pytest.raises(StreamTooLarge, match=r"need [\d,]+ MiB, but only [\d,]+ MiB"):
        Stream(runtime, "cam", PAGE, slots=2**30)
    for shape, slots in [([2**40], 1), ([2**20, 2**20, 2**20, 2**20], 1), ([64], 2**60)]:
        with pytest.raises(StreamTooLarge, match="larger than any memory"):
            Writer(str(runtime), "cam", "{}", shape, 1, slots, False)
    assert list(runtime.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(runtime: Path) -> None:
    code = """
        import resource, sys
        from marey.errors import StreamTooLarge
        from marey.stream import Spec, Stream
        import numpy as np, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        try:
            Stream(sys.argv[1], "cam", Spec((64, 64), np.dtype("u1")), slots=1024)
        except StreamTooLarge as error:
            print(error)
    """
    told = subprocess.run(
        python(code, runtime), capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout == "stream 'cam': no room for 4194304 bytes of shared memory\n"
    assert list(runtime.iterdir()) == []


def test_a_restart_needs_no_second_ring(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Stream(runtime, "cam", PAGE, slots=64).close()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    Stream(runtime, "cam", PAGE, slots=64).close()
    with pytest.raises(StreamTooLarge):
        Stream(runtime, "cam", PAGE, slots=65)


def test_memory_is_given_back(runtime: Path) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    spec = Spec((1024, 1024), np.dtype("u1"))
    for _ in range(20):
        with Stream(runtime, "cam", spec, slots=8) as stream:
            stream.write(np.zeros((1024, 1024), "u1"))
            with Source(runtime, "cam").every(start="oldest") as reader:
                frame = reader.read(0)
                del frame
    before = resident()
    for _ in range(100):
        with Stream(runtime, "cam", spec, slots=8) as stream:
            stream.write(np.zeros((1024, 1024), "u1"))
            with Source(runtime, "cam").every(start="oldest") as reader:
                reader.read(0).data.sum()
    assert resident() - before < 8 * 2**20  # one ring's worth; a leak would be a hundred


def test_nothing_is_leaked_by_reading(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        reader, blocks = Source(runtime, "cam").every(), Source(runtime, "cam").block(2)
        source = Source(runtime, "cam")
        item = np.zeros((64, 64), "u1")

        def once() -> None:
            for _ in range(2):
                stream.write(item, source_seq=stream.head)
            frame: Any
            for frame in (reader.read(0), reader.read(0), source.at(stream.head - 1)):
                _ = frame.data, frame.stamps, frame.lost, frame.seq, frame.copy(), frame.host_time
            block = blocks.read(0)
            _ = block.data, block.stamps, block[0], block.copy(), list(block)
            _ = source.ring.accounts(), source.ring.facts(), source.stamps(4), source.find(3)
            for bad in ([1], np.zeros(3, "u1"), np.zeros((64, 64), "f4")):
                with contextlib.suppress(StreamError):
                    stream.write(bad)  # type: ignore[arg-type]

        for _ in range(20):
            once()
        gc.collect()
        shared = [item.dtype, STAMP, np.ndarray, range, StreamError, np.frombuffer, item]
        before, blocks_before = [sys.getrefcount(o) for o in shared], sys.getallocatedblocks()
        for _ in range(1000):
            once()
        gc.collect()
        after = [sys.getrefcount(o) for o in shared]
        assert all(abs(b - a) < 20 for a, b in zip(before, after, strict=True))
        assert sys.getallocatedblocks() - blocks_before < 500  # less than one for each call
        reader.close()
        blocks.close()


# ------------------------------------------------------------ writers and readers


def test_a_second_writer_is_refused_and_changes_nothing(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8) as stream:
        stream.write(np.zeros((64, 64), "u1"))
        for spec in (PAGE, SPEC):
            with pytest.raises(StreamError, match=f"process {os.getpid()} writes it already"):
                Stream(runtime, "cam", spec, slots=8)
        assert stream.write(np.zeros((64, 64), "u1")) == 1


def test_of_writers_that_start_at_once_one_wins(runtime: Path) -> None:
    for round_ in range(20):
        name = f"cam-{round_}"
        barrier = threading.Barrier(4)
        won: list[Stream] = []
        lost: list[str] = []

        def start(
            name: str = name, barrier: Any = barrier, won: Any = won, lost: Any = lost
        ) -> None:
            barrier.wait()
            try:
                won.append(Stream(runtime, name, PAGE, slots=8))
            except StreamError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 3)
        assert all("writes it already" in told or "just took it" in told for told in lost)
        won[0].write(np.full((64, 64), 5, "u1"))
        frame = Source(runtime, name).at(0)
        assert frame is not None
        assert (frame.data == 5).all()
        won[0].close()
    assert len(list(runtime.iterdir())) == 20 * 3


def test_too_many_readers_are_refused_and_places_are_reused(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8):
        source = Source(runtime, "cam")
        readers = [source.every() for _ in range(64)]
        with pytest.raises(StreamError, match="all 64 places for readers are taken"):
            source.latest()
        readers[17].close()
        readers[17] = source.latest()
        assert readers[17].row == 17
        for reader in readers:
            reader.close()


def test_reader_names_of_any_length_and_script(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8):
        with Source(runtime, "cam", reader="é" * 40).every():  # cut within a letter
            (found,) = Source(runtime, "cam").ring.accounts()
            assert found["name"] == "é" * 23 + "\N{REPLACEMENT CHARACTER}"
        with Source(runtime, "cam", reader="a\0b").every():
            (found,) = Source(runtime, "cam").ring.accounts()
            assert found["name"] == "a"


def test_one_writer_is_not_used_by_two_threads_at_once(runtime: Path) -> None:
    spec = Spec((4096, 4096), np.dtype("u1"))
    with Stream(runtime, "cam", spec, slots=8) as stream:
        refused: list[str] = []
        stop = threading.Event()

        def disturb() -> None:
            while not stop.is_set():
                try:
                    stream.lend()
                except StreamError as error:
                    refused.append(str(error))

        thread = threading.Thread(target=disturb)
        thread.start()
        item = np.ones(spec.shape, "u1")
        while not refused:  # the copy lets go of the GIL, so this comes soon
            stream.write(item)
        stop.set()
        thread.join()
        assert set(refused) == {"stream 'cam': another thread is writing it"}


def test_a_fork_may_not_use_its_parents_streams(runtime: Path) -> None:
    code = """
        import os, sys, numpy as np
        from marey.errors import StreamError
        from marey.stream import Source, Spec, Stream
        stream = Stream(sys.argv[1], "cam", Spec((4,), np.dtype("u1")), slots=8)
        reader = Source(sys.argv[1], "cam", reader="rec").every()
        if os.fork() == 0:
            for act in (lambda: stream.write(np.zeros(4, "u1")), lambda: reader.read(0)):
                try:
                    act()
                except StreamError as error:
                    print("fork" in str(error))
            own = Source(sys.argv[1], "cam", reader="own").every()
            reader.close()
            stream.close()
            own.close()
            sys.exit()
        os.wait()
        print(stream.write(np.zeros(4, "u1")), reader.read(0).seq)
        print([a["name"] for a in Source(sys.argv[1], "cam").ring.accounts()])
    """
    told = subprocess.run(
        python(code, runtime), capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout == "True\nTrue\n0 0\n['rec']\n"
    assert told.stderr == ""
