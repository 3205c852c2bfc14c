"""The HTTP interface of the page: what each address answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from marey.errors import ActionError, MareyError, SettingError, StreamError
from marey.sinks.web import frames, rows
from marey.sinks.web.answers import (
    arguments_in,
    body_of,
    fields_in,
    on_failure,
    on_http_error,
    on_marey_error,
    on_query_error,
    only_settings,
    refused,
    to_json,
    to_text,
)
from marey.sinks.web.events import Events
from marey.sinks.web.view import SessionView
from marey.sinks.web.waiting import newer, rows_frame
from marey.stream import Frame, Source

_POLL = 1.0  # s that a question for a newer frame waits at most
_TRIES = 4  # copies of frames that were overwritten meanwhile, before a newer one is waited for
_ACTION_TIMEOUT = 60.0  # s without an answer or a sign of progress


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class FrameQuery(_Query):
    """What may be asked of a frame."""

    after: int | None = None
    width: int | None = Field(None, ge=1, le=65536)
    format: frames.Format = "raw"
    lo: float | None = None
    hi: float | None = None
    quality: int = Field(85, ge=1, le=100)
    at: str | None = Field(None, pattern=r"^\d{1,6},\d{1,6}$")


class RowsQuery(_Query):
    """What may be asked of rows; `latest` is the newest item, as no number at all."""

    source_seq: int | None = Field(None, ge=0)
    latest: str | None = None
    wait: float = Field(0.0, ge=0, le=_POLL)
    fields: str = ""


class SeriesQuery(_Query):
    """What may be asked of a series."""

    field: str
    row: int = Field(0, ge=0)
    key: str | None = None
    after: int | None = None
    seconds: float = Field(60.0, gt=0, le=3600)
    step: int | None = Field(None, ge=1)
    max: int = Field(2000, ge=1, le=100_000)


class Api:
    """Answers the page.

    Args:
        view: the session.
        events: its events.
        page: the folder of the built page.
        facts: further facts for the page, asked for anew each time.
    """

    def __init__(
        self, view: SessionView, events: Events, page: Path, facts: Callable[[], dict[str, Any]]
    ) -> None:
        self._view = view
        self._events = events
        self._page = page
        self._facts = facts

    def app(self) -> Starlette:
        """The application."""
        routes: list[BaseRoute] = [
            Route("/", self.index),
            Route("/api/session", self.session),
            Route("/api/session", self.set_session, methods=["POST"]),
            Route("/api/status", self.status),
            Route("/api/events", self.events),
            Route("/api/frame/{stream}", self.frame),
            Route("/api/histogram/{stream}", self.histogram),
            Route("/api/rows/{stream}", self.rows),
            Route("/api/series/{stream}", self.series),
            Route("/api/set/{node}", self.set_node, methods=["POST"]),
            Route("/api/do/{node}/{action}", self.do, methods=["POST"]),
            Route("/api/stop", self.stop, methods=["POST"]),
        ]
        if (self._page / "assets").is_dir():
            routes.append(Mount("/assets", StaticFiles(directory=self._page / "assets")))
        handlers = {
            MareyError: on_marey_error,
            ValidationError: on_query_error,
            HTTPException: on_http_error,
            Exception: on_failure,
        }
        return Starlette(routes=routes, exception_handlers=cast(Any, handlers))

    # ------------------------------------------------------------ session

    async def index(self, request: Request) -> Response:
        """The page itself."""
        path = self._page / "index.html"
        if not path.is_file():
            raise HTTPException(
                503, "this installation has no page: it was built with MAREY_PAGE=OFF"
            )
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    async def session(self, request: Request) -> Response:
        """Nodes with their forms, and streams."""
        return to_json(await run_in_threadpool(self._view.session) | self._facts())

    async def status(self, request: Request) -> Response:
        """Live counters."""
        return to_json(await run_in_threadpool(self._view.status))

    async def set_session(self, request: Request) -> Response:
        """Change session-wide settings."""
        values = await body_of(request)
        try:
            values = only_settings("session", values, {"self", "node", "verb", "name"})
            told = await run_in_threadpool(partial(self._view.lab.set, **values))
        except SettingError as error:
            return refused(error, fields_in(str(error)))
        return to_json({"settings": told})

    async def set_node(self, request: Request) -> Response:
        """Change settings of a node, all or none."""
        node = request.path_params["node"]
        values = await body_of(request)
        handle = await run_in_threadpool(self._view.lab.__getitem__, node)
        try:
            values = only_settings(node, values, {"self"})
            told = await run_in_threadpool(partial(handle.set, **values))
        except SettingError as error:
            return refused(error, fields_in(str(error)))
        return to_json({"settings": told})

    async def do(self, request: Request) -> Response:
        """Call an action of a node."""
        node, action = request.path_params["node"], request.path_params["action"]
        args = await body_of(request)
        await run_in_threadpool(self._view.lab.__getitem__, node)
        try:
            answer = await run_in_threadpool(
                self._view.lab.call, node, action, args, _ACTION_TIMEOUT
            )
        except ActionError as error:
            return refused(error, arguments_in(str(error), action))
        return to_json({"answer": answer})

    async def stop(self, request: Request) -> Response:
        """Stop the session, this page with it."""
        await body_of(request)
        await run_in_threadpool(self._view.lab.stop)
        return to_json({})

    async def events(self, request: Request) -> Response:
        """Server-sent events; `Last-Event-ID` continues where a connection broke."""

        async def lines() -> AsyncIterator[str]:
            yield "retry: 1000\n\n"
            async for event in self._events.follow(request.headers.get("last-event-id")):
                if event is None:
                    yield ": alive\n\n"
                else:
                    yield f"id: {event['id']}\ndata: {to_text(event)}\n\n"

        return StreamingResponse(
            lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    # ------------------------------------------------------------ streams

    async def frame(self, request: Request) -> Response:
        """The newest frame after the one named; waits for it for up to a second."""
        query = FrameQuery.model_validate(dict(request.query_params))
        source = await self._source(request)
        until = time.monotonic() + _POLL
        after = query.after
        if after is not None and after >= source.head:
            after = None  # counted in an earlier life of the session
        for _ in range(_TRIES):
            if not await newer(source, after, until):
                break
            frame = source.at(source.head - 1)
            told = await run_in_threadpool(_picture, frame, query) if frame is not None else None
            if told is not None:
                return told
        return Response(status_code=204)

    async def histogram(self, request: Request) -> Response:
        """How often which values occur in the newest frame."""
        source = await self._source(request)
        if not source.head:
            return Response(status_code=204)
        frame = source.at(source.head - 1)
        if frame is None:
            return Response(status_code=204)
        found = await run_in_threadpool(frames.histogram, frame.data, source.spec)
        # A torn sample would still be a fair one, but it may not be of the newest frame.
        return to_json(found) if frame.valid() else Response(status_code=204)

    async def rows(self, request: Request) -> Response:
        """The rows made of an item of the source, or, if there are none yet, of one before it."""
        query = RowsQuery.model_validate(dict(request.query_params))
        source = await self._source(request)
        if not source.spec.is_rows:
            raise StreamError(f"stream '{source.name}': holds frames, expected rows")
        frame = await rows_frame(source, query.source_seq, query.wait)
        if frame is None:
            return Response(status_code=204)
        names = [name for name in query.fields.split(",") if name]
        told = {
            "seq": frame.seq,
            "source_seq": frame.source_seq,
            "host_time": frame.host_time / 1e9,
            "columns": rows.columns(frame.data, names),
        }
        return to_json(told) if frame.valid() else Response(status_code=204)

    async def series(self, request: Request) -> Response:
        """One field of one row against time."""
        query = SeriesQuery.model_validate(dict(request.query_params))
        source = await self._source(request)
        found = await run_in_threadpool(
            rows.series,
            source,
            query.field,
            query.row,
            key=query.key,
            after=query.after,
            seconds=query.seconds,
            most=query.max,
            step=query.step,
        )
        return to_json(found)

    async def _source(self, request: Request) -> Source:
        return await run_in_threadpool(self._view.source, request.path_params["stream"])


def _picture(frame: Frame, query: FrameQuery) -> Response | None:
    """What is sent of a frame; None where it was overwritten meanwhile."""
    data = frame.data
    picture = frames.render(data, query.width, query.format, query.lo, query.hi, query.quality)
    headers = {
        "X-Seq": str(frame.seq),
        "X-Shape": ",".join(map(str, data.shape)),
        "X-Host-Time": str(frame.host_time),
        "X-Lo": f"{picture.lo:.9g}",
        "X-Hi": f"{picture.hi:.9g}",
        "X-Step": str(picture.step),
        "Cache-Control": "no-store",
    }
    if query.at is not None:
        x, y = (int(part) for part in query.at.split(","))
        if y < data.shape[0] and x < data.shape[1]:
            headers["X-At"] = query.at
            headers["X-Value"] = ",".join(f"{v:.9g}" for v in np.atleast_1d(data[y, x]).tolist())
    if not frame.valid():
        return None
    kind = "image/jpeg" if query.format == "jpeg" else "application/octet-stream"
    return Response(picture.body, headers=headers, media_type=kind)
