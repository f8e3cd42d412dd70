"""`imltool version`, and imports of light commands."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from imltool import __version__
from imltool.cli.app import run
from imltool.files import sha256_file
from imltool.versions import installed_versions
from imltool.weights import locate


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["imltool"] == __version__ and facts["python"] == platform.python_version()
    for name in ("torch", "torchvision", "timm", "segment-anything", "pillow", "numpy"):
        assert facts["packages"][name] == metadata.version(name)
    assert facts["packages"]["opencv"]
    expected = {"imltool": facts["imltool"], "python": facts["python"], **facts["packages"]}
    assert expected == installed_versions(), "the keys used in results"
    assert facts["weights"]["mobile-sam"] == sha256_file(locate("mobile-sam"))
    assert facts["devices"][0] == "cpu"


def test_version_as_lines_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert run(["version"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert f"imltool: {__version__}" in lines
    assert f"packages torch: {facts['packages']['torch']}" in lines
    assert f"weights mobile-sam: {facts['weights']['mobile-sam']}" in lines
    assert f"devices: {', '.join(facts['devices'])}" in lines


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["weights", "--help"], ["weights", "list"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from imltool.cli.app import run; code = run(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'matplotlib', 'timm'} & set(sys.modules); "
        "print('heavy:', sorted(heavy), file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_citation_has_the_current_version() -> None:
    citation = Path(__file__).parents[1] / "CITATION.cff"
    assert f"\nversion: {__version__}\n" in citation.read_text(encoding="utf-8")
