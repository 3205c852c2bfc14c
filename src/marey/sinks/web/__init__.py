"""The sink that serves the live page."""

from __future__ import annotations

import contextlib
import json
import os
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from marey._native import CORE_FILE
from marey.errors import SettingError
from marey.node import Setting, Sink
from marey.stream import Frame

if TYPE_CHECKING:
    from marey.sinks.web.events import Events
    from marey.sinks.web.server import PageServer
    from marey.sinks.web.view import SessionView

MIN_TOKEN = 16
"""The fewest characters of a token: a shorter one could be guessed."""

PAGE = Path(CORE_FILE).parents[1] / "sinks" / "page"
"""The built page lies beside the native module, in an editable installation, too."""


class Web(Sink):
    """A live page in the browser: images, overlays, plots, settings, recording, losses.

    The page reads streams only while somebody looks at it; it never holds up a camera. It is
    served to this machine alone unless `host` says otherwise; then whoever opens it must know the
    token, which is part of the address told by `url`.
    """

    reads: ClassVar[Literal["every", "latest"]] = "latest"
    on_demand: ClassVar[bool] = True

    host: str = Setting(
        "127.0.0.1",
        apply="start",
        min_length=1,
        description="address to serve on; 0.0.0.0 for every network of this machine",
    )
    port: int = Setting(0, ge=0, le=65535, apply="start", description="0 for any free port")
    token: str = Setting(
        "",
        apply="start",
        advanced=True,
        pattern=rf"^([A-Za-z0-9_-]{{{MIN_TOKEN},}})?$",
        description=f"what one must know to open the page, {MIN_TOKEN} or more of letters, digits, "
        "- and _; left empty, one is made up where it is needed",
    )
    tls_cert: str = Setting(
        "", apply="start", advanced=True, description="certificate file, PEM; with it, HTTPS"
    )
    tls_key: str = Setting(
        "", apply="start", advanced=True, description="file of the certificate's key, PEM"
    )
    max_fps: float = Setting(
        60.0, gt=0, le=1000, unit="1/s", description="frames that a page shows each second at most"
    )
    open_browser: bool = Setting(
        False, apply="start", advanced=True, description="open the page in a browser at the start"
    )
    url: str = Setting("", readonly=True, description="address of the page")

    _server: PageServer | None = None
    _events: Events | None = None
    _view: SessionView | None = None

    def open(self) -> None:
        """Serve the page.

        Raises:
            NodeError: the port is in use, or a certificate cannot be used.
        """
        # Imported here, since whoever only describes a session needs no web server.
        from marey.sinks.web.app import Api
        from marey.sinks.web.events import Events
        from marey.sinks.web.guard import Guard, is_loopback, new_token
        from marey.sinks.web.server import PageServer, bind
        from marey.sinks.web.view import SessionView

        if bool(self.tls_cert) != bool(self.tls_key):
            raise SettingError(f"{self.name}.tls_key: give both tls_cert and tls_key, or neither")
        before = self._recall()
        tls = (self.tls_cert, self.tls_key) if self.tls_cert else None
        listening = bind(self.name, self.host, self.port, before.get("port"))
        try:
            host, port = listening.getsockname()[:2]
            token = self.token
            if not token and not is_loopback(host):
                token = before.get("token") or new_token()
            self._view = SessionView(self.lab, self.sources)
            self._events = Events(self.lab)
            api = Api(self._view, self._events, PAGE, self._facts)
            guard = Guard(api.app(), host=host, port=port, token=token, secure=tls is not None)
            self._server = PageServer(self.name, guard, listening, tls)
            self._server.start()
            self._events.start()
        except BaseException:
            listening.close()
            raise
        self._remember(port, token)
        shown = "localhost" if host in ("0.0.0.0", "::") else host
        place = f"[{shown}]" if ":" in shown else shown
        query = f"?token={token}" if token else ""
        self.url = f"{'https' if tls else 'http'}://{place}:{port}/{query}"
        self.log.info("the page is at %s", self.url)
        if self.open_browser:
            webbrowser.open(self.url)

    def append(self, name: str, frame: Frame) -> None:
        """Nothing: the page reads streams when it is asked."""

    def close(self) -> None:
        """Let all browsers go."""
        if self._events is not None:
            self._events.close()
        if self._server is not None:
            self._server.close()
        if self._view is not None:
            self._view.close()
        if self._lab is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._notes)

    def _facts(self) -> dict[str, Any]:
        return {"web": self.name, "max_fps": self.max_fps}

    # A page that is open must find the server again when the node was killed and started anew.

    @property
    def _notes(self) -> Path:
        return self.lab.folder / f"{self.name}.web.json"

    def _recall(self) -> dict[str, Any]:
        try:
            found = json.loads(self._notes.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _remember(self, port: int, token: str) -> None:
        descriptor = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"port": port, "token": token}, file)
