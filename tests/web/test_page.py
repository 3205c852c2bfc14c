"""The page in a real browser, showing a real session."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from pageparts import HEIGHT, SPOTS, WIDTH, Pattern, Spots, pattern
from playwright.sync_api import Browser, Locator, Page, expect
from serving import Bench, running, visiting

from marey import open_recording
from marey.sinks import Recorder, Web

SLOW = 0.1  # Hz: one frame, then nothing for ten seconds, so that what is shown stands still


@contextmanager
def opened(page: Page, query: str = "?painter=canvas", **nodes: Any) -> Iterator[Bench]:
    """A session whose page the browser has open and which shows a frame."""
    nodes.setdefault("web", Web())
    with running(**nodes) as place, visiting(place) as bench:
        page.goto(place.url.partition("?")[0] + query)
        page.locator(".marks[data-seq]").wait_for()
        yield bench
        page.goto("about:blank")


def limits(page: Page, lo: float, hi: float) -> None:
    for name, value in (("White level as a number", hi), ("Black level as a number", lo)):
        field = page.get_by_label(name)
        field.fill(str(value))
        field.press("Enter")


def shown_at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where image pixel x, y lies in the window, at 1:1."""
    box = page.locator(".marks").bounding_box()
    assert box is not None
    left = box["x"] + math.floor(box["width"] / 2 - WIDTH / 2 + 0.5)
    top = box["y"] + math.floor(box["height"] / 2 - HEIGHT / 2 + 0.5)
    return left + x + 0.5, top + y + 0.5


def image_pixels(page: Page) -> np.ndarray[Any, Any]:
    """The shown image at 1:1, from a screenshot: (HEIGHT, WIDTH, 3)."""
    x, y = shown_at(page, 0, 0)
    page.evaluate("() => new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")
    clip = {"x": round(x - 0.5), "y": round(y - 0.5), "width": WIDTH, "height": HEIGHT}
    shot = page.screenshot(clip=clip, type="jpeg", quality=100)  # type: ignore[arg-type]
    return simplejpeg.decode_jpeg(shot, "RGB").astype(float)


def seq_shown(page: Page) -> int:
    return int(page.locator(".marks").get_attribute("data-seq") or -1)


def field_of(page: Page, name: str) -> Locator:
    return page.locator(".node-detail .field").filter(has=page.get_by_label(name, exact=True))


def node(page: Page, name: str) -> None:
    page.get_by_role("tab", name="nodes").click()
    page.locator(".node-list button").filter(has_text=name).click()
    expect(page.locator(".node-detail h3")).to_have_text(name)


@pytest.mark.parametrize("painter", ["canvas", "webgl"])
def test_the_pixels_are_those_of_the_camera(page: Page, runtime: Path, painter: str) -> None:
    with opened(page, f"?painter={painter}", cam=Pattern(rate=SLOW)):
        assert page.locator(".screen canvas").first.get_attribute("data-painter") == painter
        limits(page, 0, 255)
        page.get_by_role("button", name="1:1").click()
        expect(page.locator("[data-test=zoom]")).to_have_text("100 %")
        expected = pattern(seq_shown(page)).astype(float)
        # The screenshot is a JPEG: smooth parts come within a few levels, and the average closer.
        difference = np.abs(image_pixels(page) - expected[..., None])
        assert np.median(difference) <= 2
        limits(page, 100, 101)
        black_and_white = np.where(expected > 100, 255.0, 0.0)
        difference = np.abs(image_pixels(page) - black_and_white[..., None])
        assert np.median(difference) <= 2


def test_colours_are_those_of_the_camera(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=SLOW, dtype="rgb")):
        limits(page, 0, 255)
        page.get_by_role("button", name="1:1").click()
        ramp = pattern(seq_shown(page)).astype(float)
        expected = np.stack([ramp, 255 - ramp, ramp // 2], 2)
        assert np.median(np.abs(image_pixels(page) - expected)) <= 4


def test_the_image_is_live(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=100)):
        first = seq_shown(page)
        page.wait_for_function(
            "first => Number(document.querySelector('.marks').dataset.seq) > first + 100", arg=first
        )
        expect(page.locator("[data-test=fps]")).not_to_have_text("0")


def test_the_value_under_the_cursor(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=SLOW), deep=Pattern(rate=20, dtype="u2")):
        page.get_by_role("button", name="1:1").click()
        page.mouse.move(*shown_at(page, 50, 20))
        value = pattern(seq_shown(page))[20, 50]
        expect(page.locator("[data-test=probe]")).to_have_text(f"x 50 y 20 {value}")
        page.get_by_label("Stream shown").select_option("deep")
        page.get_by_role("button", name="1:1").click()
        page.mouse.move(*shown_at(page, 50, 20))
        # More than eight bits: the server tells the exact value, a multiple of ten here.
        expect(page.locator("[data-test=probe]")).to_have_text(re.compile(r"x 50 y 20 \d*0$"))


def test_zoom_keeps_what_is_under_the_cursor(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=SLOW)):
        zoom, probe = page.locator("[data-test=zoom]"), page.locator("[data-test=probe]")
        page.get_by_role("button", name="1:1").click()
        at = shown_at(page, 100, 70)
        page.mouse.move(*at)
        value = pattern(seq_shown(page))[70, 100]
        expect(probe).to_have_text(f"x 100 y 70 {value}")
        for _ in range(5):
            page.mouse.wheel(0, -240)
        expect(zoom).not_to_have_text("100 %")
        page.mouse.move(at[0] + 2, at[1])  # less than a pixel of the image now
        expect(probe).to_have_text(f"x 100 y 70 {value}")
        page.mouse.down()
        page.mouse.move(at[0] - 80, at[1] - 60, steps=4)
        page.mouse.up()
        expect(probe).to_have_text(f"x 100 y 70 {value}")  # it was taken along
        page.locator(".marks").dblclick()
        fitted = zoom.inner_text()
        page.locator(".marks").focus()
        page.keyboard.press("+")
        expect(zoom).not_to_have_text(fitted)
        page.keyboard.press("0")
        expect(zoom).to_have_text(fitted)


def marked(page: Page, x: float, y: float) -> bool:
    """Whether something is drawn over image pixel x, y, at 1:1."""
    box = page.locator(".marks").bounding_box()
    assert box is not None
    px, py = shown_at(page, x, y)
    return bool(
        page.evaluate(
            """([x, y]) => document.querySelector(".marks").getContext("2d")
                .getImageData(x - 1, y - 1, 3, 3).data.some((v, i) => i % 4 === 3 && v > 0)""",
            [px - box["x"], py - box["y"]],
        )
    )


def after_some_frames(page: Page, count: int = 5) -> None:
    """Wait until so many further frames have come by."""
    page.wait_for_function(
        "n => Number(document.querySelector('.marks').dataset.seq) > n", arg=seq_shown(page) + count
    )


def test_overlays_lie_on_what_they_mark(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=20), spots=Spots(source="cam")):
        page.get_by_role("button", name="1:1").click()
        chip = page.get_by_role("button", name="spots").first
        expect(chip).to_have_attribute("aria-pressed", "true")
        after_some_frames(page)
        assert all(marked(page, x, y) for x, y in SPOTS)
        assert not marked(page, 60, 40)
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "false")
        page.wait_for_function(
            """() => !document.querySelector(".marks").getContext("2d")
                .getImageData(0, 0, 2000, 2000).data.some(v => v)"""
        )


def test_regions_are_added_moved_and_removed_by_mouse(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(rate=20), spots=Spots(source="cam")) as bench:
        page.get_by_role("button", name="1:1").click()
        page.get_by_role("button", name="ROI").click()
        page.mouse.click(*shown_at(page, 60, 40))
        expect(page.locator(".log")).to_contain_text("rois =")
        assert bench.lab.spots.get("rois") == [pytest.approx([60, 40], abs=0.6)]
        after_some_frames(page)
        assert marked(page, 60, 40)
        page.mouse.move(*shown_at(page, 61, 41))
        page.mouse.down()
        page.mouse.move(*shown_at(page, 80, 55), steps=3)
        page.mouse.up()
        expect(page.locator(".log li").filter(has_text="rois =")).to_have_count(2)
        assert bench.lab.spots.get("rois") == [pytest.approx([80, 55], abs=0.6)]
        after_some_frames(page)
        page.mouse.click(*shown_at(page, 80, 55), button="right")
        expect(page.locator(".log")).to_contain_text("rois = []")
        # Where the node refuses, the log says so.
        page.mouse.click(*shown_at(page, *SPOTS[0]), button="right")
        page.mouse.click(*shown_at(page, 30, 60))
        expect(page.locator(".log li").filter(has_text="rois = [[")).to_have_count(3)


def test_a_form_refuses_what_the_node_would_refuse(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern()) as bench:
        node(page, "cam")
        rate = field_of(page, "rate")
        expect(rate).to_contain_text("Hz")
        rate.get_by_role("textbox").fill("5000")
        expect(rate.get_by_role("alert")).to_have_text("found 5000, expected a number 0.1 – 1000")
        rate.get_by_role("textbox").press("Enter")
        expect(rate.get_by_role("alert")).to_be_visible()
        assert bench.lab.cam.get("rate") == 50
        rate.get_by_role("textbox").press("Escape")
        expect(rate.get_by_role("textbox")).to_have_value("50")
        # What only the node can know comes back from it, to the same place.
        lines = field_of(page, "lines")
        lines.get_by_role("textbox").fill("3")
        lines.get_by_role("textbox").press("Enter")
        expect(lines.get_by_role("alert")).to_contain_text("found 3")
        expect(lines.get_by_role("alert")).to_contain_text("expected an even number")
        assert bench.lab.cam.get("lines") == 2


def test_forms_change_the_node_and_every_browser_sees_it(
    page: Page, browser: Browser, runtime: Path
) -> None:
    with opened(page, cam=Pattern()) as bench:
        other = browser.new_page()
        other.goto(page.url)
        for each in (page, other):
            node(each, "cam")
        field_of(page, "gain").get_by_role("textbox").fill("2.5")
        field_of(page, "corner").get_by_role("textbox").fill("3, 4")
        page.get_by_role("button", name="Apply 2 changes").click()
        expect(field_of(other, "gain").get_by_role("textbox")).to_have_value("2.5")
        expect(field_of(other, "corner").get_by_role("textbox")).to_have_value("3, 4")
        field_of(other, "trigger").get_by_role("combobox").select_option("line")
        field_of(other, "cooled").get_by_role("switch").check()
        expect(field_of(page, "trigger").get_by_role("combobox")).to_have_value("line")
        expect(field_of(page, "cooled").get_by_role("switch")).to_be_checked()
        told = bench.lab.cam.get()
        assert (told["gain"], told["corner"]) == (2.5, [3, 4])
        assert (told["trigger"], told["cooled"]) == ("line", True)
        expect(field_of(page, "temperature")).to_contain_text("21.5")
        expect(field_of(page, "temperature").get_by_role("textbox")).to_have_count(0)
        first = int(other.locator(".marks").get_attribute("data-seq") or 0)
        other.wait_for_function(
            "n => Number(document.querySelector('.marks').dataset.seq) > n", arg=first
        )
        other.close()


def test_actions_run_show_their_progress_and_their_errors(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern()):
        node(page, "cam")
        page.get_by_role("button", name="sweep…").click()
        form = page.locator(".arguments")
        form.get_by_role("button", name="sweep").click()
        expect(form.get_by_role("alert")).to_contain_text("expected a whole number")
        form.get_by_label("steps").fill("40")
        form.get_by_label("pause").fill("0.03")
        form.get_by_role("button", name="sweep").click()
        expect(page.locator(".actions .progress")).to_contain_text(re.compile(r"step \d+"))
        expect(page.locator(".actions .said")).to_have_text("sweep: 40")
        page.get_by_role("button", name="fail").click()
        expect(page.locator(".actions .error")).to_contain_text("the shutter is stuck")
        line = page.locator(".log li").filter(has_text="the shutter is stuck")
        line.locator("summary").click()
        expect(line.locator("pre")).to_contain_text("Traceback")


def test_recording_is_started_and_stopped_with_the_seconds_before(
    page: Page, runtime: Path, tmp_path: Path
) -> None:
    recorder = Recorder(sources=["cam"], folder=str(tmp_path))
    with opened(page, cam=Pattern(rate=50, buffer="4 s"), rec=recorder) as bench:
        after_some_frames(page, 60)
        page.get_by_label("Run name").fill("trial")
        page.get_by_label("Seconds before the start").fill("-1")
        page.get_by_role("button", name="Record").click()
        expect(page.locator(".recorder [role=alert]")).to_contain_text("expected 0 to")
        page.get_by_label("Seconds before the start").fill("1")
        before = int(bench.http.get("/api/frame/cam").headers["X-Seq"])
        page.get_by_role("button", name="Record").click()
        expect(page.locator(".recording")).to_contain_text("trial")
        assert bench.lab.rec.get("recording")
        after_some_frames(page, 50)
        page.get_by_role("button", name="Stop recording").click()
        expect(page.get_by_role("button", name="Record")).to_be_visible()
    stream = open_recording(tmp_path / "trial")["cam"]
    first, last = int(stream.stamps["seq"][0]), int(stream.stamps["seq"][-1])
    assert first < before - 25  # about fifty frames lie in a second
    assert len(stream) == last - first + 1
    np.testing.assert_array_equal(stream[0], pattern(first))


def test_losses_are_shown_wherever_they_happen(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(), spots=Spots(source="cam")) as bench:
        expect(page.locator("[data-test=lost]")).to_have_text("0")
        bench.lab.cam.lose(count=7)
        expect(page.locator("[data-test=lost]")).to_have_text("7")
        expect(page.locator(".rates")).to_contain_text("7 lost by device")
        page.get_by_role("tab", name="streams").click()
        row = page.locator("tr.stream").filter(has=page.get_by_role("rowheader", name="cam"))
        expect(row.locator("td.bad")).to_have_text("7")
        reader = page.get_by_role("row").filter(has_text="▸ spots")
        expect(reader).to_contain_text("every")


def test_the_plot_follows_the_rows(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(), spots=Spots(source="cam")):
        chips = page.locator(".plot .trace")
        expect(chips).to_have_count(1)
        expect(chips.nth(0)).to_contain_text("z[0]")
        expect(chips.nth(0).locator("b")).to_have_text(re.compile(r"^\d+$"))
        before = int(chips.nth(0).locator("b").inner_text())
        page.wait_for_function(
            "n => Number(document.querySelectorAll('.trace b')[0].textContent) > n", arg=before + 20
        )
        for field, bead, value in (("x", 2, str(SPOTS[2][0])), ("z", 2, "–")):
            page.get_by_role("button", name="Add a trace").click()
            form = page.locator(".add-trace")
            form.get_by_label("field").select_option(field)
            form.get_by_role("textbox", name="bead").fill(str(bead))
            form.get_by_role("button", name="Add").click()
            expect(chips.last).to_contain_text(f"{field}[{bead}]")
            expect(chips.last.locator("b")).to_have_text(value)
        expect(chips).to_have_count(3)
        page.get_by_role("button", name="Remove spots z[0]").click()
        expect(chips).to_have_count(2)
        expect(chips.nth(0)).to_contain_text("x[2]")
        page.reload()
        expect(chips).to_have_count(2)  # what was chosen is remembered


def test_a_node_that_dies_is_shown_and_the_others_go_on(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern(), other=Pattern()):
        node(page, "other")
        page.get_by_role("button", name="crash").click()
        expect(page.locator(".log li.level-error").first).to_contain_text("other")
        expect(page.locator(".node-detail")).to_contain_text("1 restart")
        expect(page.locator(".node-detail .tag")).to_have_text("running")
        after_some_frames(page)


def test_a_lost_connection_is_told_and_found_again(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern()) as bench:
        web = bench.http.get("/api/session").json()["nodes"]["web"]["pid"]
        os.kill(web, signal.SIGSTOP)  # killed at once, it would be back before anybody notices
        expect(page.get_by_text("Connection lost")).to_be_visible(timeout=20_000)
        os.kill(web, signal.SIGKILL)
        expect(page.get_by_text("Connection lost")).to_be_hidden()
        after_some_frames(page)


def test_the_session_is_stopped_only_when_one_means_it(page: Page, runtime: Path) -> None:
    with opened(page, cam=Pattern()) as bench:
        page.get_by_role("button", name="Stop session").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert bench.http.get("/api/status").json()["nodes"]["cam"]["state"] == "running"
        page.get_by_role("button", name="Stop session").click()
        page.get_by_role("button", name="Stop the session").click()
        expect(page.get_by_text("The session was stopped")).to_be_visible()


def test_the_address_with_its_token_opens_the_page(page: Page, runtime: Path) -> None:
    with running(cam=Pattern(), web=Web(host="0.0.0.0")) as place:
        address = place.url.replace("localhost", "127.0.0.1")
        page.goto(address.partition("?")[0])
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(address)
        page.locator(".marks[data-seq]").wait_for()
        assert "token" not in page.url
        page.goto("about:blank")
