"""The runtime folders of sessions: claimed whole, never another's, cleaned when stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from marey._native import self_owner
from marey.errors import SessionError
from marey.lab import read_session, sessions
from marey.session import guard
from marey.session.place import claim, give_up, remove, stale


def dead() -> int:
    """The owner of a process that was there and is not any more."""
    code = "from marey._native import self_owner; print(self_owner())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return int(done.stdout)


def leave(folder: Path, owner: int, guard: str = "") -> None:
    """Make a session's folder, as one that was killed leaves it."""
    folder.mkdir()
    facts = {"name": folder.name, "owner": owner, "nodes": {}, "started": 0.0, "guard": guard}
    (folder / "session.json").write_text(json.dumps(facts))
    (folder / "cam.ring").write_bytes(b"left")


def test_a_claimed_folder_tells_who_has_it(runtime: Path) -> None:
    name, folder = claim("bench", {"cam": {"kind": "counter", "role": "camera"}})
    assert (name, folder) == ("bench", runtime / "bench")
    facts = read_session(folder)
    assert facts is not None
    assert facts["name"] == "bench"
    assert facts["owner"] == self_owner()
    assert facts["nodes"] == {"cam": {"kind": "counter", "role": "camera"}}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sessions() == ["bench"]
    give_up(folder)
    assert list(runtime.iterdir()) == []


def test_a_name_that_is_taken_gets_a_number(runtime: Path) -> None:
    names = [claim("bench", {})[0] for _ in range(3)]
    assert names == ["bench", "bench-2", "bench-3"]
    long = "a" * 32
    assert [claim(long, {})[0] for _ in range(2)] == [long, "a" * 28 + "-2"]


def test_names_are_claimed_by_one_only(runtime: Path) -> None:
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(claim("bench", {})[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == ["bench", *(f"bench-{n}" for n in range(2, 9))]
    assert not list(runtime.glob(".*"))


def test_a_stale_folder_is_replaced(runtime: Path) -> None:
    leave(runtime / "bench", dead())
    assert stale() == [runtime / "bench"]
    name, folder = claim("bench", {})
    assert name == "bench"
    assert [path.name for path in folder.iterdir()] == ["session.json"]
    assert stale() == []


def test_a_folder_that_is_no_sessions_is_left_alone(runtime: Path) -> None:
    (runtime / "bench").mkdir()
    (runtime / "bench" / "thesis.txt").write_text("my work")
    os.utime(runtime / "bench", (0, 0))
    (runtime / ".git").mkdir()
    os.utime(runtime / ".git", (0, 0))
    assert stale() == []
    assert claim("bench", {})[0] == "bench-2"
    assert (runtime / "bench" / "thesis.txt").read_text() == "my work"
    assert (runtime / ".git").exists()
    assert sessions() == ["bench-2"]


def test_an_empty_folder_is_taken(runtime: Path) -> None:
    (runtime / "bench").mkdir()
    assert claim("bench", {})[0] == "bench"


def test_half_removed_folders_are_swept_up(runtime: Path) -> None:
    leave(runtime / ".marey-0123456789ab", dead())
    (runtime / ".marey-ba9876543210").mkdir()
    os.utime(runtime / ".marey-ba9876543210", (0, 0))
    (runtime / ".marey-being-made").mkdir()
    claim("bench", {})
    assert sorted(path.name for path in runtime.iterdir()) == [".marey-being-made", "bench"]


def test_a_session_file_that_is_nonsense_is_no_session(runtime: Path) -> None:
    (runtime / "bench").mkdir()
    (runtime / "bench" / "session.json").write_text("{")
    assert sessions() == []
    assert claim("bench", {})[0] == "bench-2"


def test_the_guard_of_a_dead_session_is_waited_for(runtime: Path) -> None:
    """It ends the nodes that are left: until then nobody must take the name."""
    code = (
        "import shutil, sys, time; time.sleep(0.5); "
        "open(sys.argv[1] + '/../done', 'w').close(); shutil.rmtree(sys.argv[1])"
    )
    owner = dead()
    with subprocess.Popen([sys.executable, "-c", code, runtime / "bench"]) as process:
        leave(runtime / "bench", owner, f"{process.pid} {guard.start_time(process.pid)}")
        assert claim("bench", {})[0] == "bench"
        assert (runtime / "done").exists()
    assert (runtime / "bench" / "session.json").exists()


def test_a_bad_name_or_path_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SessionError, match=r"name of the session: found '\.\./x'"):
        claim("../x", {})
    monkeypatch.setenv("MAREY_RUNTIME_DIR", str(runtime / ("d" * 70)))
    with pytest.raises(SessionError, match="expected at most 100"):
        claim("bench", {"n" * 32: {}})


# ---------------------------------------------------------------- the guard


def test_a_process_is_known_by_its_start() -> None:
    started = guard.start_time(os.getpid())
    assert guard.lives(os.getpid(), started)
    assert not guard.lives(os.getpid(), "1")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        started = guard.start_time(process.pid)
        until = time.monotonic() + 10
        while guard.lives(process.pid, started):  # until it is a zombie
            assert time.monotonic() < until
        assert process.returncode is None


def test_the_guard_empties_its_own_folder_only(runtime: Path) -> None:
    leave(runtime / "bench", 0)
    (runtime / "bench" / "sub").mkdir()
    (runtime / "bench" / "sub" / "file").touch()
    where = os.open(runtime / "bench", os.O_RDONLY)
    # Another session takes the name while the guard is at work.
    (runtime / "bench").rename(runtime / "old")
    leave(runtime / "bench", self_owner())
    guard.empty(str(runtime / "bench"), where)
    os.close(where)
    assert list((runtime / "old").iterdir()) == []
    assert sorted(path.name for path in (runtime / "bench").iterdir()) == [
        "cam.ring",
        "session.json",
    ]


def test_the_guard_removes_its_folder(runtime: Path) -> None:
    leave(runtime / "bench", 0)
    where = os.open(runtime / "bench", os.O_RDONLY)
    guard.empty(str(runtime / "bench"), where)
    os.close(where)
    assert list(runtime.iterdir()) == []


def test_nodes_are_found_by_their_command_line(runtime: Path) -> None:
    code = "import time; time.sleep(60)"
    line = [sys.executable, "-c", code, "marey.node", str(runtime / "bench"), "cam"]
    with subprocess.Popen(line, start_new_session=True) as process:
        found: set[tuple[int, str]] = set()
        until = time.monotonic() + 10
        while not found:  # until it has become that command
            assert time.monotonic() < until
            found = guard.nodes_in(str(runtime / "bench"))
        assert {pid for pid, _ in found} == {process.pid}
        assert guard.nodes_in(str(runtime / "other")) == set()
        leave(runtime / "bench", 0)
        guard.end(found, 0.0)
        assert process.wait(10) == -9
    remove(runtime / "bench")
    assert list(runtime.iterdir()) == []
