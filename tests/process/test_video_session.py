"""Real films and live sources through a whole session: what goes in comes out, and is accounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import av
import numpy as np
import pytest

import marey
from marey.cameras.images import Images
from marey.cameras.video import Video
from marey.errors import NodeError
from support import barcode, rtsp
from support.collect import Collect, collected
from support.film import write_film
from support.mjpeg import MjpegServer, jpeg
from support.rtsp import RtspServer


@pytest.fixture(autouse=True)
def nodes_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of nodes find `support`, too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def test_a_film_is_delivered_frame_for_frame(
    shared_data: Path, runtime: Path, tmp_path: Path
) -> None:
    path = shared_data / "bottle-detection.mp4"
    with av.open(str(path)) as container:
        expected = [
            (n, round(f.pts * f.time_base * 10**9), crc32(f.to_ndarray(format="gray").tobytes()))
            for n, f in enumerate(container.decode(video=0))
        ]
    ledger = marey.Session(
        "film",
        cam=Video(url=str(path), lossless=True),
        sink=Collect(file=str(tmp_path / "out")),
    ).run()
    found = collected(tmp_path / "out")
    assert [(f["device_frame"], f["device_time"], f["crc"]) for f in found] == expected
    assert [f["seq"] for f in found] == list(range(1189))
    account = ledger["streams"]["cam"]
    assert (account["published"], account["device_lost"]) == (1189, 0)
    reader = account["readers"]["sink"]
    assert (reader["received"], reader["lost"]) == (1189, 0)


@pytest.mark.parametrize(("folder", "count"), [("brightfield", 50), ("bulk_water", 80)])
def test_a_folder_of_images_is_delivered_frame_for_frame(
    shared_data: Path, runtime: Path, tmp_path: Path, folder: str, count: int
) -> None:
    ledger = marey.Session(
        "images",
        cam=Images(path=str(shared_data / folder), rate=500, color=False),
        sink=Collect(file=str(tmp_path / "out")),
    ).run()
    assert [f["device_frame"] for f in collected(tmp_path / "out")] == list(range(count))
    assert ledger["streams"]["cam"]["readers"]["sink"]["lost"] == 0


def play(session: marey.Session, server: MjpegServer | RtspServer, account: dict[str, Any]) -> None:
    """Let the server begin when the session runs; take the account at the end of the stream."""
    with session.running() as lab:
        server.release()
        list(lab.cam.every(start="oldest"))
        account |= lab.ledger()["streams"]["cam"]


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_what_a_live_source_loses_stands_in_the_ledger(
    runtime: Path, tmp_path: Path, protocol: str
) -> None:
    pictures = [barcode.draw(n) for n in range(30)]
    server: MjpegServer | RtspServer
    if protocol == "http":
        show = [jpeg(picture) for picture in pictures]
        show[17] = show[17][:100]
        server = MjpegServer(show, hang_up=True, hold=10)
    else:
        server = RtspServer(rtsp.encode(pictures), hang_up=True, hold=10)
    with server:
        session = marey.Session(
            "live",
            cam=Video(url=server.url, queue=1024, restart="never"),
            sink=Collect(file=str(tmp_path / "out")),
        )
        account: dict[str, Any] = {}
        with pytest.raises(NodeError, match=r"cam: url .*127\.0\.0\.1"):
            play(session, server, account)
    found = [f["device_frame"] for f in collected(tmp_path / "out")]
    lost = [17] if protocol == "http" else []
    assert found == [n for n in range(30) if n not in lost]
    assert (account["published"], account["device_lost"]) == (30 - len(lost), len(lost))


def test_frames_of_differing_size_keep_their_shape(runtime: Path, tmp_path: Path) -> None:
    film = tmp_path / "sizes.mjpeg"
    sizes = [(64, 64), (32, 48), (64, 64), (16, 16)]
    pictures = [np.full(size, 10 * n, "u1") for n, size in enumerate(sizes)]
    film.write_bytes(b"".join(jpeg(picture) for picture in pictures))
    marey.Session(
        "sizes",
        cam=Video(url=str(film), lossless=True),
        sink=Collect(file=str(tmp_path / "out")),
    ).run()
    found = [(tuple(f["shape"]), f["crc"]) for f in collected(tmp_path / "out")]
    assert found == [(p.shape, crc32(p.tobytes())) for p in pictures]


def test_a_film_that_cannot_be_opened_stops_the_start(runtime: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mkv", [barcode.draw(0)])
    with pytest.raises(NodeError, match=r"^cam: url '.*missing\.mkv': cannot be opened: No such"):
        marey.Session("none", cam=Video(url=str(tmp_path / "missing.mkv"))).run()
