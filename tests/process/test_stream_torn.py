"""Writer and readers in processes of their own, at full speed: nothing torn is taken for good."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from marey.stream import Source
from support.processes import child
from support.ringers import READER, WRITER


@pytest.mark.parametrize("kinds", [["every", "latest", "3"], ["every"], ["2", "2"]])
def test_readers_of_a_free_running_writer_take_nothing_torn(
    runtime: Path, kinds: list[str]
) -> None:
    with ExitStack() as stack:
        writer = stack.enter_context(child(WRITER, runtime, 4))
        assert writer.hear() == "open"
        readers = [
            stack.enter_context(child(READER, runtime, f"r{i}", kind, "free"))
            for i, kind in enumerate(kinds)
        ]
        for reader in readers:
            assert [reader.hear(), reader.hear()] == ["waiting", "attached"]
        writer.tell("run")
        for reader in readers:
            reader.tell(3000)
        lost = torn = 0
        for reader in readers:
            answer = [int(n) for n in reader.hear().split()]
            assert answer[0] >= 3000
            lost, torn = lost + answer[1], torn + answer[2]
        # What they say they lost is what their accounts say.
        accounts = {a["name"]: a for a in Source(runtime, "cam").ring.accounts()}
        assert lost == sum(a["lost"] for a in accounts.values())
        assert torn == sum(a["torn"] for a in accounts.values())
        for reader in readers:
            reader.end()


def test_a_slow_reader_is_told_each_time(runtime: Path) -> None:
    with child(WRITER, runtime, 4) as writer:
        writer.hear()
        source = Source(runtime, "cam")
        with source.every() as reader:
            writer.tell("run")
            for _ in range(200):
                frame = reader.read(60)
                while source.head <= frame.seq + 4:
                    pass
                assert not frame.valid()
                assert not reader.release()
            (account,) = source.ring.accounts()
            assert (account["torn"], account["received"]) == (200, 0)
