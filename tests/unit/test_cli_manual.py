"""The manual of the command line: help texts, and the page of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import marey
from marey.cli import main
from marey.cli.app import COMMANDS, build, description, examples
from marey.cli.manual import manual

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_help_names_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"│ {name} " in out for name in COMMANDS)
    assert "Exit codes:" in out
    assert "MAREY_RUNTIME_DIR" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{marey.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_reads_like_a_manual_page(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: marey {name} {COMMANDS[name].usage}"[:78])
    assert "Examples:\n" in out
    assert "Exit codes:\n" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_page_has_every_command(name: str) -> None:
    page = PAGE.read_text()
    assert f"\n## marey {name}\n" in page
    section = page.partition(f"\n## marey {name}\n")[2].partition("\n## ")[0]
    assert description(COMMANDS[name]).partition("\n")[0] in section
    assert COMMANDS[name].usage in section
    for argument in build()[name].assemble_argument_collection():
        assert re.search(rf"\* `{re.escape(argument.name)}[^`]*`: \w", section), argument.name
    for line in examples(COMMANDS[name]).splitlines()[1:]:
        assert line.strip() in section


def test_the_page_is_written_from_the_commands() -> None:
    """Its text depends on cyclopts, too; its headings do not."""
    headings = [line for line in manual().splitlines() if line.startswith("#")]
    assert headings == [line for line in PAGE.read_text().splitlines() if line.startswith("#")]
