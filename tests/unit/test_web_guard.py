"""Who may talk to the page, asked of the guard alone."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from marey.sinks.web.guard import Guard, is_loopback, new_token

TOKEN = "0123456789abcdef-_XY"


def ask(
    *, token: str = "", method: str = "GET", path: str = "/", secure: bool = False, **headers: str
) -> httpx.Response:
    """What a guarded application answers; names of headers with _ for -."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("inside")(scope, receive, send)

    async def go() -> httpx.Response:
        guard = Guard(app, host="127.0.0.1", port=8080, token=token, secure=secure)
        scheme = "https" if secure else "http"
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(guard), base_url=f"{scheme}://127.0.0.1:8080"
        ) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named)

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.5.6.7", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.evil.org", False),
        ("127.0.0.1.evil.org", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert ask(host=host).text == "inside"


@pytest.mark.parametrize("host", ["evil.org:8080", "127.0.0.1.evil.org", "192.168.1.2:8080", ""])
def test_a_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    answer = ask(host=host)
    assert answer.status_code == 421
    assert "expected an address of this machine" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "origin", ["http://evil.org", "http://127.0.0.1:9999", "https://127.0.0.1:8080", "null"]
)
def test_another_site_changes_nothing(method: str, origin: str) -> None:
    assert ask(method=method, origin=origin).status_code == 403


def test_the_page_itself_and_programs_may_change_things() -> None:
    assert ask(method="POST", origin="http://127.0.0.1:8080").text == "inside"
    assert ask(method="POST").text == "inside"
    assert ask(method="POST", origin="https://127.0.0.1:8080", secure=True).text == "inside"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_reads_nothing_but_may_lead_here(site: str) -> None:
    assert ask(path="/api/frame/cam", sec_fetch_site=site, sec_fetch_mode="cors").status_code == 403
    assert ask(sec_fetch_site=site, sec_fetch_mode="navigate").text == "inside"
    assert ask(sec_fetch_site="same-origin", sec_fetch_mode="cors").text == "inside"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"cookie": f"marey_8081={TOKEN}"},
        {"cookie": "marey_8080=wrong"},
        {"cookie": "\x00=;=;;"},
    ],
)
def test_without_the_token_nothing_is_told(headers: dict[str, str]) -> None:
    answer = ask(token=TOKEN, path="/api/session", **headers)
    assert answer.status_code == 401
    assert "inside" not in answer.text
    assert TOKEN not in answer.text


def test_the_token_opens() -> None:
    assert ask(token=TOKEN, authorization=f"Bearer {TOKEN}").text == "inside"
    assert ask(token=TOKEN, cookie=f"other=1; marey_8080={TOKEN}").text == "inside"
    assert ask(token=TOKEN, cookie=f"marey_8080={TOKEN}", host="lab.example.org").text == "inside"


def test_the_token_in_the_address_becomes_a_cookie() -> None:
    answer = ask(token=TOKEN, path=f"/?a=1&token={TOKEN}&b=2")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/?a=1&b=2"
    cookie = answer.headers["Set-Cookie"]
    assert cookie == f"marey_8080={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    secure = ask(token=TOKEN, path=f"/?token={TOKEN}", secure=True)
    assert secure.headers["Set-Cookie"].endswith("; Secure")


def test_a_token_never_leads_to_another_host() -> None:
    answer = ask(token=TOKEN, path=f"/%2fevil.org/?token={TOKEN}")
    assert answer.headers["Location"] == "/evil.org/"


def test_a_wrong_token_in_the_address_asks_for_it_again() -> None:
    answer = ask(token=TOKEN, path="/?token=wrong", accept="text/html")
    assert answer.status_code == 401
    assert '<input name="token"' in answer.text


def test_a_body_that_says_it_is_too_long_is_refused() -> None:
    assert ask(method="POST", content_length=str(10**9)).status_code == 413
    assert ask(method="POST", content_length="many").status_code == 413


def test_made_up_tokens_are_long_and_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 32
