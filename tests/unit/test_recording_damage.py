"""Damaged recordings: a clear error or what is whole, never a crash and never wrong items."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.recording import RecordedItem, RecordingWriter, open_recording
from marey.recording.layout import INDEX
from marey.stream import STAMP, Spec

FRAMES = Spec((4, 3), np.dtype("u2"))
ROWS = Spec((5,), np.dtype([("x", "f4"), ("n", "i2", (2,))]))
N = 12


def item(data: NDArray[Any], seq: int) -> RecordedItem:
    stamp = np.array([(seq, seq, seq, seq, seq, seq, seq)], STAMP)
    return RecordedItem(data, stamp, 1, range(0))


def frame(seq: int) -> NDArray[Any]:
    return np.full((4, 3) if seq % 3 else (2, 3), seq + 1, "u2")


def rows(seq: int) -> NDArray[Any]:
    made = np.zeros(seq % 4, ROWS.dtype)
    made["x"], made["n"] = seq, seq
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with RecordingWriter.create(tmp_path_factory.mktemp("runs"), "r", chunk=5 * 24) as writer:
        writer.add_stream("cam", FRAMES)
        writer.add_stream("rows", ROWS)
        for k in range(N):
            seq = k if k < 6 else k + 2
            writer.append("cam", item(frame(seq), seq))
            writer.append("rows", item(rows(seq), seq))
    return writer.path


@contextmanager
def damaged(victim: Path, text: bytes | None) -> Iterator[None]:
    """A file holds something else, or is missing, for a while."""
    whole = victim.read_bytes()
    victim.unlink()
    if text is not None:
        victim.write_bytes(text)
    try:
        yield
    finally:
        victim.write_bytes(whole)


def read_all(path: Path, *, rescue: bool = False) -> dict[str, dict[int, bytes]]:
    """Everything that a user may ask, and the items by seq."""
    rec = open_recording(path, rescue=rescue)
    found: dict[str, dict[int, bytes]] = {}
    for name in rec:
        stream = rec[name]
        repr(stream)
        assert all(isinstance(gap.cause, str) for gap in stream.gaps)
        found[name] = {one.seq: one.data.tobytes() for one in stream}
        stream.to_pandas()
    return found


def read_or_refusal(path: Path, *, rescue: bool = False) -> tuple[dict[str, dict[int, bytes]], str]:
    """Everything, or nothing and the reason."""
    try:
        return read_all(path, rescue=rescue), ""
    except RecordingError as error:
        return {}, str(error)


def expected() -> dict[str, dict[int, bytes]]:
    seqs = [k if k < 6 else k + 2 for k in range(N)]
    return {
        "cam": {seq: frame(seq).tobytes() for seq in seqs},
        "rows": {seq: rows(seq).tobytes() for seq in seqs},
    }


def test_the_whole_recording_is_as_expected(whole: Path) -> None:
    assert read_all(whole) == expected()


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_cut_or_missing_files_give_an_error_or_the_items(whole: Path, data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(sorted(p for p in whole.rglob("*") if p.is_file())))
    text = victim.read_bytes()
    keep = data.draw(st.none() | st.integers(0, max(0, len(text) - 1)))
    rescue = data.draw(st.booleans())
    with damaged(victim, None if keep is None else text[:keep]):
        found, refusal = read_or_refusal(whole, rescue=rescue)
    if refusal:
        assert str(whole) in refusal
        return
    for name, items in found.items():
        assert items.items() <= expected()[name].items()
    if not rescue:
        assert found == expected()


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_changed_bytes_never_crash_a_reader(whole: Path, data: st.DataObject) -> None:
    files = sorted(p for p in whole.rglob("*") if p.is_file() and p.stat().st_size)
    victim = data.draw(st.sampled_from(files))
    text = bytearray(victim.read_bytes())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at : at + 8] = data.draw(st.binary(min_size=1, max_size=9))
    with damaged(victim, bytes(text)):
        found, refusal = read_or_refusal(whole)
    assert not refusal or str(whole) in refusal
    if victim.name == "index.bin" and not refusal:
        assert found == expected()


def test_damage_inside_the_index_is_told_and_what_stands_before_it_rescued(
    whole: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "r"))
    index = copy / "cam" / "index.bin"
    raw = bytearray(index.read_bytes())
    raw[7 * INDEX.itemsize + 40] ^= 1
    index.write_bytes(raw)
    rec = open_recording(copy)
    with pytest.raises(
        RecordingError, match=r"index\.bin: the record of item 7 is damaged, .*rescue"
    ):
        rec["cam"]
    assert len(rec["rows"]) == N
    assert [one.seq for one in open_recording(copy, rescue=True)["cam"]] == [0, 1, 2, 3, 4, 5, 8]
    with pytest.raises(RecordingError, match="item 7 is damaged"):
        RecordingWriter.resume(copy)
    index.write_bytes(raw[: 5 * INDEX.itemsize])
    with pytest.raises(RecordingError, match="holds 5 items where 12 were recorded"):
        open_recording(copy)["cam"]


def test_a_folder_that_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"missing: not a recording \(no such folder\)"):
        open_recording(tmp_path / "missing")
    with pytest.raises(RecordingError, match=r"not a recording \(has no run\.json\)"):
        open_recording(tmp_path)
    for text, reason in [
        ("[]", "found list"),
        ("{", "cannot be read"),
        ('{"format": "x"}', "not a recording"),
        (
            '{"format": "marey-recording", "version": 2}',
            "found version 2 of the format, expected 1",
        ),
        ("[" * 100_000, "cannot be read"),
    ]:
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RecordingError, match=reason):
            open_recording(tmp_path)


def test_a_stream_whose_making_was_cut_short_is_made_again(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        (writer.path / "cam" / "frames").mkdir(parents=True)
        (writer.path / "cam" / "index.bin").touch()
    with RecordingWriter.resume(writer.path) as writer:
        writer.add_stream("cam", FRAMES)
        assert writer.append("cam", item(frame(1), 1))
    assert read_all(writer.path) == {"cam": {1: frame(1).tobytes()}}


def test_a_stream_that_lost_its_description_is_never_written_over(
    whole: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "r"))
    (copy / "cam" / "zarr.json").unlink()
    rec = open_recording(copy)
    assert sorted(rec.streams) == ["cam", "rows"]
    with pytest.raises(RecordingError, match=r"cam/zarr\.json: cannot be read"):
        rec["cam"]
    with pytest.raises(RecordingError, match=r"cam/zarr\.json: cannot be read"):
        RecordingWriter.resume(copy)
    run = json.loads((copy / "run.json").read_text())
    del run["streams"]["cam"]
    (copy / "run.json").write_text(json.dumps(run))
    with (
        RecordingWriter.resume(copy) as writer,
        pytest.raises(
            RecordingError, match=r"holds items, but its description zarr\.json is missing"
        ),
    ):
        writer.add_stream("cam", FRAMES)
