"""How fast the page is, in headless Chromium: frames shown each second, their age, the way there.

Run by `make bench-page`. Chromium draws here without a graphics card, on the same cores as the
session: what a desk with a screen shows is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from marey import Lab, Session
from marey.cameras.noise import Noise
from marey.sinks.web import Web
from report import Row, report

SECONDS = 5.0
SIZE = 1024

# Frames that were drawn, not those that were fetched: the canvas tells which one it shows.
COUNT = """seconds => new Promise(done => {
    const canvas = document.querySelector(".marks");
    const ages = [];
    let frames = 0;
    const observer = new MutationObserver(() => {
        frames += 1;
        ages.push(Number(canvas.dataset.age));
    });
    observer.observe(canvas, { attributeFilter: ["data-seq"] });
    const began = performance.now();
    setTimeout(() => {
        observer.disconnect();
        ages.sort((a, b) => a - b);
        const rate = frames * 1000 / (performance.now() - began);
        done({ rate, median: ages[ages.length >> 1], worst: ages[Math.floor(ages.length * 0.99)] });
    }, 1000 * seconds);
})"""

# The way from the ring into the browser alone, one frame after the other, nothing drawn.
FETCH = """async seconds => {
    const until = performance.now() + 1000 * seconds;
    let frames = 0, seq = "";
    while (performance.now() < until) {
        const path = "/api/frame/cam" + (seq && "?after=" + seq);
        const answer = await fetch(path, {cache: "no-store"});
        await answer.arrayBuffer();
        seq = answer.headers.get("X-Seq");
        frames += 1;
    }
    return frames / seconds;
}"""


@contextmanager
def showing(browser: Browser, session: Session) -> Iterator[tuple[Page, Lab]]:
    """A session and its page, once it shows a frame."""
    with session.running() as lab:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(lab.web.get("url"))
        page.locator(".marks[data-seq]").wait_for()
        yield page, lab
        page.close()


def cpu_of(lab: Lab, node: str, seconds: float) -> float:
    """Load that a node puts on one core, percent."""
    process = psutil.Process(lab.status()["nodes"][node]["pid"])
    process.cpu_percent()
    time.sleep(seconds)
    return process.cpu_percent()


def noise(rate: float, size: int = SIZE, dtype: str = "u8") -> Session:
    """A camera that costs little, so that the page is what is measured."""
    cam = Noise(rate=rate, shape=(size, size), dtype=dtype)
    return Session("page-bench", cam=cam, web=Web(max_fps=1000))


def frames_shown(browser: Browser, seconds: float) -> Iterator[Row]:
    """Frames each second on the page, and what they cost."""
    name = f"{SIZE}x{SIZE} u8"
    with showing(browser, noise(300)) as (page, lab):
        found = page.evaluate(COUNT, seconds)
        yield Row(f"{name}: shown, whole image fitted", found["rate"], "frames/s", at_least=25)
        yield Row(f"{name}: age when drawn, median", found["median"], "ms")
        yield Row(f"{name}: age when drawn, 99 %", found["worst"], "ms")
        page.get_by_role("button", name="1:1").click()
        found = page.evaluate(COUNT, seconds)
        yield Row(f"{name}: shown at 1:1, every pixel sent", found["rate"], "frames/s", at_least=25)
        other = browser.new_page(viewport={"width": 1280, "height": 800})
        other.goto(page.url)
        other.locator(".marks[data-seq]").wait_for()
        found = other.evaluate(COUNT, seconds)
        yield Row(f"{name}: shown on each of two pages", found["rate"], "frames/s")
        other.close()
        page.goto(f"{page.url}assets/icon.svg")
        yield Row(f"{name}: fetched, nothing drawn", page.evaluate(FETCH, seconds), "frames/s")
        yield Row("load of web, nobody looks", cpu_of(lab, "web", seconds), "% of a core",
                  at_most=2)  # fmt: skip
    with showing(browser, noise(100, 2048, "u16")) as (page, lab):
        found = page.evaluate(COUNT, seconds)
        yield Row("2048x2048 u16: shown, mapped to 8 bits", found["rate"], "frames/s")


def demo(browser: Browser, seconds: float) -> Iterator[Row]:
    """`marey demo` as a newcomer sees it: the way to its first frame, and what it loses."""
    with (
        tempfile.TemporaryDirectory(dir=_memory()) as runtime,
        httpx.Client() as http,
    ):
        port = _free_port()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        program = Path(sys.executable).with_name("marey")
        options = ["--json", "--no-browser", f"--port={port}"]
        began = time.monotonic()
        with subprocess.Popen(
            [program, "demo", *options],
            env=os.environ | {"MAREY_RUNTIME_DIR": runtime},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as session:
            while not _answers(http, port):
                assert session.poll() is None
                time.sleep(0.01)
            page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            page.locator(".marks[data-seq]").wait_for()
            took = time.monotonic() - began
            yield Row("start of `marey demo` to its first frame on the page", took, "s", at_most=3)
            found = page.evaluate(COUNT, seconds)
            http.post(f"http://127.0.0.1:{port}/api/stop", json={})
            told, _ = session.communicate()
        page.close()
    ledger = json.loads(told)
    what = f"`marey demo`, {ledger['seconds']:.0f} s"
    yield Row(f"{what}: shown, with beads marked", found["rate"], "frames/s")
    for stream, facts in ledger["streams"].items():
        yield Row(f"{what}: published by {stream}", facts["rate"], "frames/s")
        for reader, account in facts["readers"].items():
            if account["policy"] == "every":
                lost = account["lost"]
                yield Row(f"{what}: lost, {stream} -> {reader}", lost, "frames", at_most=0)


def _answers(http: httpx.Client, port: int) -> bool:
    try:
        return http.get(f"http://127.0.0.1:{port}/api/status").is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Measure and report; 1 where a goal was missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--demo", type=float, default=60.0, help="seconds of `marey demo`")
    given = options.parse_args()
    path = shutil.which("chromium")
    if path is None:
        print("no chromium on this machine (Debian: apt install chromium)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, sync_playwright() as playwright:
        os.environ["MAREY_RUNTIME_DIR"] = folder
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        rows = [*frames_shown(browser, given.seconds), *demo(browser, given.demo)]
        browser.close()
    return 0 if report("page", rows) else 1


def _memory() -> Path | None:
    """Streams belong into shared memory, also in a folder of one's own."""
    found = Path("/dev/shm")
    return found if found.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
