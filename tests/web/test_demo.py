"""`marey demo` as a whole: a hundred beads at 200 Hz, tracked, recorded and shown in a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

import marey
from marey import Lab, open_recording
from marey.errors import MareyError
from support.balance import check_balance, check_recording
from support.shell import COMMAND
from support.waiting import eventually

NODES = ("cam", "tracks", "rec", "web")


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder for a recording of gigabytes."""
    folder = tmp_path / "data"
    yield folder
    shutil.rmtree(folder)


@contextmanager
def demo(data: Path, ledger: dict[str, Any]) -> Iterator[Lab]:
    """The demo; when it has ended, `ledger` holds what it printed."""
    command = [*COMMAND, "demo", "--no-browser", "--json", "--folder", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lab = eventually(attached)
            eventually(lambda: lab.status()["seconds"])
            with lab:
                yield lab
            process.send_signal(signal.SIGINT)
            ledger.update(json.loads(process.communicate()[0]))
            assert process.returncode == 0
        finally:
            process.kill()  # its nodes end with it


def attached() -> Lab | None:
    """The running demo, once there is one."""
    try:
        return marey.attach("demo-beads")
    except MareyError:
        return None


def progress(lab: Lab, page: Page) -> dict[str, int]:
    """How far everybody came."""
    streams = lab.status()["streams"]
    return {
        "cam": streams["cam"]["published"],
        "tracks": streams["tracks"]["published"],
        "rec": sum(s["readers"]["rec"]["received"] for s in streams.values()),
        "web": int(page.locator(".marks").get_attribute("data-seq") or 0),
    }


def kill(lab: Lab, page: Page, node: str) -> None:
    """Kill a node; all others go on, and so does what takes its place."""
    os.kill(lab.status()["nodes"][node]["pid"], signal.SIGKILL)
    before = progress(lab, page)
    eventually(lambda: all(n > before[name] for name, n in progress(lab, page).items()), 60)
    eventually(lambda: lab.status()["nodes"][node]["state"] == "running", 60)


@pytest.mark.timeout(300)
def test_each_node_is_killed_in_turn(page: Page, runtime: Path, data: Path) -> None:
    ledger: dict[str, Any] = {}
    with demo(data, ledger) as lab:
        page.goto(lab.web.get("url"))
        page.locator(".marks[data-seq]").wait_for()
        for node in NODES:
            os.kill(lab.status()["nodes"][node]["pid"], signal.SIGKILL)
            before = progress(lab, page)
            eventually(lambda: all(n > before[k] for k, n in progress(lab, page).items()), 60)  # noqa: B023
            eventually(lambda: lab.status()["nodes"][node]["state"] == "running", 60)  # noqa: B023
        assert {n: f["restarts"] for n, f in lab.status()["nodes"].items()} == dict.fromkeys(
            NODES, 1
        )
        page.goto("about:blank")

    check_balance(ledger)
    assert Counter(i["node"] for i in ledger["incidents"] if i["what"] == "died") == Counter(NODES)
    assert [i["node"] for i in ledger["incidents"] if i["what"] == "outage"] == ["cam"]
    assert ledger["streams"]["cam"]["epochs"][-1]["epoch"] == 2

    (run,) = data.iterdir()
    recording = open_recording(run)
    check_recording(recording, ledger, "rec")
    # Every frame that was not lost on the way has its hundred rows.
    sources = recording["tracks"].stamps["source_seq"]
    assert (np.diff(sources.astype(np.int64)) > 0).all()
