"""Who reads what: the wiring of a session, checked before and while it starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from marey.errors import SessionError
from marey.node import Device, Node, Processor, Sink


def sources_of(node: Node) -> list[str]:
    """The streams that a node names as its sources."""
    if isinstance(node, Processor):
        return [node.source]
    if isinstance(node, Sink):
        return node.sources
    return []


def reads_nothing(node: Node) -> bool:
    """Whether a node does not come to its end when the streams do."""
    return isinstance(node, Sink) and node.on_demand


def check_wiring(session: str, nodes: Mapping[str, Node]) -> None:
    """Check that every source has a node that writes it, and that nothing goes round in circles.

    Raises:
        SessionError: names the node and what is wrong with its source.
    """
    if not nodes:
        raise SessionError(f"session '{session}': has no nodes")
    writers = [name for name, node in nodes.items() if _writes(node)]
    for name, node in nodes.items():
        for source in sources_of(node):
            if source.partition(".")[0] not in writers:
                raise SessionError(
                    f"{name}: reads '{source}', which no node writes; {_instead(source, writers)}"
                )
    for name in nodes:
        _check_circle(name, nodes)


def missing_source(name: str, node: Node, streams: Mapping[str, list[str]]) -> str:
    """What is wrong with a node's sources, given what other nodes turned out to write; or nothing.

    Args:
        name: the node's name.
        node: the node.
        streams: by node, as far as they have opened, the names of what they write.
    """
    for source in sources_of(node):
        writer = source.partition(".")[0]
        if writer in streams and source not in streams[writer]:
            return (
                f"{name}: reads '{source}', which '{writer}' does not write; "
                f"{_instead(source, streams[writer])}"
            )
    return ""


def root_of(name: str, nodes: Mapping[str, Node]) -> str:
    """The node at which a chain of processors begins, such as their camera."""
    node = nodes[name]
    while isinstance(node, Processor):
        name = node.source.partition(".")[0]
        node = nodes[name]
    return name


def _writes(node: Node) -> bool:
    return not isinstance(node, Sink) and not (
        isinstance(node, Device) and not hasattr(type(node), "row")
    )


def _check_circle(name: str, nodes: Mapping[str, Node]) -> None:
    seen, at = [name], nodes[name]
    while isinstance(at, Processor):
        source = at.source.partition(".")[0]
        if source in seen:
            raise SessionError(f"{name}: reads itself: {' <- '.join([*seen, source])}")
        seen.append(source)
        at = nodes[source]


def _instead(source: str, streams: Iterable[str]) -> str:
    streams = list(streams)
    close = difflib.get_close_matches(source, streams, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}streams are: {', '.join(streams) or 'none'}"
