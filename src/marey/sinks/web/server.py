"""An HTTP server in a thread of the sink's process."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from marey.errors import NodeError

_CONNECTIONS = 512
_BACKLOG = 128
_START_S = 10.0
_GOODBYE_S = 2  # time for answers that are under way when the server is closed


def bind(node: str, host: str, port: int, preferred: int | None = None) -> socket.socket:
    """A listening socket.

    Args:
        node: whose it is, for messages.
        host: address or name to bind to.
        port: 0 for any free one.
        preferred: tried first where `port` is 0.

    Raises:
        NodeError: the port is in use, or this machine has no such address.
    """
    try:
        family, kind, proto, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise NodeError(
            f"{node}.host: found '{host}', expected an address of this machine ({error.strerror})"
        ) from error
    if port == 0 and preferred:
        try:
            return _listen(family, kind, proto, (place[0], preferred, *place[2:]))
        except OSError:
            pass  # somebody took it meanwhile: any other will do
    try:
        return _listen(family, kind, proto, place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NodeError(
                f"{node}.port: {port} on {host} is in use; choose another, or 0 for any free one"
            ) from error
        raise NodeError(
            f"{node}: cannot serve on '{host}' port {port}: {error.strerror}"
        ) from error


def _listen(family: int, kind: int, proto: int, place: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, kind, proto)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: REUSEADDR would share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


class _Uvicorn(uvicorn.Server):
    """A server that tells when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class PageServer:
    """Serves an application until it is closed.

    Args:
        node: whose it is, for messages.
        app: what answers.
        listening: a bound socket, which is closed with the server.
        tls: certificate and key files; None for plain HTTP.

    Raises:
        NodeError: the certificate or the key cannot be used.
    """

    def __init__(
        self, node: str, app: ASGIApp, listening: socket.socket, tls: tuple[str, str] | None
    ) -> None:
        self._node = node
        self._socket = listening
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GOODBYE_S,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise NodeError(
                f"{node}: tls_cert '{tls and tls[0]}' and tls_key '{tls and tls[1]}': {error}"
            ) from error
        self._server = _Uvicorn(config)
        self._thread = threading.Thread(target=self._run, name=f"{node}-http", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Serve; returns when requests are answered.

        Raises:
            NodeError: the server did not start.
        """
        self._thread.start()
        if not self._server.ready.wait(_START_S) or self._failure is not None:
            raise NodeError(f"{self._node}: the server did not start") from self._failure

    def close(self) -> None:
        """Answer what is under way, then end."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - raised where the start is waited for
            self._failure = error
        finally:
            self._server.ready.set()
