"""Every command in README.md and docs/ is run, or only parsed with a reason for not running it."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Imltool
from helpers.layout_trees import make_tree
from helpers.pictures import make_set, photo, write_rgb
from helpers.train_config import write_config
from PIL import Image

from imltool.cli.app import command_tree

ROOT = Path(__file__).parent.parent
MADE = ROOT / "docs/commands"
"""Pages that tools/docs_pages.py makes from the commands' own help."""
PAGES = ["README.md"] + [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent != MADE
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:imltool|python|accelerate|docker|pip|ray) [^`]+)`")

PARSED_ONLY = {
    "imltool annotate photos": "serves a page until it is stopped: test_annotate_server.py",
    "imltool annotate new-pictures": "serves a page until it is stopped: test_annotate_server.py",
    "imltool review": "serves a page until it is stopped: test_review_server.py",
    "imltool train --config configs": "takes hours: the configuration is loaded here, test_workflow.py trains",
    "imltool eval --protocol": "needs published data sets: test_eval_protocols.py",
    "imltool export --teacher": "takes minutes: test_teacher_engines.py",
    "imltool scan PICTURES --out DIR --engine-cluster ray": "needs a Ray cluster: test_cluster.py",
    "imltool scan s3://": "needs object storage: test_scan_stores.py",
}
"""Start of a command in a block → reason for parsing only, and the test that runs such a command."""
ELSEWHERE = {
    "python3 -m venv": "the environment the tests run in",
    ".": "the environment the tests run in",
    "pip": "installs packages, which the tests have",
    ".venv/bin/pip": "installs packages, which the tests have",
    ".venv/bin/python -m pytest": "these tests",
    "docker build": "needs Docker",
}
"""Start of a command other than imltool → reason for not running it."""
RUNS_IMLTOOL = ("accelerate launch", "docker run")
"""Programs that start imltool: the words after `imltool` are parsed."""
SHORTER = {"imltool adapt": ("--set", "steps=1", "--set", "workers=0", "--set", "check_count=6")}
"""Start of a command → extra options that only shorten the run."""
EXIT_CODES = {"imltool data check": (0, 3)}
"""Start of a command → valid exit codes besides 0: published data sets have faults."""
QUICK = {"docs/data.md", "docs/install.md", "docs/review.md", "docs/scan.md"}
"""Pages whose commands take seconds; those of other pages are slow tests."""
WITHOUT = {"docs/api.md", "docs/architecture.md", "docs/casework.md", "docs/formats.md", "docs/index.md"} | {
    f"docs/{name}.md" for name in ("method", "model_card", "release", "studies", "validation", "scale")
}
"""Pages without a command to run."""


@dataclass(frozen=True)
class Command:
    """One command of a page; `inline` commands are in running text and may be fragments."""

    page: str
    words: tuple[str, ...]
    inline: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def begins(self, starts: Any) -> str | None:
        """Return the first of `starts` that is a prefix of the command."""
        return next((start for start in starts if self.text == start or self.text.startswith(start)), None)


def commands_of(page: str) -> Iterator[Command]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for tag, content in FENCE.findall(text):
        if tag in ("sh", "bash", "shell", "console") or (not tag and re.search(r"^\$? ?imltool ", content, re.M)):
            for line in content.replace("\\\n", " ").splitlines():
                yield from _split(page, line.removeprefix("$ "))
    for found in INLINE.findall(FENCE.sub("", text)):
        yield Command(page, tuple(shlex.split(found.replace("\n", " "))), inline=True)


def _split(page: str, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, "&&"]:
        if word not in ("&&", ";"):
            words.append(word)
        elif words:
            words[0] = words[0].removeprefix(".venv/bin/") if words[0] == ".venv/bin/imltool" else words[0]
            yield Command(page, tuple(words))
            words = []


ALL = [command for page in PAGES for command in commands_of(page)]
IN_BLOCKS = [command for command in ALL if not command.inline]


def parse(words: list[str], fragment: bool = False) -> None:
    """Parse a command line like imltool, without running it; for a fragment, check only that its options exist."""
    command, rest = command_tree(), words
    context = command.make_context("imltool", list(rest), resilient_parsing=True)
    while getattr(command, "commands", None):
        names = [word for word in rest if not word.startswith("-")]
        assert names or fragment, f"{words} names no command"
        if not names:
            break
        # annotate without a subcommand is annotate start
        name = names[0] if command.get_command(context, names[0]) or "start" not in command.commands else "start"
        below = command.get_command(context, name)
        assert below is not None, f"{' '.join(words)}: no command {name}"
        rest = rest[rest.index(name) + 1 :] if name in rest else rest
        command = below
        context = command.make_context(name, list(rest), parent=context, resilient_parsing=True)
    if fragment:
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        for word in rest:
            name = word.strip("[]").partition("=")[0]
            if name.startswith("--") and name not in ("--help", "--install-completion"):
                assert name in known, f"{' '.join(words)}: no option {name}"
    else:
        command.make_context(command.name, list(rest))


def test_command_tables_match_the_commands_of_the_docs() -> None:
    assert len(IN_BLOCKS) > 30 and len(ALL) > 100
    for start in (*PARSED_ONLY, *ELSEWHERE, *RUNS_IMLTOOL, *SHORTER, *EXIT_CODES):
        assert any(command.begins([start]) for command in IN_BLOCKS), f"no command begins with {start!r}"
    assert not WITHOUT & QUICK and {*QUICK, *WITHOUT} < {*PAGES}
    runnable = {command.page for command in IN_BLOCKS if _is_run(command)}
    assert runnable.isdisjoint(WITHOUT) and {page for page in PAGES if page not in WITHOUT} == runnable


@pytest.mark.parametrize("command", IN_BLOCKS, ids=lambda command: f"{command.page}:{command.text[:60]}")
def test_commands_in_code_blocks_parse(command: Command) -> None:
    for word in command.words:
        if word.startswith(("configs/", "requirements/")):
            assert (ROOT / word).exists(), f"{command.page} names {word}, which does not exist"
    if command.words[0] == "imltool":
        parse(list(command.words[1:]))
    elif command.begins(RUNS_IMLTOOL):
        parse(list(command.words[len(command.words) - command.words[::-1].index("imltool") :]))
    else:
        assert command.begins(ELSEWHERE) or _is_shell(command), f"{command.text}: neither parsed, run nor excused"
    if command.begins(["imltool train --config configs"]):
        _load_configuration(command.words)


def test_commands_in_running_text_use_existing_names() -> None:
    for command in ALL:
        if not command.inline:
            continue
        words = list(command.words)
        if words[0] == "imltool":
            parse([word.split("|")[0] for word in words[1:] if word not in ("…", "...")], fragment=True)
        elif words[0] == "python":
            program = (ROOT / words[1]).read_text(encoding="utf-8")
            for word in words[2:]:
                name = word.strip("[]")
                assert not name.startswith("--") or f'"{name}"' in program, f"{command.text}: no option {name}"
        if words[0] == "imltool" and "train" in words and "--config" in words and "NAME.yaml" not in command.text:
            _load_configuration(command.words)


def _load_configuration(words: tuple[str, ...]) -> None:
    from imltool.config import load_settings
    from imltool.training.settings import TrainSettings

    after = list(itertools.pairwise(words))
    files = [ROOT / value for option, value in after if option == "--config"]
    load_settings(TrainSettings, files, [value for option, value in after if option == "--set"])


def _is_shell(command: Command) -> bool:
    return command.words[0] in ("sed", "tail")


def _is_run(command: Command) -> bool:
    return _is_shell(command) or (command.words[0] == "imltool" and not command.begins(PARSED_ONLY))


def draw(folder: Path, out: Path) -> None:
    """Draw a box on every picture and save it like imltool annotate."""
    from test_annotate_store import FACTS, ONE, drawn, open_store

    with open_store(folder, out) as store:
        for picture in sorted(folder.iterdir()):
            store.save(picture.name, 0, drawn(ONE), FACTS)


@pytest.fixture
def sandbox(tmp_path: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with small versions of all files that the pages name."""
    for number, name in enumerate(("photos", "new-pictures", "other-pictures", "evidence", "PHOTOS")):
        for index in range(9 if name == "new-pictures" else 2):
            write_rgb(tmp_path / name / f"t{index}.png", photo(number * 20 + index))
    for index in range(20):
        write_rgb(tmp_path / "my-authentic" / f"a{index}.png", photo(700 + index))
    make_set(tmp_path / "sample_images/splices", 1, 1, seed=50)
    for number, name in enumerate(("OTHER", "FOLDER", "DATA/casia1-dev", "DATA/comofod-dev")):
        make_set(tmp_path / name, 3, 3, seed=3000 + 20 * number)  # scenes different from those of the training run
    for name, layout in (("CASIA1", "casia1"), ("CASIA2", "casia2")):
        shutil.copytree(make_tree(tmp_path / "trees", layout).root, tmp_path / name)
    listed = "tampered/t0.png\ntampered/t1.png\nauthentic/a0.jpg\n"
    (tmp_path / "configs/splits").mkdir(parents=True)
    (tmp_path / "configs/splits/casia1-dev.val.txt").write_text(listed)
    for picture in [*(tmp_path / "CASIA1").rglob("*")]:
        if picture.suffix == ".jpg":
            width, height = Image.open(picture).size
            target = tmp_path / "OTHER_METHOD/maps" / f"{picture.stem}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, np.full((height, width), 0.25, np.float32))
    config = write_config(tmp_path / "training")
    code, _, error = imltool("train", "--config", config, "--out", tmp_path / "runs/mine", "--device", "cpu")
    assert code == 0, error
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page in QUICK else [pytest.mark.slow]) for page in PAGES if page not in WITHOUT],
)
def test_commands_of_a_page_run_in_sequence(
    page: str, sandbox: Path, imltool: Imltool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(sandbox / ("new-pictures" if page == "docs/adapt.md" else "photos"), sandbox / "boxes.json")
    for command in IN_BLOCKS:
        if command.page != page or not _is_run(command):
            continue
        if _is_shell(command):
            _scan_first(sandbox, imltool)
            done = subprocess.run(command.text, shell=True, capture_output=True, text=True, cwd=sandbox / "scanned")
            assert done.returncode == 0 and re.match(r"[0-9a-f]{64}", done.stdout), done.stderr
            continue
        start = command.begins(SHORTER)
        words = [*command.words[1:], *(SHORTER[start] if start else ())]
        code, _, error = imltool(*words)
        allowed = EXIT_CODES[begun] if (begun := command.begins(EXIT_CODES)) else (0,)
        assert code in allowed, f"{command.text}: {error}"


def _scan_first(sandbox: Path, imltool: Imltool) -> None:
    """Make a scan, for commands that read its output."""
    if not (sandbox / "scanned").exists():
        weights = sandbox / "runs/mine/best.safetensors"
        code, _, error = imltool("scan", "my-authentic", "--weights", weights, "--out", "scanned", "--device", "cpu")
        assert code == 0, error
