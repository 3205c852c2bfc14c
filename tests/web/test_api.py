"""Every address of the page's HTTP interface, and bad input to each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import simplejpeg
from pageparts import HEIGHT, SPOTS, WIDTH, Pattern, Spots, pattern
from serving import Bench, Place, running, visiting

from marey.sinks.web import Web


@pytest.fixture(scope="module")
def place(module_runtime: Path) -> Iterator[Place]:
    with running(
        cam=Pattern(rate=50),
        deep=Pattern(rate=20, dtype="u2"),
        colour=Pattern(rate=20, dtype="rgb"),
        spots=Spots(source="cam"),
        web=Web(),
    ) as found:
        yield found


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    with visiting(place) as found:
        yield found


def frame(bench: Bench, stream: str, **query: object) -> httpx.Response:
    return bench.http.get(f"/api/frame/{stream}", params=query)


def test_the_session_is_described(bench: Bench) -> None:
    told = bench.http.get("/api/session").json()
    assert told["name"] == bench.lab.name
    assert told["web"] == "web"
    assert set(told["nodes"]) == {"cam", "deep", "colour", "spots", "web"}
    cam = told["nodes"]["cam"]
    assert cam["role"] == "camera"
    assert cam["doc"].startswith("A moving ramp.")
    assert cam["state"] == "running"
    assert cam["settings"]["rate"] == 50
    assert cam["schema"]["properties"]["rate"]["unit"] == "Hz"
    assert cam["actions"]["lose"]["schema"]["properties"]["count"]["default"] == 1
    assert told["streams"]["cam"]["shape"] == [HEIGHT, WIDTH]
    assert not told["streams"]["cam"]["is_rows"]
    spots = told["streams"]["spots"]
    assert spots["is_rows"]
    assert spots["source"] == "cam"
    assert spots["columns"] == ["bead", "x", "y", "z"]
    assert spots["meta"]["overlay"]["label"] == "bead"
    assert spots["fields"]["z"] == "nm, above focus"


def test_status_counts(bench: Bench) -> None:
    told = bench.http.get("/api/status").json()
    assert told["streams"]["cam"]["published"] > 0
    assert told["streams"]["cam"]["readers"]["spots"]["lost"] == 0
    assert told["nodes"]["web"]["state"] == "running"


def test_a_raw_frame_is_exact(bench: Bench) -> None:
    answer = frame(bench, "cam")
    seq = int(answer.headers["X-Seq"])
    assert answer.headers["X-Shape"] == f"{HEIGHT},{WIDTH}"
    assert answer.headers["X-Step"] == "1"
    assert (answer.headers["X-Lo"], answer.headers["X-Hi"]) == ("0", "255")
    found = np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, pattern(seq))


def test_each_frame_is_newer_than_the_last(bench: Bench) -> None:
    seqs = [int(frame(bench, "cam").headers["X-Seq"])]
    for _ in range(5):
        answer = frame(bench, "cam", after=seqs[-1])
        assert answer.status_code == 200
        seqs.append(int(answer.headers["X-Seq"]))
    assert seqs == sorted(set(seqs))


def test_a_number_of_an_earlier_life_gets_the_newest(bench: Bench) -> None:
    assert frame(bench, "cam", after=10**9).status_code == 200


def test_sixteen_bits_are_mapped_by_limits(bench: Bench) -> None:
    answer = frame(bench, "deep", lo=0, hi=2550)
    ramp = pattern(int(answer.headers["X-Seq"]))
    found = np.frombuffer(answer.content, np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(found, ramp)
    automatic = frame(bench, "deep")
    assert float(automatic.headers["X-Lo"]) < float(automatic.headers["X-Hi"]) <= 2550


def test_fewer_pixels_and_the_value_of_one(bench: Bench) -> None:
    answer = frame(bench, "deep", width=WIDTH // 2, lo=0, hi=2550, at="3,5")
    seq = int(answer.headers["X-Seq"])
    assert answer.headers["X-Step"] == "2"
    found = np.frombuffer(answer.content, np.uint8).reshape(HEIGHT // 2, WIDTH // 2)
    np.testing.assert_array_equal(found, pattern(seq)[1::2, 1::2])
    assert answer.headers["X-At"] == "3,5"
    assert float(answer.headers["X-Value"]) == 10 * int(pattern(seq)[5, 3])
    assert "X-Value" not in frame(bench, "deep", at="5000,1").headers


def test_colour_and_jpeg(bench: Bench) -> None:
    raw = frame(bench, "colour")
    seq = int(raw.headers["X-Seq"])
    found = np.frombuffer(raw.content, np.uint8).reshape(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(found[..., 1], 255 - pattern(seq))
    packed = frame(bench, "colour", format="jpeg", quality=95)
    assert packed.headers["Content-Type"] == "image/jpeg"
    assert simplejpeg.decode_jpeg(packed.content).shape == (HEIGHT, WIDTH, 3)


def test_histogram(bench: Bench) -> None:
    told = bench.http.get("/api/histogram/cam").json()
    assert (told["lo"], told["hi"], len(told["counts"])) == (0, 255, 256)
    assert sum(told["counts"]) == HEIGHT * WIDTH
    assert told["auto"][0] < told["auto"][1]


def test_rows_belong_to_the_frame_that_is_named(bench: Bench) -> None:
    seq = int(frame(bench, "cam").headers["X-Seq"])
    told = bench.http.get("/api/rows/spots", params={"source_seq": seq, "wait": 1}).json()
    assert told["source_seq"] == seq
    assert told["columns"]["x"] == [x for x, _ in SPOTS]
    assert told["columns"]["z"] == [seq, seq, None]
    only = bench.http.get("/api/rows/spots", params={"fields": "x,bead"}).json()
    assert set(only["columns"]) == {"x", "bead"}


def test_rows_that_are_not_made_yet_are_those_before(bench: Bench) -> None:
    told = bench.http.get("/api/rows/spots", params={"source_seq": 10**9}).json()
    assert told["source_seq"] < 10**9


def test_series(bench: Bench) -> None:
    told = bench.http.get("/api/series/spots", params={"field": "z", "row": 1, "max": 9}).json()
    assert told["step"] > 1
    assert all(seq % told["step"] == 0 for seq in told["seq"])
    more = {"field": "z", "row": 1, "key": "bead", "after": told["next"] - 3, "step": 1}
    told = bench.http.get("/api/series/spots", params=more | {"seconds": 1}).json()
    assert len(told["v"]) == len(told["seq"]) >= 3


def test_settings_are_set_all_or_none(bench: Bench) -> None:
    told = bench.http.post("/api/set/cam", json={"gain": 2, "offset": -3})
    assert told.json() == {"settings": {"gain": 2, "offset": -3}}
    refused = bench.http.post("/api/set/cam", json={"gain": 3, "offset": 11})
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["type"], error["field"]) == ("SettingError", "offset")
    assert "found 11" in error["fields"]["offset"]
    assert bench.lab.cam.get("gain") == 2


def test_each_refused_field_has_its_reason(bench: Bench) -> None:
    refused = bench.http.post("/api/set/cam", json={"gain": 99, "offset": 11})
    assert set(refused.json()["error"]["fields"]) == {"gain", "offset"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"gian": 1}, "gian"),
        ({"temperature": 3}, "temperature"),
        ({"width": 64}, "width"),
        ({"corner": [1, "x"]}, "corner"),
        ({"self": 1}, "self"),
    ],
)
def test_a_refused_setting_is_named(bench: Bench, values: dict[str, object], field: str) -> None:
    refused = bench.http.post("/api/set/cam", json=values)
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == field


def test_actions_answer(bench: Bench) -> None:
    told = bench.http.post("/api/do/cam/sweep", json={"steps": 3})
    assert told.json() == {"answer": 3}


@pytest.mark.parametrize(
    ("action", "args", "field"),
    [("sweep", {"steps": "many"}, "steps"), ("sweep", {}, "steps"), ("lose", {"n": 1}, "n")],
)
def test_a_refused_argument_is_named(
    bench: Bench, action: str, args: dict[str, object], field: str
) -> None:
    refused = bench.http.post(f"/api/do/cam/{action}", json=args)
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == field


def test_a_failed_action_says_why(bench: Bench) -> None:
    refused = bench.http.post("/api/do/cam/fail", json={})
    assert refused.status_code == 422
    assert "the shutter is stuck" in refused.json()["error"]["message"]
    assert bench.http.post("/api/do/cam/dance", json={}).status_code == 422


def test_session_wide_settings(bench: Bench) -> None:
    assert bench.http.post("/api/session", json={"run": "first"}).status_code == 200
    assert bench.lab.get()["run"] == "first"
    refused = bench.http.post("/api/session", json={"acquiring": "perhaps"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "acquiring")
    refused = bench.http.post("/api/session", json={"node": 1})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "node")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/frame/nothing", 404),
        ("GET", "/api/rows/nothing", 404),
        ("GET", "/api/series/nothing?field=z", 404),
        ("GET", "/api/histogram/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/assets/..%2f..%2f..%2f__init__.py", 404),
        ("GET", "/api/frame/spots", 422),
        ("GET", "/api/rows/cam", 422),
        ("GET", "/api/series/cam?field=z", 422),
        ("GET", "/api/series/spots?field=zz", 422),
        ("GET", "/api/series/spots", 422),
        ("GET", "/api/series/spots?field=z&seconds=inf", 422),
        ("GET", "/api/frame/cam?width=0", 422),
        ("GET", "/api/frame/cam?lo=nan", 422),
        ("GET", "/api/frame/cam?format=exe", 422),
        ("GET", "/api/frame/cam?at=1;2", 422),
        ("GET", "/api/frame/cam?surprise=1", 422),
        ("GET", "/api/rows/spots?source_seq=-1", 422),
        ("GET", "/api/rows/spots?fields=x,nothing", 422),
        ("GET", "/api/nothing", 404),
        ("POST", "/api/set/nobody", 404),
        ("POST", "/api/do/nobody/start", 404),
        ("POST", "/api/status", 405),
        ("GET", "/api/stop", 405),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_json(
    bench: Bench, method: str, path: str, status: int
) -> None:
    answer = bench.http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"gain": NaN}', "application/json", 400),
        (b'{"gain": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"gain": 1}', "text/plain", 415),
        (b"gain=1", "application/x-www-form-urlencoded", 415),
        (b'{"gain": "' + b"x" * (1 << 20) + b'"}', "application/json", 413),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(
    bench: Bench, body: bytes, kind: str, status: int
) -> None:
    before = bench.lab.cam.get()
    answer = bench.http.post("/api/set/cam", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert bench.lab.cam.get() == before


def test_a_body_without_a_length_is_limited_too(bench: Bench) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * (1 << 15)

    kind = {"Content-Type": "application/json"}
    answer = bench.http.post("/api/set/cam", content=parts(), headers=kind)
    assert answer.status_code == 413


def test_events_tell_what_happens(bench: Bench) -> None:
    with bench.http.stream("GET", "/api/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        next(lines)  # the server has listened since before this line
        worker = threading.Thread(target=bench.lab.cam.set, kwargs={"offset": 5})
        worker.start()
        event = next(
            event
            for line in lines
            if line.startswith("data: ")
            for event in [json.loads(line.removeprefix("data: "))]
            if event["kind"] == "setting" and event["data"]["values"] == {"offset": 5}
        )
        worker.join()
    assert event["node"] == "cam"
    resumed = {"Last-Event-ID": event["id"]}
    bench.lab.cam.set(offset=6)
    with bench.http.stream("GET", "/api/events", headers=resumed) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: "))
    assert json.loads(first.removeprefix("data: "))["data"]["values"] == {"offset": 6}


def test_the_page_is_served_with_strict_headers(bench: Bench) -> None:
    answer = bench.http.get("/")
    assert answer.status_code == 200
    assert '<div id="page">' in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    script = bench.http.get("/assets/main.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert "preact" in bench.http.get("/assets/licenses.txt").text
