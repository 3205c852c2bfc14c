"""The camera `video`: files, MJPEG over HTTP and RTSP, their pixels, times, losses and ends."""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pydantic import ValidationError

from marey.cameras.video import Video
from marey.errors import NodeError
from marey.node import EndOfStream, Stamp
from support import barcode, rtsp
from support.film import write_film
from support.mjpeg import MjpegServer, jpeg
from support.rtsp import RtspServer

Shot = tuple[Stamp, np.ndarray[Any, Any]]


@contextmanager
def opened(**settings: Any) -> Iterator[Video]:
    camera = Video(**settings)
    try:
        camera.open()
        yield camera
    finally:
        camera.close()


def shots(camera: Video) -> Iterator[Shot]:
    """Every frame until the end, each in its own shape."""
    spec = camera.describe()
    out = np.empty(spec.shape, spec.dtype)
    while True:
        try:
            stamp = camera.grab(out)
        except EndOfStream:
            return
        if stamp is not None:
            shape = stamp.shape or spec.shape
            yield stamp, out.reshape(-1)[: np.prod(shape)].reshape(shape).copy()


def first(camera: Video, count: int) -> list[Shot]:
    return [shot for _, shot in zip(range(count), shots(camera), strict=False)]


def until_error(camera: Video) -> tuple[list[Shot], NodeError]:
    taken: list[Shot] = []
    with pytest.raises(NodeError) as caught:
        taken.extend(shots(camera))
    return taken, caught.value


def received_all() -> None:
    """Wait until the thread of the only open camera has taken all that its source sends."""
    for thread in threading.enumerate():
        if thread.name == "video receiver":
            thread.join()


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("color", [False, True])
def test_a_file_arrives_whole_in_order_and_unchanged(shared_data: Path, color: bool) -> None:
    path = shared_data / "bottle-detection.mp4"
    expected = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24" if color else "gray")
            moment = round(frame.pts * frame.time_base * 10**9)
            expected.append((len(expected), moment, pixels.shape, zlib.crc32(pixels.tobytes())))

    with opened(url=str(path), color=color, lossless=True) as camera:
        found = [
            (stamp.device_frame, stamp.device_time, pixels.shape, zlib.crc32(pixels.tobytes()))
            for stamp, pixels in shots(camera)
        ]
        spec = camera.describe()

    assert len(expected) == 1189
    assert found == expected
    assert spec.rate == pytest.approx(179 / 6)
    assert spec.pixel_format == ("RGB8" if color else "Mono8")
    assert spec.meta["counter_bits"] == 64


@pytest.mark.parametrize(
    ("av_format", "dtype", "high", "pixel_format"),
    [
        ("gray", "u1", 2**8, "Mono8"),
        ("gray10le", "u2", 2**10, "Mono10"),
        ("gray12le", "u2", 2**12, "Mono12"),
        ("gray16le", "u2", 2**16, "Mono16"),
    ],
)
def test_gray_of_any_depth_arrives_exactly(
    tmp_path: Path, av_format: str, dtype: str, high: int, pixel_format: str
) -> None:
    # An odd width: FFmpeg pads its rows then.
    pictures = [
        np.random.default_rng(n).integers(0, high, (37, 53)).astype(dtype) for n in range(5)
    ]
    film = write_film(tmp_path / "gray.mkv", pictures, av_format=av_format)
    with opened(url=str(film), lossless=True) as camera:
        assert camera.describe().pixel_format == pixel_format
        assert camera.describe().dtype == np.dtype(dtype)
        found = [pixels for _, pixels in shots(camera)]
    np.testing.assert_array_equal(found, pictures)


def test_colour_arrives_exactly(tmp_path: Path) -> None:
    pictures = [
        np.random.default_rng(n).integers(0, 256, (37, 53, 3)).astype("u1") for n in range(5)
    ]
    film = write_film(
        tmp_path / "rgb.avi",
        [np.ascontiguousarray(p[..., ::-1]) for p in pictures],
        av_format="bgr24",
        codec="rawvideo",
    )
    with opened(url=str(film), lossless=True, color=True) as camera:
        found = [pixels for _, pixels in shots(camera)]
    np.testing.assert_array_equal(found, pictures)


@pytest.mark.parametrize(
    ("av_format", "darkest", "brightest"), [("yuv420p", 16, 235), ("yuvj420p", 0, 255)]
)
def test_gray_is_luma_over_its_full_range(
    tmp_path: Path, av_format: str, darkest: int, brightest: int
) -> None:
    luma = np.full((32, 32), darkest, "u1")
    luma[:, 16:] = brightest
    picture = np.concatenate([luma, np.full((16, 32), 128, "u1")])
    film = tmp_path / "luma.mkv"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("ffv1" if av_format == "yuv420p" else "mjpeg", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 32
        stream.pix_fmt = av_format
        frame = av.VideoFrame.from_ndarray(picture, format=av_format)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with opened(url=str(film), lossless=True) as camera:
        ((_, found),) = shots(camera)
    assert found[:, :8].max() <= 1
    assert found[:, -8:].min() >= 254


def test_device_time_is_that_of_the_film(tmp_path: Path) -> None:
    times = [0, 7, 100, 101, 350]
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(5)], times=times)
    with opened(url=str(film), lossless=True) as camera:
        assert [stamp.device_time for stamp, _ in shots(camera)] == [t * 10**6 for t in times]


def test_a_looped_film_goes_on_in_number_and_time(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(4)], rate=20)
    with opened(url=str(film), loop=True, lossless=True) as camera:
        taken = first(camera, 10)
    assert [barcode.read(pixels) for _, pixels in taken] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [stamp.device_frame for stamp, _ in taken] == list(range(10))
    assert [stamp.device_time for stamp, _ in taken] == [n * 50_000_000 for n in range(10)]


def test_no_frame_is_shown_before_its_time(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(5)], rate=100)
    for settings, shortest in (({}, 0.04), ({"pace": 50.0}, 0.08)):
        with opened(url=str(film), **settings) as camera:
            begun = time.monotonic()
            assert len(list(shots(camera))) == 5
            assert time.monotonic() - begun >= shortest


def test_grab_returns_while_a_frame_is_not_due(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(2)])
    with opened(url=str(film), pace=0.1) as camera:
        out = np.empty(camera.describe().shape, "u1")
        assert camera.grab(out) is not None
        assert camera.grab(out) is None
        camera.pace = "free"
        camera.changed({"pace"})
        stamp = camera.grab(out)
        assert stamp is not None
        assert stamp.device_frame == 1


def test_a_smaller_frame_keeps_its_shape_and_a_greater_one_is_refused(tmp_path: Path) -> None:
    pieces = {}
    for side in (32, 64, 96):
        picture = np.full((side, side), side, "u1")
        pieces[side] = jpeg(picture)
    film = tmp_path / "sizes.mjpeg"
    film.write_bytes(pieces[64] + pieces[32] + pieces[64] + pieces[96])
    with opened(url=str(film), lossless=True, timeout=1) as camera:
        taken, error = until_error(camera)
    assert [stamp.shape for stamp, _ in taken] == [None, (32, 32), None]
    assert [pixels.max() for _, pixels in taken] == [64, 32, 64]
    assert "frame 3 is 96 x 96 pixels, greater than the first one, 64 x 64" in str(error)


def no_file(path: Path) -> None:
    pass


def a_folder(path: Path) -> None:
    path.mkdir()


def an_empty_file(path: Path) -> None:
    path.touch()


def a_text(path: Path) -> None:
    path.write_text("not a film\n" * 1000)


def a_sound(path: Path) -> None:
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), "i2"), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def half_a_film(path: Path) -> None:
    write_film(path, [barcode.draw(n) for n in range(50)], codec="libx264", av_format="yuv420p")
    os.truncate(path, path.stat().st_size // 2)


def an_unknown_codec(path: Path) -> None:
    film = write_film(path.with_suffix(".mkv"), [barcode.draw(0)])
    path.write_bytes(film.read_bytes().replace(b"V_FFV1", b"V_NONE"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_file, "No such file"),
        (a_folder, "Is a directory"),
        (an_empty_file, "Invalid data"),
        (a_text, "Invalid data"),
        (a_sound, "holds no video"),
        (an_unknown_codec, "codec is not known"),
    ],
)
def test_what_cannot_be_opened_says_why(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    film = tmp_path / "film.mp4"
    make(film)
    camera = Video(url=str(film))
    with pytest.raises(NodeError) as caught:
        camera.open()
    camera.close()
    message = str(caught.value)
    assert message.startswith(f"Video: url '{film}': ")
    assert reason in message
    assert "\n" not in message


def test_damage_in_a_file_is_an_error_that_tells_where(tmp_path: Path) -> None:
    pictures = [np.random.default_rng(n).integers(0, 256, (64, 64)).astype("u1") for n in range(9)]
    film = write_film(tmp_path / "a.avi", pictures, codec="png")
    content = bytearray(film.read_bytes())
    parts = [n for n in range(len(content)) if content.startswith(b"\x89PNG", n)]
    content[parts[5] : parts[5] + 200] = bytes(200)
    film.write_bytes(content)
    with opened(url=str(film), lossless=True) as camera:
        taken, error = until_error(camera)
    assert len(taken) <= 5
    np.testing.assert_array_equal([pixels for _, pixels in taken], pictures[: len(taken)])
    assert "damaged or cut off after 5 frames" in str(error)


def test_a_film_that_was_cut_off_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(50)])
    os.truncate(film, film.stat().st_size // 3)
    with opened(url=str(film), lossless=True) as camera:
        numbers = [barcode.read(pixels) for _, pixels in shots(camera)]
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 20
    assert "before its time" in caplog.text


def test_a_camera_can_be_closed_at_any_time_and_opened_again(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(3)])
    camera = Video(url=str(film), lossless=True)
    camera.close()
    for _ in range(2):
        camera.open()
        assert [barcode.read(pixels) for _, pixels in shots(camera)] == [0, 1, 2]
        camera.close()
        camera.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"url": ""},
        {"pace": 0.05},
        {"pace": 300_000},
        {"pace": "slow"},
        {"timeout": 0},
        {"queue": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Video(**{"url": "a.mkv"} | settings)


# ------------------------------------------------------------------ live sources


def parts(count: int, start: int = 0) -> list[bytes]:
    return [jpeg(barcode.draw(n)) for n in range(start, start + count)]


def access_units(count: int, start: int = 0) -> list[list[bytes]]:
    return rtsp.encode([barcode.draw(n) for n in range(start, start + count)])


def test_mjpeg_over_http_arrives_whole_and_in_order() -> None:
    with MjpegServer(parts(60)) as server, opened(url=server.url, queue=100) as camera:
        taken = first(camera, 60)
        server.release()
    assert [barcode.read(pixels) for _, pixels in taken] == list(range(60))
    assert [stamp.device_frame for stamp, _ in taken] == list(range(60))
    assert {stamp.device_time for stamp, _ in taken} == {None}
    arrivals = [stamp.mono_time or 0 for stamp, _ in taken]
    assert arrivals == sorted(arrivals)
    assert 0 < arrivals[-1] <= time.monotonic_ns()
    assert all(abs((stamp.host_time or 0) - time.time_ns()) < 60e9 for stamp, _ in taken)


def test_colour_mjpeg_is_rgb() -> None:
    red = np.zeros((32, 32, 3), "u1")
    red[..., 0] = 255
    with MjpegServer([jpeg(red)] * 3) as server, opened(url=server.url, color=True) as camera:
        _, pixels = first(camera, 1)[0]
        server.release()
    assert np.abs(pixels.astype(int) - red).max() <= 3


def test_rtsp_arrives_whole_in_order_and_with_the_times_of_the_camera() -> None:
    units = access_units(60)
    # Some units fit one packet, others need more than two.
    lengths = [len(unit) for picture in units for unit in picture]
    assert min(lengths) < rtsp.MTU < max(lengths) / 2
    with (
        RtspServer(units, hang_up=True) as server,
        opened(url=server.url, queue=100) as camera,
    ):
        spec = camera.describe()
        taken, error = until_error(camera)
        assert "SETUP" in server.methods
    assert spec.rate == 30
    assert [barcode.read(pixels) for _, pixels in taken] == list(range(60))
    assert [stamp.device_frame for stamp, _ in taken] == list(range(60))
    # FFmpeg does not tell the time of the first frame. A 30th of a second is 3,000 ticks of RTP.
    assert [stamp.device_time for stamp, _ in taken[1:]] == [
        round(n * 3000 * 10**9 / 90_000) for n in range(1, 60)
    ]
    assert "hung up after 60 frames" in str(error)


def test_what_nobody_took_in_time_shows_as_a_gap() -> None:
    with (
        MjpegServer(parts(40), hang_up=True, hold=4) as server,
        opened(url=server.url, queue=4) as camera,
    ):
        taken = first(camera, 1)
        server.release()
        received_all()
        rest, _ = until_error(camera)
    numbers = [barcode.read(pixels) for _, pixels in taken + rest]
    assert [stamp.device_frame for stamp, _ in taken + rest] == numbers
    assert numbers == [0, 36, 37, 38, 39]


def test_what_passed_before_the_first_frame_was_asked_for_is_not_lost() -> None:
    with (
        MjpegServer(parts(40), hang_up=True) as server,
        opened(url=server.url, queue=4) as camera,
    ):
        received_all()
        taken, _ = until_error(camera)
    assert [stamp.device_frame for stamp, _ in taken] == [36, 37, 38, 39]


def test_a_damaged_picture_of_a_live_source_is_left_out_and_counted() -> None:
    show = parts(7)
    show[3] = show[3][:40] + bytes(len(show[3]) - 40)
    show[5] = show[5][: len(show[5]) // 2]
    with MjpegServer(show, hang_up=True) as server, opened(url=server.url) as camera:
        taken, _ = until_error(camera)
    assert [barcode.read(pixels) for _, pixels in taken] == [0, 1, 2, 4, 6]
    assert [stamp.device_frame for stamp, _ in taken] == [0, 1, 2, 4, 6]


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_a_source_that_hangs_up_is_an_error_after_its_last_frame(protocol: str) -> None:
    server: MjpegServer | RtspServer
    if protocol == "http":
        server = MjpegServer(parts(8), hang_up=True)
    else:
        server = RtspServer(access_units(8), hang_up=True)
    with server, opened(url=server.url) as camera:
        taken, error = until_error(camera)
        with pytest.raises(NodeError):  # and it stays one
            camera.grab(taken[0][1])
    assert [barcode.read(pixels) for _, pixels in taken] == list(range(8))
    assert str(error).startswith(f"Video: url '{server.url}': ")


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_a_source_that_falls_silent_is_an_error(protocol: str) -> None:
    server: MjpegServer | RtspServer
    server = MjpegServer(parts(8)) if protocol == "http" else RtspServer(access_units(8))
    with server, opened(url=server.url, timeout=1) as camera:
        taken, error = until_error(camera)
    assert [barcode.read(pixels) for _, pixels in taken] == list(range(8))
    assert "nothing came for 1 s" in str(error)


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_a_connection_is_restored_and_the_gap_shows(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    server: MjpegServer | RtspServer
    if protocol == "http":
        server = MjpegServer(parts(5), parts(5, 100), hang_up=True)
    else:
        server = RtspServer(access_units(5), access_units(5, 100), hang_up=True)
    with server, opened(url=server.url, reconnect=0.01, queue=1000) as camera:
        taken = first(camera, 10)
    assert [barcode.read(pixels) for _, pixels in taken] == [*range(5), *range(100, 105)]
    frames = [stamp.device_frame or 0 for stamp, _ in taken]
    assert frames[:5] == list(range(5))
    assert frames[5] > 5
    assert frames[5:] == list(range(frames[5], frames[5] + 5))
    if protocol == "rtsp":
        times = [t for stamp, _ in taken if (t := stamp.device_time) is not None]
        assert len(times) == 8
        assert times == sorted(times)
    assert "connecting again" in caplog.text


def test_an_address_where_nobody_listens_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/video", f"rtsp://127.0.0.1:{port}/camera"):
        with pytest.raises(NodeError, match=r"cannot be opened: Connection refused"):
            Video(url=url, reconnect=1).open()


def test_a_server_that_never_answers_is_an_error_after_the_time_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for scheme in ("http", "rtsp"):
            url = f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/x"
            with pytest.raises(NodeError, match=r"nothing came for 0\.2 s"):
                Video(url=url, timeout=0.2).open()


def test_a_refusal_of_the_server_is_told() -> None:
    with MjpegServer([], status=404) as server, pytest.raises(NodeError, match="404"):
        Video(url=server.url).open()


def test_a_password_does_not_appear_in_messages_or_descriptions() -> None:
    with MjpegServer(parts(3), hang_up=True) as server:
        url = server.url.replace("http://", "http://user:secret@")
        with opened(url=url) as camera:
            described = camera.describe().to_json()
            _, error = until_error(camera)
    assert "secret" not in described + str(error)
    assert "user:***@127.0.0.1" in str(error)


@pytest.mark.parametrize("field", ["loop", "lossless"])
def test_what_only_a_file_can_do_is_refused_for_a_live_source(field: str) -> None:
    with MjpegServer(parts(3)) as server:
        camera = Video(url=server.url, **{field: True})
        with pytest.raises(NodeError, match=f"{field}: found true.*expected false"):
            camera.open()
        server.release()
        camera.close()


def test_a_film_on_a_web_server_waits_for_its_readers(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", [barcode.draw(n) for n in range(60)])
    with (
        MjpegServer([film.read_bytes()], plain=True) as server,
        opened(url=server.url, lossless=True, queue=2) as camera,
    ):
        taken = list(shots(camera))
    assert [barcode.read(pixels) for _, pixels in taken] == list(range(60))


def test_closing_ends_the_thread_though_frames_are_left() -> None:
    with MjpegServer(parts(40)) as server:
        with opened(url=server.url, timeout=60, queue=100) as camera:
            first(camera, 1)
            server.release()
        assert not [t for t in threading.enumerate() if t.name == "video receiver"]
