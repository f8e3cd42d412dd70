"""Help of the main commands in a terminal of 80 columns; shell completion."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import pytest

WIDTH = 80


@pytest.fixture(scope="module")
def help_texts() -> dict[str, str]:
    """Command → its help, all printed by one process."""
    script = (
        "import sys\nfrom imltool.cli.app import run\n"
        "for command in ([], ['scan'], ['verify']):\n"
        "    print('<<', *command, '>>', flush=True)\n    assert run([*command, '--help']) == 0\n"
    )
    env = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    parts = re.split(r"<< (.*?) ?>>\n", done.stdout)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def sentences(text: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─•]", " ", text).split())


@pytest.mark.parametrize("command", ["", "scan", "verify"])
def test_help_lines_fit_and_flags_have_no_type(help_texts: dict[str, str], command: str) -> None:
    assert all(len(line) <= WIDTH for line in help_texts[command].splitlines())
    assert not re.search(r"<(bool|int|str|float|path|list)", help_texts[command]) and "<=x" not in help_texts[command]


def test_help_keeps_brackets_of_extras(help_texts: dict[str, str]) -> None:
    text = sentences(help_texts["scan"])
    assert "imltool[storage]" in text and "imltool[ray]" in text


@pytest.mark.parametrize("command", ["scan", "verify"])
def test_help_paragraphs_are_wrapped_and_exit_codes_listed(help_texts: dict[str, str], command: str) -> None:
    before = help_texts[command].split("╭")[0]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*•)", before):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        for line, following in itertools.pairwise(lines):
            room = WIDTH - 6 - len(line)
            assert len(following.split()[0]) >= room, f"{line!r} ends early before {following!r}"
    assert all(f"• {code}: " in before for code in (0, 1, 2, 3, 4))


def test_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        env = {**os.environ, "_IMLTOOL_COMPLETE": "complete_bash", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        script = "import sys; sys.argv = ['imltool']; from imltool.cli.app import main; main()"
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env).stdout.split()

    assert completed("imltool ver") == ["verify", "version"]
    assert "--sensitivity" in completed("imltool scan --s")
