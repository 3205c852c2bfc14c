"""A supervisor in a thread of somebody else's program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marey.session.supervisor import Supervisor


@contextmanager
def in_background(supervisor: Supervisor) -> Iterator[None]:
    """Run a session as long as the `with` block lasts; it is entered when all nodes are running.

    Raises:
        NodeError: a node could not start; names it and says why.
        NodeFailed: a node failed for good.
    """
    ready = threading.Event()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run(None, signals=False, on_ready=lambda _: ready.set())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name=f"supervisor-{supervisor.name}")
    thread.start()
    try:
        ready.wait()
        if not failure:
            yield
    finally:
        supervisor.stop()
        thread.join()
    if failure:
        raise failure[0]
