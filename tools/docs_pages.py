"""Write docs/commands/: a page for each command, made from its own help. The site is built from these too.

python tools/docs_pages.py && zensical build --strict
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

COMMANDS = Path(__file__).resolve().parents[1] / "docs" / "commands"
HEAD = re.compile(r"^(?=## `imltool )", re.MULTILINE)


def main() -> None:
    """Split typer's Markdown of the whole command line at its commands."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "imltool.cli.app", "utils", "docs", "--name", "imltool"],
        capture_output=True,
        text=True,
        check=True,
    )
    overview, *commands = HEAD.split(made.stdout)
    shutil.rmtree(COMMANDS, ignore_errors=True)
    COMMANDS.mkdir()
    for page in commands:
        name = page.split("`")[1].removeprefix("imltool ")
        (COMMANDS / f"{name}.md").write_text(page.replace("## ", "# ", 1), encoding="utf-8")
    linked = re.sub(r"^\* `([a-z]+)`:", r"* [`\1`](\1.md):", overview, flags=re.MULTILINE)
    (COMMANDS / "index.md").write_text(linked, encoding="utf-8")


main()
