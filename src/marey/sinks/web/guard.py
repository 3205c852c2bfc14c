"""Who may talk to the page: tokens, host names, origins and sizes.

Rules: bound to loopback, the page needs no token, but a web site in the user's browser must not
reach it: neither by a name made to point here (DNS rebinding; the Host header tells) nor by
requests on the user's behalf (CSRF; Origin and Sec-Fetch-Site tell). Bound wider, a token is
needed.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1 << 20
"""The greatest body of a request, bytes."""

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
]


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token of 192 random bits."""
    return secrets.token_urlsafe(24)


_ASK = """<!doctype html>
<meta charset="utf-8"><meta name="color-scheme" content="dark"><title>marey</title>
<form action="/"><p>This page needs the token that marey tells with its address
(<code>marey get SESSION web url</code>).</p>
<label>Token <input name="token" type="password" autofocus required></label> <button>Open</button>
</form>
"""


class Refusal(Exception):
    """A request that is answered with an error and goes no further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Lets through what keeps the rules.

    Args:
        app: what is guarded.
        host: the address that the server is bound to.
        port: its port.
        token: what must be known; empty for a server that only this machine can reach.
        secure: whether the server speaks TLS.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, token: str, secure: bool) -> None:
        self._app = app
        self._host = host
        self._token = token
        self._secure = secure
        # Cookies are shared between the ports of a host; two sessions must not overwrite theirs.
        self._cookie = f"marey_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return None
        headers = Headers(scope=scope)
        try:
            self._check_place(headers, scope["method"])
            if self._token:
                redirect = self._admit(scope)
                if redirect is not None:
                    return await _answer(send, 303, b"", redirect)
                if not self._knows(headers):
                    raise Refusal(401, "the page needs the token that marey tells with its address")
            _check_length(headers)
            await self._app(scope, receive, _with_headers(send))
        except Refusal as refusal:
            body, kind = _explain(refusal, headers)
            await _answer(send, refusal.status, body, [(b"content-type", kind)])
        return None

    def _check_place(self, headers: Headers, method: str) -> None:
        host = headers.get("host", "")
        if not self._token and not is_loopback(_name_of(host)) and _name_of(host) != self._host:
            raise Refusal(
                421, f"Host: found {host!r}, expected an address of this machine such as 127.0.0.1"
            )
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(403, f"Sec-Fetch-Site: found {site!r}, expected a request of this page")
        if method in ("GET", "HEAD"):
            return
        origin = headers.get("origin")
        scheme = "https" if self._secure else "http"
        if origin is not None and origin != f"{scheme}://{host}":
            raise Refusal(403, f"Origin: found {origin!r}, expected {scheme}://{host}")

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._same(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and self._same(cookie.value)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _admit(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """Headers that turn `?token=` into a cookie and an address without it."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), None)
        if given is None or scope["method"] != "GET" or not self._same(given):
            return None
        rest = urlencode([(name, value) for name, value in pairs if name != "token"])
        # One slash: "//elsewhere" would be another host.
        path = "/" + scope["path"].lstrip("/")
        location = f"{path}?{rest}" if rest else path
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        return [
            (b"location", location.encode("latin-1", "replace")),
            (b"set-cookie", (cookie + ("; Secure" if self._secure else "")).encode()),
        ]


def _name_of(host: str) -> str:
    """`Host` without its port."""
    if host.startswith("["):
        return host.partition("]")[0].strip("[]")
    return host.rpartition(":")[0] if ":" in host else host


def _explain(refusal: Refusal, headers: Headers) -> tuple[bytes, bytes]:
    """The body and its type: a form that asks a person for the token, JSON for a program."""
    if refusal.status == 401 and "text/html" in headers.get("accept", ""):
        return _ASK.encode(), b"text/html; charset=utf-8"
    error = {"type": "Refused", "message": str(refusal)}
    return json.dumps({"error": error}).encode(), b"application/json"


def _check_length(headers: Headers) -> None:
    told = headers.get("content-length", "0")
    if not told.isdigit() or int(told) > MAX_BODY:
        raise Refusal(413, f"body: found {told} bytes, expected at most {MAX_BODY}")


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            if all(name.lower() != b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-cache"))  # a new version shows at once
            message = {**message, "headers": [*headers, *_ALWAYS]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [*headers, length]}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": body})
