"""What can be closed ends with its `with` block."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """Base of what is closed at the end of a `with` block, whatever happened in it."""

    def close(self) -> None:
        """Release what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
