"""Bodies, answers and errors as JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from marey.errors import (
    ActionError,
    MareyError,
    NoAnswer,
    NodeMissing,
    RecordingError,
    SessionError,
    SettingError,
    StreamClosed,
    StreamError,
    StreamMissing,
)
from marey.sinks.web.guard import MAX_BODY

STATUS: dict[type[Exception], int] = {
    StreamMissing: 404,
    NodeMissing: 404,
    StreamClosed: 410,
    StreamError: 422,
    SettingError: 422,
    ActionError: 422,
    RecordingError: 422,
    NoAnswer: 504,
    SessionError: 503,
}


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > MAX_BODY:
            raise HTTPException(413, f"body: expected at most {MAX_BODY} bytes")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(415, f"Content-Type: found {kind!r}, expected 'application/json'")
    try:
        found = json.loads(text, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode()  # refuses half characters
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"body: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise HTTPException(400, f"body: found {type(found).__name__}, expected an object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def fields_in(message: str) -> dict[str, str]:
    """The message of each refused setting: `node.field: why; node.other: why`."""
    found = {}
    for part in re.split(r"; (?=[\w-]+\.\w[\w.]*: )", message):
        match = re.match(r"[\w-]+\.(\w+)[\w.]*: (.+)", part, re.DOTALL)
        if match:
            found[match[1]] = match[2]
    return found


def only_settings(node: str, values: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    """Settings that may become keyword arguments: without names that are arguments themselves.

    Raises:
        SettingError: there is one; no node has a setting of such a name.
    """
    for name in values:
        if name in taken:
            raise SettingError(f"{node}.{name}: there is no such setting")
    return values


def arguments_in(message: str, action: str) -> dict[str, str]:
    """The message of each refused argument: `node.action(arg): why; action(other): why`."""
    pattern = (
        rf"(?:^[\w-]+\.|; ){re.escape(action)}\((\w+)[\w.]*\): (.+?)(?=; {re.escape(action)}\(|$)"
    )
    return {match[1]: match[2] for match in re.finditer(pattern, message, re.DOTALL)}


def refused(error: MareyError, fields: dict[str, str]) -> Response:
    """The answer to settings or arguments that were refused, by field where they are named."""
    told: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if fields:
        told |= {"field": next(iter(fields)), "fields": fields}
    return to_json({"error": told}, STATUS[type(error)])


async def on_marey_error(request: Request, error: Exception) -> Response:
    """What marey refuses."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return to_json({"error": {"type": type(error).__name__, "message": str(error)}}, status)


async def on_query_error(request: Request, error: Exception) -> Response:
    """What is asked after the `?` in a wrong way."""
    problems = cast(ValidationError, error).errors()
    field = ".".join(str(part) for part in problems[0]["loc"])
    message = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
    told = {"type": "QueryError", "message": message, "field": field}
    return to_json({"error": told}, 422)


async def on_failure(request: Request, error: Exception) -> Response:
    """A mistake of this program: the page is told, the log has the traceback."""
    told = {"type": type(error).__name__, "message": f"{request.url.path}: {error}"}
    return to_json({"error": told}, 500)


async def on_http_error(request: Request, error: Exception) -> Response:
    """What has no address here, or was asked in a wrong way."""
    found = cast(HTTPException, error)
    return to_json({"error": {"type": "HTTP", "message": found.detail}}, found.status_code)


def to_text(value: Any) -> str:
    """JSON, in one line."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def to_json(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(
        to_text(value), status, {"Cache-Control": "no-store"}, media_type="application/json"
    )


def _finite(value: Any) -> Any:
    """JSON knows no NaN: the page is told null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
