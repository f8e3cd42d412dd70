"""General behaviour of the command line: start-up, help, exit codes, Ctrl-C, broken pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from helpers.commands import Imltool
from helpers.pictures import photo, write_rgb

from imltool.cli import common
from imltool.cli.app import run
from imltool.engines.network import Compute
from imltool.scan.verdicts import SENSITIVITIES
from imltool.weights import DEFAULT_STUDENT, WEIGHTS

COMMANDS = [
    *("scan", "verify", "pseudo", "synth", "train", "eval", "compare", "study"),
    *("model info", "weights list", "version"),
    *("data split", "data objects", "data index", "data check", "data convert", "data boxes"),
]
HEAVY = ("torch", "cv2", "numpy", "timm", "PIL", "matplotlib", "segment_anything", "accelerate")


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imltool", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background processes ignore it
        **options,
    )


def test_help_imports_no_heavy_module_and_lists_every_command() -> None:
    script = f"""
import sys
from imltool.cli.app import run
assert run(["--help"]) == 0
assert not [name for name in {HEAVY!r} if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert all(command.split()[0] in text for command in COMMANDS) and "130 interrupted" in text


def test_command_that_needs_an_absent_package_says_so() -> None:
    script = """
import sys
sys.modules["torch"] = None
from imltool.cli.app import run
sys.exit(run(["annotate", "sample_images/splices/tampered", "--out", "boxes.json", "-q"]))
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    expected = "error: this command needs the package torch, which is not installed → see docs/install.md"
    assert done.returncode == 1 and done.stderr.startswith(expected) and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_refuses_unknown_options(command: str, imltool: Imltool) -> None:
    code, out, _ = imltool(*command.split(), "--help")
    assert code == 0 and "Usage" in out
    code, _, err = imltool(*command.split(), "--no-such-option")
    assert code == 2 and "no-such-option" in err


def test_version_option(imltool: Imltool) -> None:
    code, out, _ = imltool("--version")
    assert code == 0 and out.startswith("imltool 0.")


def test_missing_command_shows_help_and_unknown_one_is_a_usage_error(imltool: Imltool) -> None:
    code, out, err = imltool()
    assert "Usage" in out + err and code in (0, 2)
    assert imltool("skan")[0] == 2


def test_ctrl_c_is_a_one_line_error_with_exit_code_130(tmp_path: Path) -> None:
    # a picture takes 0.2 s, so that the signal arrives before the last one on any machine
    for index in range(20):
        write_rgb(tmp_path / "set/tampered" / f"t{index}.png", photo(index, 300, 200))
    boxes = "image,x1,y1,x2,y2\n" + "".join(f"t{index}.png,60,40,240,160\n" for index in range(20))
    (tmp_path / "boxes.csv").write_text(boxes)
    out = tmp_path / "out"
    images = tmp_path / "set/tampered"
    process = start("pseudo", images, "--boxes", tmp_path / "boxes.csv", "--out", out, "--teacher", "grabcut")
    deadline = time.time() + 300
    journal = out / "pseudo.jsonl"
    while time.time() < deadline and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err
    assert 0 < len(journal.read_text().splitlines()) < 20


@pytest.mark.parametrize("words", [("-vv",), ("-v", "--verbose"), ("--verbose", "--verbose")])
def test_traceback_is_shown_if_verbose_is_given_twice(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, shown in ((words, True), (("-v",), False)):
        assert run(["scan", str(tmp_path / "none"), *given]) == 2
        assert ("Traceback" in capsys.readouterr().err) is shown


def test_closed_pipe_causes_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run([sys.executable, "-m", "imltool", "weights", "list"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert b"Traceback" not in process.stderr and process.returncode in (0, 1)


def test_model_info_counts_parameters_and_flops(imltool: Imltool) -> None:
    import json

    code, out, _ = imltool("model", "info", "--set", "student.memory=none", "--json")
    facts = json.loads(out)
    assert code == 0 and "memory" not in facts["parameters"]
    assert 5_000_000 < facts["parameters"]["total"] < 6_000_000
    assert 2.5e9 < facts["flops"] < 4.5e9 and "flop_counter" in facts["counted_by"]
    code, out, _ = imltool("model", "info")
    lines = out.splitlines()
    assert code == 0 and max(map(len, lines)) < 160 and not any("{" in line or "[" in line for line in lines)
    assert any(line.split() == ["version", WEIGHTS[DEFAULT_STUDENT].version] for line in lines)
    code, _, err = imltool("model", "info", "--weights", "x", "--set", "seed=1")
    assert code == 2 and "exclude each other" in err


def test_data_split_is_scene_disjoint_and_repeatable(tmp_path: Path, imltool: Imltool) -> None:
    for folder, name in [("tampered", f"Sp_D_CNN_A_ani{i:04d}_pla{i:04d}_1") for i in range(9)] + [
        ("authentic", f"Au_ani_{i:04d}") for i in range(9)
    ]:
        (tmp_path / "s" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / folder / f"{name}.jpg").touch()
    assert imltool("data", "split", tmp_path / "s", "--out", tmp_path / "p/list", "--share", "0.3")[0] == 0
    parts = {part: (tmp_path / f"p/list.{part}.txt").read_text().splitlines()[1:] for part in ("train", "val")}
    assert len(parts["train"]) == 12 and len(parts["val"]) == 6
    scenes = {part: {name.replace("_0", "0").split("ani")[1][:4] for name in names} for part, names in parts.items()}
    assert not scenes["train"] & scenes["val"]
    code, _, err = imltool("data", "split", tmp_path / "s", "--out", tmp_path / "q", "--scene-pattern", "(")
    assert code == 2 and "regular expression" in err
    code, _, err = imltool(
        "data", "split", tmp_path / "s", "--out", tmp_path / "q", "--part", "tampered", "--part", "au"
    )
    assert code == 1 and "has no subfolder au" in err and not (tmp_path / "q.train.txt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("--help",), ("version",), ("weights", "list"), ("weights", "list", "--json")])
def test_full_stdout_is_a_one_line_error(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "imltool", *arguments], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: stdout cannot be written: No space left on device")


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_stdout_or_stderr_is_ignored(closed: int) -> None:
    command = [sys.executable, "-m", "imltool", "weights", "list"]
    done = subprocess.run(command, capture_output=True, preexec_fn=lambda: os.close(closed))
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert bool(done.stdout) == (closed == 2)


def test_choices_are_those_of_the_package() -> None:
    """The command line repeats them, because importing the packages would slow down every start."""
    assert get_args(common.Sensitivity) == SENSITIVITIES
    assert get_args(get_args(common.PrecisionOption)[0]) == get_args(Compute)
