"""How the page is reached: addresses, ports, tokens, certificates, and again after a death."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pageparts import Pattern
from pydantic import ValidationError
from serving import running, visiting

from marey import Session
from marey.errors import NodeError
from marey.sinks.web import Web

TOKEN = "a-token-of-the-users-own"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_bound_wider_a_token_is_made_up_and_needed(runtime: Path) -> None:
    with running(cam=Pattern(), web=Web(host="0.0.0.0")) as place:
        address, _, token = place.url.partition("/?token=")
        assert len(token) >= 32
        with httpx.Client(base_url=address) as http:
            for path in ("/", "/api/session", "/api/frame/cam", "/assets/main.js"):
                assert http.get(path).status_code == 401
            assert http.post("/api/stop", json={}).status_code == 401
            bearer = {"Authorization": f"Bearer {token}"}
            told = http.get("/api/session", headers=bearer)
            assert told.status_code == 200
            assert http.get("/api/session").status_code == 401
            page = http.get(f"/?token={token}", follow_redirects=True)
            assert page.status_code == 200
            assert "token" not in str(page.url)
            assert http.get("/api/session").status_code == 200  # by the cookie


def test_a_token_of_ones_own_holds_on_loopback_too_and_is_not_told(runtime: Path) -> None:
    with running(cam=Pattern(), web=Web(host="127.0.0.2", token=TOKEN)) as place:
        assert place.url.startswith("http://127.0.0.2:")
        with httpx.Client(base_url=place.url.partition("?")[0]) as http:
            assert http.get("/api/session").status_code == 401
            told = http.get("/api/session", headers={"Authorization": f"Bearer {TOKEN}"})
    settings = told.json()["nodes"]["web"]["settings"]
    assert settings["token"] == "(hidden)"
    assert TOKEN not in settings["url"]


@pytest.mark.parametrize("token", ["short", "with spaces in between", "semi;colon;semi;colon"])
def test_a_token_that_could_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="token"):
        Web(token=token)


def test_a_port_in_use_is_named(runtime: Path, taken: int) -> None:
    session = Session("bench", cam=Pattern(), web=Web(port=taken))
    with pytest.raises(NodeError, match=rf"web\.port: {taken} on 127\.0\.0\.1 is in use"):
        session.run(1)


def test_an_address_of_another_machine_is_named(runtime: Path) -> None:
    session = Session("bench", cam=Pattern(), web=Web(host="192.0.2.1"))
    with pytest.raises(NodeError, match=r"web: cannot serve on '192\.0\.2\.1'"):
        session.run(1)


def test_an_open_page_finds_the_server_again_after_its_death(runtime: Path) -> None:
    with running(cam=Pattern(), web=Web()) as place, visiting(place) as bench:
        events = bench.lab.events()
        with events:
            os.kill(bench.http.get("/api/session").json()["nodes"]["web"]["pid"], signal.SIGKILL)
            while True:
                event = events.next(20)
                assert event is not None, "the page was not started again"
                if (event.node, event.kind) == ("web", "state") and (
                    event.data["state"] == "running"
                ):
                    break
        assert bench.lab.web.get("url") == place.url
        assert bench.http.get("/api/frame/cam").status_code == 200


def test_stop_ends_the_session_after_the_answer(runtime: Path) -> None:
    session = Session("bench", cam=Pattern(), web=Web())
    with session.running() as lab, httpx.Client(base_url=lab.web.get("url")) as http:
        assert http.post("/api/stop", json={}).status_code == 200
    assert session.ledger["streams"]["cam"]["published"] > 0


def test_a_browser_that_stays_connected_does_not_hold_up_the_stop(runtime: Path) -> None:
    with running(cam=Pattern(), web=Web()) as place, visiting(place) as bench:
        answer = bench.http.send(bench.http.build_request("GET", "/api/events"), stream=True)
        lines = answer.iter_lines()
        next(lines)
        bench.lab.stop()
        for _ in lines:
            pass  # until the server ends the connection
        answer.close()


def test_streams_that_are_not_listed_are_not_shown(runtime: Path) -> None:
    with (
        running(cam=Pattern(), other=Pattern(), web=Web(sources=["cam"])) as place,
        visiting(place) as bench,
    ):
        assert list(bench.http.get("/api/session").json()["streams"]) == ["cam"]
        assert list(bench.http.get("/api/status").json()["streams"]) == ["cam"]
        assert bench.http.get("/api/frame/other").status_code == 404


def test_encrypted(runtime: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    with Session(
        "bench", cam=Pattern(), web=Web(tls_cert=str(cert), tls_key=str(key))
    ).running() as lab:
        url = lab.web.get("url")
        assert url.startswith("https://127.0.0.1:")
        with httpx.Client(verify=ssl.create_default_context(cafile=cert)) as http:
            assert http.get(f"{url}api/session").status_code == 200


def test_a_certificate_without_its_key_or_file_is_named(runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"web\.tls_key: give both"):
        Session("bench", cam=Pattern(), web=Web(tls_cert="cert.pem")).run(1)
    nowhere = str(tmp_path / "nothing.pem")
    with pytest.raises(NodeError, match=r"web: tls_cert .*nothing\.pem"):
        Session("bench", cam=Pattern(), web=Web(tls_cert=nowhere, tls_key=nowhere)).run(1)
