"""Code blocks of Markdown pages, so that tests run what users read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of one language on a page, in order; the page is named from the root."""
    text = (ROOT / page).read_text()
    return [code for found, code in _BLOCK.findall(text) if found == language]
