"""SIGKILL at random moments, some hundred times: the others go on, and the accounts stay exact."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from marey.errors import StreamClosed
from marey.stream import Reader, Source, Spec, Stream
from support.processes import Child, child
from support.ringers import NURSERY, READER, WRITER

Log = list[tuple[int, int, int]]


def read_log(path: Path) -> Log:
    """What the killed readers wrote: (0, seq, 0) or (1, first lost, end of lost)."""
    return list(struct.iter_unpack("=QQQ", path.read_bytes()))


def follow(reader: Reader, *nurseries: Child) -> tuple[int, int, int]:
    """Read and check until the nurseries are done; returns how many were good, lost and torn."""
    good = lost = torn = 0
    last = reader.cursor - 1
    while any(nursery.process.poll() is None and not _done(nursery) for nursery in nurseries):
        frame = reader.read(0.1)
        if frame is None:
            continue
        assert frame.seq == last + 1 + len(frame.lost)
        assert not len(frame.lost) or frame.lost.start == last + 1
        low, high = frame.data.min(), frame.data.max()
        if frame.valid():
            assert low == high == frame.seq % 2**32
        last, lost = frame.seq, lost + len(frame.lost)
        if reader.release():
            good += 1
        else:
            torn += 1
    return good, lost, torn


def _done(nursery: Child) -> bool:
    from select import select

    assert nursery.process.stdout is not None
    ready, _, _ = select([nursery.process.stdout], [], [], 0)
    return bool(ready)


@pytest.mark.parametrize("layouts", [1, 2], ids=["same layout", "changing layout"])
def test_writers_that_are_killed_are_followed_by_others(runtime: Path, layouts: int) -> None:
    deaths = 120
    with child(NURSERY, runtime, layouts, deaths, 0.004, "writer", layouts, "real") as nursery:
        assert nursery.hear() == "ready"
        Stream(runtime, "cam", Spec((64, 64), np.dtype("u4")), slots=8).close(ended=False)
        source = Source(runtime, "cam", reader="observer")
        with source.every() as reader, source.latest() as latest:
            nursery.tell("go")
            good, lost, torn = follow(reader, nursery)
            assert nursery.hear() == "done"
            (account,) = [a for a in source.ring.accounts() if a["name"] == "observer"][:1]
            assert account["policy"] == "every"
            assert (account["received"], account["lost"], account["torn"]) == (good, lost, torn)
            assert good > deaths
            assert account["cursor"] == good + lost + torn
            newest = latest.read(0)
            assert newest is None or newest.seq >= source.head - 1
            # Every writer that came to publish began an epoch where the last one had ended.
            facts = source.ring.facts()
            assert 1 < facts["epoch"] <= deaths + 1
            firsts = [e["first_seq"] for e in facts["epochs"]]
            assert firsts == sorted(firsts)
        # The next one starts, and nothing of the dead is left.
        with Stream(runtime, "cam", Spec((64, 64), np.dtype("u4")), slots=8) as stream:
            assert stream.head == facts["head"]
            files = sorted(path.name for path in runtime.iterdir())
            assert len(files) == 3, files


def test_readers_that_are_killed_harm_nobody_and_find_their_place_again(
    runtime: Path, tmp_path: Path
) -> None:
    deaths, log = 120, tmp_path / "log"
    with (
        child(WRITER, runtime, 64) as writer,
        child(NURSERY, runtime, 3, deaths, 0.008, "reader", log, "rec") as readers,
        child(NURSERY, runtime, 4, deaths, 0.008, "guest") as guests,
    ):
        assert writer.hear() == "open"
        assert [readers.hear(), guests.hear()] == ["ready", "ready"]
        source = Source(runtime, "cam", reader="observer")
        with source.every() as reader:
            writer.tell("run")
            readers.tell("go")
            guests.tell("go")
            follow(reader, readers, guests)
            assert [readers.hear(), guests.hear()] == ["done", "done"]
        # The places of the dead are free for 63 others; one is the account that is kept.
        others = [source.every() for _ in range(63)]
        for other in others:
            other.close()
        (account,) = source.ring.accounts()
        assert account["name"] == "rec"
    check_log(read_log(log), account, deaths)


def check_log(log: Log, account: dict[str, int], deaths: int) -> None:
    """No item twice, none out of order, none missing but for one a death at most."""
    received = [first for kind, first, _ in log if kind == 0]
    lost = [(first, end) for kind, first, end in log if kind == 1]
    assert len(received) > deaths
    assert all(a < b for a, b in itertools.pairwise(received))
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(lost))
    assert all(a < b for a, b in lost)
    assert not set(received) & {seq for a, b in lost for seq in range(a, b)}
    # A death between settling an item and writing it into the log is the log's loss.
    assert 0 <= account["received"] - len(received) <= deaths
    told = sum(b - a for a, b in lost)
    assert told <= account["lost"]
    owed = account["cursor"] - account["start"]
    assert owed == account["received"] + account["lost"] + account["torn"]


@pytest.mark.parametrize("who", ["reader", "writer", "both"])
def test_lossless_stays_lossless_when_its_ends_are_killed(
    runtime: Path, tmp_path: Path, who: str
) -> None:
    deaths, log = 60, tmp_path / "log"
    spec = Spec((64, 64), np.dtype("u4"))
    Stream(runtime, "cam", spec, slots=8, lossless=True).close(ended=False)
    # The account exists from the first item on, whoever comes first.
    Source(runtime, "cam", reader="rec", keep=True).every().close()
    lives = {"reader": (0.01, 0), "writer": (0, 0.01), "both": (0.01, 0.013)}[who]
    counts = [deaths if life else 1 for life in lives]
    with (
        child(NURSERY, runtime, 5, counts[0], lives[0], "reader", log, "rec") as readers,
        child(NURSERY, runtime, 6, counts[1], lives[1], "writer", 1, "lossless") as writers,
    ):
        nurseries = dict(zip((readers, writers), lives, strict=True))
        for nursery in nurseries:
            assert nursery.hear() == "ready"
            nursery.tell("go")
        for nursery in sorted(nurseries, key=lambda n: -nurseries[n]):
            if not nurseries[nursery]:
                nursery.tell("enough")
            assert nursery.hear() == "done"
    reader = Source(runtime, "cam", reader="rec", keep=True).every()
    (account,) = Source(runtime, "cam").ring.accounts()
    assert (account["lost"], account["torn"], account["start"]) == (0, 0, 0)
    check_log(read_log(log), account, deaths + 1)
    assert all(kind == 0 for kind, _, _ in read_log(log))
    # What is left is there to the last item.
    head = Source(runtime, "cam").head
    assert [reader.read(0).seq for _ in range(head - reader.cursor)] == list(
        range(account["cursor"], head)
    )
    reader.close()


def test_a_lossless_writer_does_not_wait_for_a_dead_guest(runtime: Path) -> None:
    with (
        child(WRITER, runtime, 8, "lossless") as writer,
        child(READER, runtime, "guest", "every", "free") as guest,
    ):
        assert writer.hear() == "open"
        assert [guest.hear(), guest.hear()] == ["waiting", "attached"]
        assert writer.ask("write 8") == "8"
        assert writer.ask("try") == "no room: guest"
        guest.kill()
        assert writer.ask("write 100") == "108"


def test_of_processes_that_create_one_stream_at_once_one_wins(runtime: Path) -> None:
    code = """
        import sys
        import numpy as np
        from marey.errors import StreamError
        from marey.stream import Spec, Stream
        spec = Spec((64, 64), np.dtype("u4"))
        kept = []
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                kept.append(Stream(sys.argv[1], line.strip(), spec, slots=8))
            except StreamError as error:
                print(error, flush=True)
            else:
                kept[-1].write(np.full((64, 64), int(sys.argv[2]), "u4"))
                print("won", flush=True)
    """
    with (
        child(code, runtime, 0) as a,
        child(code, runtime, 1) as b,
        child(code, runtime, 2) as c,
    ):
        racers = [a, b, c]
        assert [racer.hear() for racer in racers] == ["ready"] * 3
        for round_ in range(60):
            name = f"cam-{round_}"
            for racer in racers:
                racer.tell(name)
            answers = [racer.hear() for racer in racers]
            assert answers.count("won") == 1, answers
            assert all(w == "won" or "writes it already" in w or "took it" in w for w in answers)
            frame = Source(runtime, name).at(0)
            assert frame is not None
            assert (frame.data == answers.index("won")).all()


def test_readers_of_an_ended_stream_end_with_all_of_it(runtime: Path) -> None:
    with (
        child(WRITER, runtime, 64) as writer,
        child(READER, runtime, "r", "every", "free") as reader,
    ):
        writer.hear()
        reader.hear(), reader.hear()
        reader.tell(1000)
        assert writer.ask("write 50") == "50"
        assert writer.ask("close") == "50"
        assert reader.hear() == "closed 50 0 0 49"
    with Source(runtime, "cam").every() as late, pytest.raises(StreamClosed):
        late.read()
