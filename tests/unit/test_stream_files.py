"""Files that are no streams, or no longer, or those of others: refused in one line each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey._native import Ring
from marey.errors import (
    MareyError,
    SessionError,
    StreamDamaged,
    StreamError,
    StreamMissing,
    StreamTooLarge,
)
from marey.stream import Source, Spec, Stream
from marey.stream.runtime import runtime_folder
from support.processes import python

SPEC = Spec((4, 6), np.dtype("u2"))
PAGE = Spec((64, 64), np.dtype("u1"))

# ------------------------------------------------------------ files


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(b"MAREYRNG" + bytes(100)),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "text": lambda path: path.write_text("this is not a stream\n" * 1000),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "link": lambda path: path.symlink_to("elsewhere"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(runtime: Path, kind: str) -> None:
    FOREIGN[kind](runtime / "cam.ring")
    with pytest.raises(StreamDamaged, match="stream 'cam': "):
        Ring(str(runtime), "cam")
    with pytest.raises(StreamDamaged, match="stream 'cam': "):
        Stream(runtime, "cam", PAGE)


@pytest.mark.parametrize("file", ["cam.ring", "cam.1.data", "cam.1.readers"])
def test_a_truncated_file_is_refused(runtime: Path, file: str) -> None:
    Stream(runtime, "cam", PAGE, slots=8).close()
    size = (runtime / file).stat().st_size
    for left in (size - 1, size // 2, 100, 0):
        os.truncate(runtime / file, left)
        with pytest.raises(StreamDamaged, match="shorter than its header says"):
            Source(runtime, "cam").every()


@pytest.mark.parametrize("file", ["cam.1.data", "cam.1.readers"])
def test_a_missing_part_is_named(runtime: Path, file: str) -> None:
    Stream(runtime, "cam", PAGE, slots=8).close()
    (runtime / file).unlink()
    with pytest.raises(StreamDamaged, match="file is missing"):
        Ring(str(runtime), "cam")
    os.mkfifo(runtime / file)
    with pytest.raises(StreamDamaged, match="not a marey stream"):
        Ring(str(runtime), "cam")


def test_another_layout_version_is_refused(runtime: Path) -> None:
    Stream(runtime, "cam", PAGE, slots=8).close()
    with open(runtime / "cam.ring", "r+b") as file:
        file.seek(8)
        file.write((7).to_bytes(4, "little"))
    with pytest.raises(StreamDamaged, match="layout version: found 7, expected 1"):
        Ring(str(runtime), "cam")


def test_a_damaged_header_is_refused(runtime: Path) -> None:
    Stream(runtime, "cam", PAGE, slots=8).close()
    with open(runtime / "cam.ring", "r+b") as file:
        file.seek(16)
        file.write(b"\x02")
    with pytest.raises(StreamDamaged, match="its header is damaged"):
        Ring(str(runtime), "cam")


def test_what_dead_writers_left_is_swept_up(runtime: Path) -> None:
    leftovers = ["cam.7.data", "cam.9.readers", "cam.ring.4294967297.0.new"]
    others = ["cam.truth.1.data", "cam.1x.data", "camera.1.data", "cam.ring.backup", "cam.json"]
    for name in leftovers + others:
        (runtime / name).write_bytes(b"x")
    with Stream(runtime, "cam", PAGE, slots=8):
        found = {path.name for path in runtime.iterdir()}
    assert found == {*others, "cam.ring", "cam.1.data", "cam.1.readers"}


def test_a_missing_folder_is_a_missing_stream(runtime: Path) -> None:
    with pytest.raises(StreamMissing):
        Ring(str(runtime / "no" / "such"), "cam")
    with pytest.raises(StreamMissing):
        Source(runtime / "no", "cam").every()


# ------------------------------------------------------------ other users


def test_files_are_the_users_own(runtime: Path) -> None:
    with Stream(runtime, "cam", PAGE, slots=8):
        assert {path.stat().st_mode & 0o777 for path in runtime.iterdir()} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_may_not_attach(runtime: Path) -> None:
    code = """
        import os, sys
        from marey._native import Ring
        from marey.errors import MareyError
        from marey.stream.runtime import runtime_folder
        os.setuid(65534)
        for act in (lambda: Ring(sys.argv[1], "cam"), runtime_folder):
            try:
                act()
            except MareyError as error:
                print(type(error).__name__, error)
    """
    with Stream(runtime, "cam", PAGE, slots=8):
        runtime.chmod(0o755)
        told = subprocess.run(
            python(code, runtime), capture_output=True, text=True, check=True, timeout=60
        )
    assert re.fullmatch(
        r"StreamError stream 'cam': it belongs to another user\n"
        r"SessionError runtime folder .*: found owner 0 and mode 755, expected owner 65534 .*\n",
        told.stdout,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_runtime_folder_is_refused(runtime: Path) -> None:
    os.chown(runtime, 12345, -1)
    with pytest.raises(SessionError, match="found owner 12345"):
        runtime_folder()


def test_a_runtime_folder_that_others_may_enter_is_refused(runtime: Path) -> None:
    runtime.chmod(0o750)
    with pytest.raises(SessionError, match=r"mode 750, expected owner \d+ and mode 700"):
        runtime_folder()
    runtime.chmod(0o700)
    assert runtime_folder() == runtime


def test_all_errors_are_of_one_tree() -> None:
    for kind in (StreamError, StreamDamaged, StreamMissing, StreamTooLarge, SessionError):
        assert issubclass(kind, MareyError)
