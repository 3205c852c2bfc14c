"""What every processor must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from marey.node import Node, Processor
from marey.stream import Spec
from marey.stream.stream import as_item
from marey.testing.film import Film, Witness
from marey.testing.node import NodeSuite
from marey.testing.rig import LetGo, Rig

Array = np.ndarray[Any, Any]


class ProcessorSuite(NodeSuite):
    """The contract of `marey.Processor`.

    The node reads noise of 64 x 64 pixels of u8, unless `pictures` gives something else.
    """

    def pictures(self) -> Sequence[Array]:
        """What the processor is given: pictures of one shape and type."""
        return list(np.random.default_rng(1).integers(0, 256, (8, 64, 64), np.uint8))

    def companions(self) -> dict[str, Node]:
        """Further nodes that its session needs, by name."""
        return {}

    def processor(self) -> Processor:
        """The node, which must be a processor."""
        node = self.node()
        assert isinstance(node, Processor)
        return node

    def _spec(self) -> Spec:
        first = self.pictures()[0]
        return Spec(first.shape, first.dtype, rate=100.0)

    @contextmanager
    def _at_work(self, rig: Rig, node: Processor) -> Iterator[tuple[Spec, Iterator[Any]]]:
        """The node, open, what it will publish, and frames (or blocks) for it."""
        spec, pictures = self._spec(), self.pictures()
        with rig.opened(node), rig.stream(node.source, spec, pictures, node.block) as frames:
            yield node.describe(spec), frames

    def test_it_describes_its_results(self, rig: Rig) -> None:
        """Rows with a known type, or pictures."""
        node = self.processor()
        with rig.opened(node):
            spec = node.describe(self._spec())
        assert isinstance(spec, Spec)
        assert Spec.from_json(spec.to_json()) == spec
        if node.row is not None:
            assert spec.dtype == node.row

    def test_its_results_fit_the_description(self, rig: Rig) -> None:
        """Results are None or arrays of the type described, and no larger."""
        node = self.processor()
        with self._at_work(rig, node) as (spec, frames):
            for frame in frames:
                result = node.process(frame)
                if result is not None:
                    _check_item(as_item(result, spec), spec)

    def test_what_it_emits_fits_the_description(self, rig: Rig) -> None:
        """What goes to further streams is named and typed by `also`."""
        node = self.processor()
        with self._at_work(rig, node) as (_, frames):
            also = node.also()
            for frame in frames:
                node.process(frame)
        for stream, rows in rig.emitted:
            assert stream in also
            _check_item(as_item(rows, also[stream]), also[stream])

    def test_it_does_not_change_its_input(self, rig: Rig) -> None:
        """The pixels are the same afterwards: others read them, too."""
        node = self.processor()
        with self._at_work(rig, node) as (_, frames):
            for frame in frames:
                before = frame.copy()
                node.process(frame)
                np.testing.assert_array_equal(frame.data, before)

    def test_it_does_not_keep_its_input(self, rig: Rig) -> None:
        """Neither the frame nor a view of its pixels outlives `process`: the memory is reused."""
        node = self.processor()
        with self._at_work(rig, node) as (_, frames):
            for frame in frames:
                with LetGo(frame):
                    result = node.process(frame)
                    if result is not None:
                        shared = np.shares_memory(result, frame.data)
                        assert not shared, "the result is a view of the frame"
                    del result

    def test_it_runs_in_a_session(self, rig: Rig) -> None:
        """In its own process it takes every frame of a film."""
        node = self.processor()
        pictures = self.pictures()
        np.save(rig.folder / "film.npy", np.stack(pictures))
        film: dict[str, Node] = {node.source: Film(file=str(rig.folder / "film.npy"))}
        others = film | self.companions() | {"sink": Witness(sources=["node"])}
        streams = rig.run({node.source: len(pictures)}, self.patience, node=node, **others)
        assert streams[node.source]["published"] == len(pictures)
        reader = streams[node.source]["readers"]["node"]
        if node.reads == "every":
            taken = len(pictures) - len(pictures) % node.block
            assert (reader["received"], reader["lost"]) == (taken, 0)
        assert streams["node"]["readers"]["sink"]["received"] == streams["node"]["published"]


def _check_item(item: Array, spec: Spec) -> None:
    assert item.ndim == len(spec.shape)
    assert all(n <= most for n, most in zip(item.shape, spec.shape, strict=True)), item.shape
