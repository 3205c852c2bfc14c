"""Any order of operations on a stream does what a model in plain Python does."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marey.errors import StreamClosed, StreamError
from marey.stream import STAMP, UNKNOWN, Reader, Source, Spec, Stream
from support.model import Account, Got, Layout, ModelItem, ModelReader, ModelStream

# Items of one page, so that rings of any length are possible, the shortest ones too.
LAYOUTS = [Layout((64, 64), "|u1", slots) for slots in (1, 2, 3, 8)] + [
    Layout((32, 64), "<u2", 5),
    Layout((8, 128, 4), "|u1", 4),
    Layout((1024,), "<f4", 6),
]
MOST_READERS = 5

maybe = st.none() | st.integers(0, 2**64 - 2)
readers = st.integers(0, MOST_READERS - 1)


class RingMachine(RuleBasedStateMachine):
    """One writer, restarted at will, and up to five readers of all kinds."""

    lossless = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(dir=self.parent, prefix="m")
        self.layout = LAYOUTS[3]
        self.stream = self.create(self.layout)
        self.model = ModelStream(self.layout, lossless=self.lossless)
        self.writing = True
        self.handed_over = False
        self.readers: list[tuple[str, Reader, ModelReader]] = []
        self.frames: list[tuple[Any, Got]] = []
        self.left: dict[str, tuple[Account, int]] = {}
        self.names = 0
        self.count = 0

    parent: str

    def create(self, layout: Layout) -> Stream:
        spec = Spec(layout.shape, np.dtype(layout.dtype))
        return Stream(self.folder, "cam", spec, slots=layout.slots, lossless=self.lossless)

    def teardown(self) -> None:
        for _, reader, _ in self.readers:
            reader.close()
        self.stream.close()
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------ the writer

    def pixels(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        self.count += 1
        return np.full(shape, self.count % 251, self.layout.dtype)

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), source_seq=maybe, device_frame=maybe, whole=st.booleans())
    def write(
        self, data: st.DataObject, source_seq: int | None, device_frame: int | None, whole: bool
    ) -> None:
        shape = self.layout.shape
        if not whole:
            shape = tuple(data.draw(st.integers(0, n)) for n in shape)
        pixels = self.pixels(shape)
        stamps: dict[str, Any] = {"source_seq": source_seq, "device_frame": device_frame}
        if not self.model.lend(1):
            with pytest.raises(StreamError, match="no room"):
                self.stream.write(pixels, timeout=0, **stamps)
            return
        item = ModelItem(pixels, source_seq, device_frame, self.model.epoch)
        assert self.stream.write(pixels, timeout=0, **stamps) == self.model.publish(item)

    @precondition(lambda self: self.writing)
    @rule(n=st.integers(0, 12), strided=st.booleans())
    def write_block(self, n: int, strided: bool) -> None:
        blocks = [self.pixels(self.layout.shape) for _ in range(n)]
        block = np.array(blocks, self.layout.dtype).reshape(n, *self.layout.shape)
        if strided:
            block = np.repeat(block, 2, axis=-1)[..., ::2]
        chunk = max(1, self.layout.slots // 4)
        before, done = self.stream.head, 0
        while done < n and self.model.lend(min(chunk, n - done)):
            for pixels in blocks[done : done + chunk]:
                self.model.publish(ModelItem(pixels, None, None, self.model.epoch))
            done += min(chunk, n - done)
        if done < n:
            with pytest.raises(StreamError, match="no room"):
                self.stream.write_block(block, timeout=0)
        else:
            assert self.stream.write_block(block, timeout=0) == before

    @precondition(lambda self: self.writing)
    @rule(data=st.data())
    def lend(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(1, self.stream.most), "lent")
        m = data.draw(st.integers(0, n), "published")
        out = self.stream.lend(n, timeout=0)
        assert (out is not None) == self.model.lend(n)
        if out is None:
            return
        assert out.shape == (n, *self.layout.shape)
        stamps = np.zeros(m, STAMP)
        stamps["source_seq"] = UNKNOWN
        stamps["device_frame"] = np.arange(m)
        first = self.stream.head
        for i in range(m):
            out[i] = self.pixels(self.layout.shape)
            self.model.publish(ModelItem(out[i].copy(), None, i, self.model.epoch))
        if m:
            assert self.stream.publish(m, stamps) == first

    @precondition(lambda self: self.writing)
    @rule(ended=st.booleans())
    def close_writer(self, ended: bool) -> None:
        self.stream.close(ended=ended)
        if ended:
            self.model.close()
        self.writing = False

    @rule(layout=st.sampled_from(LAYOUTS), same=st.booleans())
    def restart_writer(self, layout: Layout, same: bool) -> None:
        if self.writing:
            with pytest.raises(StreamError, match="writes it already"):
                self.create(layout)
            return
        # Two new layouts in a row before a reader came: the one in between is lost to it.
        same = same or (self.lossless and not all(m.has_come for _, _, m in self.readers))
        self.layout = self.layout if same else layout
        self.stream = self.create(self.layout)
        self.model.restart(self.layout)
        self.writing = True

    # ------------------------------------------------------------ the readers

    @precondition(lambda self: len(self.readers) < MOST_READERS)
    @rule(
        policy=st.sampled_from(["every", "latest"]),
        start=st.sampled_from(["now", "oldest"]),
        block=st.integers(0, 4),
        keep=st.booleans(),
    )
    def attach(self, policy: Any, start: Any, block: int, keep: bool) -> None:
        keep = keep and not self.lossless
        if policy == "latest" or block > self.stream.most:
            block = 0
        self.names += 1
        self.open_reader(f"{'kept' if keep else 'free'}-{self.names}", policy, start, block)

    @precondition(lambda self: self.left and len(self.readers) < MOST_READERS)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.left)))
        account, block = self.left.pop(name)
        self.open_reader(name, account.policy, "now", min(block, self.stream.most))

    def open_reader(self, name: str, policy: Any, start: Any, block: int) -> None:
        source = Source(self.folder, "cam", reader=name, keep=name.startswith("kept"))
        if policy == "latest":
            reader, start = source.latest(), "now"
        elif block:
            reader = source.block(block, start=start)
        else:
            reader = source.every(start=start)
        self.readers.append((name, reader, self.model.attach(name, policy, start, max(1, block))))
        assert reader.cursor == self.readers[-1][2].account.cursor

    def some(self, i: int) -> tuple[str, Reader, ModelReader]:
        return self.readers[i % len(self.readers)]

    @precondition(lambda self: self.readers)
    @rule(i=readers, times=st.integers(1, 5))
    def read(self, i: int, times: int) -> None:
        _, reader, model = self.some(i)
        for _ in range(times):
            expected = model.read()
            if expected == "closed":
                with pytest.raises(StreamClosed, match="has ended"):
                    reader.read(0)
                return
            got = reader.read(0)
            if not isinstance(expected, Got):
                assert got is None
                return
            assert got.seq == expected.seq
            assert got.lost == expected.lost
            if model.block > 1 or hasattr(got, "__len__"):
                assert len(got) == expected.count
            self.check(got, expected)
            self.frames = [*self.frames[-7:], (got, expected)]

    @precondition(lambda self: self.readers)
    @rule(i=readers)
    def release(self, i: int) -> None:
        _, reader, model = self.some(i)
        assert reader.release() == model.release()

    @precondition(lambda self: self.readers)
    @rule(i=readers)
    def purge(self, i: int) -> None:
        _, reader, model = self.some(i)
        assert reader.purge() == model.purge()

    @precondition(lambda self: self.readers)
    @rule(i=readers)
    def detach(self, i: int) -> None:
        name, reader, model = self.some(i)
        reader.close()
        model.release()
        self.readers.remove((name, reader, model))
        if name.startswith("kept"):
            self.left[name] = model.account, model.block
        else:
            del self.model.accounts[name]

    # ------------------------------------------------------------ what must hold

    def check(self, got: Any, expected: Got) -> None:
        """An item shows what was written, as long as it is valid."""
        assert got.valid() == expected.valid
        if not expected.valid:
            return
        items = [expected.segment.items[expected.seq + i] for i in range(expected.count)]
        block = hasattr(got, "__len__")
        whole = all(item.pixels.shape == expected.segment.layout.shape for item in items)
        for i, item in enumerate(items):
            pixels = got[i] if block else got.data
            assert pixels.shape == item.pixels.shape
            assert pixels.dtype == item.pixels.dtype
            np.testing.assert_array_equal(pixels, item.pixels)
            stamp = got.stamps[i]
            assert stamp["seq"] == expected.seq + i
            assert stamp["source_seq"] == _known(item.source_seq)
            assert stamp["device_frame"] == _known(item.device_frame)
        assert got.epoch == items[0].epoch
        if block and whole:
            np.testing.assert_array_equal(got.data, [item.pixels for item in items])
        elif block:
            with pytest.raises(StreamError, match="differing shape"):
                got.data  # noqa: B018
        else:
            assert (got.source_seq, got.device_frame) == (
                items[0].source_seq,
                items[0].device_frame,
            )

    @rule(back=st.integers(0, 20))
    def look(self, back: int) -> None:
        source, segment = Source(self.folder, "cam"), self.model.segment
        seq = max(0, segment.head - back)
        frame = source.at(seq)
        assert (frame is not None) == (segment.oldest <= seq < segment.head)
        if frame is not None:
            self.check(frame, Got(segment, seq, 1, range(0)))
        stamps = source.stamps(back)
        seqs = range(max(segment.oldest, segment.head - back), segment.head)
        assert stamps["seq"].tolist() == list(seqs)

    @invariant()
    def what_was_given_stays_right_or_is_refused(self) -> None:
        for got, expected in self.frames:
            self.check(got, expected)

    @invariant()
    def accounts_agree(self) -> None:
        ring, segment = Source(self.folder, "cam").ring, self.model.segment
        assert (ring.head, ring.oldest) == (segment.head, segment.oldest)
        assert ring.facts()["epoch"] == self.model.epoch
        found = {account["name"]: account for account in ring.accounts()}
        assert found.keys() == self.model.accounts.keys()
        for name, account in self.model.accounts.items():
            for what in ("policy", "start", "cursor", "received", "lost", "torn", "skipped"):
                assert found[name][what] == getattr(account, what), (name, what)

    @precondition(lambda self: self.lossless)
    @invariant()
    def lossless_loses_nothing(self) -> None:
        for account in self.model.accounts.values():
            assert account.policy == "latest" or account.lost == account.torn == 0


def _known(value: int | None) -> int:
    return UNKNOWN if value is None else value


@pytest.mark.parametrize("lossless", [False, True], ids=["real time", "lossless"])
def test_any_order_of_operations(lossless: bool, runtime: Any) -> None:
    class Machine(RingMachine):
        parent = str(runtime)

    Machine.lossless = lossless
    Machine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)
    Machine.TestCase().runTest()
