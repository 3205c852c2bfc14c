"""What every sink must do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from marey.node import Node, Sink
from marey.stream import Spec
from marey.testing.film import Film
from marey.testing.node import NodeSuite
from marey.testing.rig import LetGo, Rig

_ROW = np.dtype([("bead", "u4"), ("x", "f4"), ("y", "f4")])

Array = np.ndarray[Any, Any]


class SinkSuite(NodeSuite):
    """The contract of `marey.Sink`.

    The node is given pictures of several types and rows of results, unless `items` gives
    something else.
    """

    def items(self) -> dict[str, tuple[Spec, Sequence[Array]]]:
        """What the sink is given, by the name of the stream."""
        random = np.random.default_rng(1)
        gray = random.integers(0, 256, (6, 48, 64), np.uint8)
        rows = [np.zeros(n, _ROW) for n in (3, 0, 5)]
        return {
            "gray8": (Spec((48, 64), gray.dtype, 100.0, "Mono8"), list(gray)),
            "gray16": (Spec((48, 64), np.dtype("u2"), 100.0, "Mono16"), list(gray.astype("u2"))),
            "float": (Spec((48, 64), np.dtype("f4"), 100.0), list(gray.astype("f4"))),
            "color": (
                Spec((48, 64, 3), gray.dtype, 100.0, "RGB8"),
                [np.repeat(picture[..., None], 3, axis=2) for picture in gray],
            ),
            "sizes": (
                Spec((48, 64), gray.dtype, 100.0, "Mono8"),
                [picture[:side, :side] for side, picture in enumerate(gray, 8)],
            ),
            "rows": (Spec((5,), _ROW, 100.0), rows),
        }

    def companions(self) -> dict[str, Node]:
        """Further nodes that its session needs, by name."""
        return {}

    def sink(self) -> Sink:
        """The node, which must be a sink."""
        node = self.node()
        assert isinstance(node, Sink)
        return node

    def _given(self, node: Sink) -> list[tuple[str, Spec, Sequence[Array]]]:
        """The items under the names that the node reads; it has one source, or any."""
        items = self.items()
        names = node.sources or list(items)
        return [(name, *item) for name, item in zip(names, items.values(), strict=False)]

    def test_it_takes_all_that_streams_carry(self, rig: Rig) -> None:
        """Gray and colour, integers and floats, items of differing size, rows, and no rows."""
        node = self.sink()
        if node.on_demand:
            return
        with rig.opened(node):
            for name, spec, items in self._given(node):
                with rig.stream(name, spec, items) as frames:
                    for frame in frames:
                        node.append(name, frame)

    def test_it_does_not_change_or_keep_what_it_is_given(self, rig: Rig) -> None:
        """The pixels are the same afterwards, and neither frame nor view outlives `append`."""
        node = self.sink()
        if node.on_demand:
            return
        with rig.opened(node):
            for name, spec, items in self._given(node):
                with rig.stream(name, spec, items) as frames:
                    for frame in frames:
                        before = frame.copy()
                        with LetGo(frame):
                            node.append(name, frame)
                        np.testing.assert_array_equal(frame.data, before)

    def test_it_runs_in_a_session(self, rig: Rig) -> None:
        """In its own process it takes every frame of a film."""
        node = self.sink()
        pictures = np.random.default_rng(1).integers(0, 256, (20, 48, 64), np.uint8)
        np.save(rig.folder / "film.npy", pictures)
        name = node.sources[0] if node.sources else "film"
        film: dict[str, Node] = {name: Film(file=str(rig.folder / "film.npy"))}
        streams = rig.run(
            {name: len(pictures)}, self.patience, node=node, **film | self.companions()
        )
        assert streams[name]["published"] == len(pictures)
        if node.reads == "every" and not node.on_demand:
            reader = streams[name]["readers"]["node"]
            assert (reader["received"], reader["lost"]) == (len(pictures), 0)
