"""The README's snippets are programs: each is run as it stands, but for its port and folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.support.documents import blocks

from marey import Frame, Processor, Session, Stream
from marey.stream import Spec

SESSION, ATTACH, FOCUS = blocks("README.md", "python")
(BENCH,) = blocks("README.md", "toml")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def program(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a snippet as a script; it is ended by SIGINT, as its user would."""
    script = folder / f"script_{abs(hash(code))}.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-u", script],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(2)
        process.communicate(timeout=30)


def test_the_session_runs_and_another_process_attaches(runtime: Path, tmp_path: Path) -> None:
    session = SESSION.replace("8080", str(free_port())).replace("rate=1000", "rate=100")
    session += "\nprint('ended')\n"
    with program(session, tmp_path) as running:
        from marey import lab

        while "bench" not in lab.sessions():
            assert running.poll() is None, running.stdout and running.stdout.read()
        with lab.attach("bench") as bench:
            bench.tracks.latest(timeout=30).read(timeout=30)
        with program(ATTACH, tmp_path) as attached:
            assert attached.stdout is not None
            seq, z = attached.stdout.readline().split()
            assert int(seq) >= 0
            float(z)


def test_the_processor_measures_sharpness(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # pydantic looks annotations up in the module of the class
    module = types.ModuleType("readme_focus")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(FOCUS, "README.md", "exec", dont_inherit=True), module.__dict__)
    focus = module.Focus(source="cam")
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), dtype="u1")
    with Stream(runtime, "cam", Spec((64, 64), "u1")) as cam:
        from marey import Source

        with Source(runtime, "cam").every() as reader:
            cam.write(noise)
            sharp = _sharpness(focus, reader.read(1))
            cam.write(np.full((64, 64), 7, "u1"))
            assert _sharpness(focus, reader.read(1)) == 0 < sharp


def _sharpness(focus: Processor, frame: Frame) -> float:
    rows = focus.process(frame)
    assert rows is not None
    assert rows.dtype == focus.row
    return float(rows["sharpness"][0])


def test_the_file_is_the_same_session(tmp_path: Path) -> None:
    file = tmp_path / "bench.toml"
    file.write_text(BENCH)
    from_file = Session.from_toml(file)
    kinds = {name: table["kind"] for name, table in tomllib.loads(BENCH).items()}
    names: dict[str, object] = {}
    exec(SESSION.replace(".run()", "").replace("marey.Session(", "session = marey.Session("), names)
    from_python = names["session"]
    assert isinstance(from_python, Session)
    assert from_file.name == from_python.name == "bench"
    assert list(kinds) == list(from_python.nodes)
    for name, node in from_file.nodes.items():
        assert node.model_dump_json() == from_python.nodes[name].model_dump_json(), name
    assert json.loads(from_file.nodes["cam"].model_dump_json())["rate"] == 1000
