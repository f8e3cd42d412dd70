"""Everything of a release that is made rather than written: graphs, hashes, the table of the sample pictures, packages.

    python tools/release.py            # makes all of it in build/release/ and says what differs from the repository
    python tools/release.py --write    # also replaces the bundled graphs

Each step is a command of imltool or of the build front end; docs/release.md says what to do before and after.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "imltool" / "assets"
OUT = ROOT / "build" / "release"
STUDENTS = ("boxprompt", "boxprompt-traces")


def run(*command: str) -> None:
    """Run a command; its failure ends the release."""
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def imltool(*arguments: str) -> None:
    """Run a command of this checkout."""
    run(sys.executable, "-m", "imltool", *arguments)


def make_graphs() -> list[Path]:
    """Export the bundled students and the teacher again; returns the files that differ from the bundled ones."""
    graphs = OUT / "graphs"
    graphs.mkdir(parents=True, exist_ok=True)
    for name in STUDENTS:
        imltool("export", "--weights", name, "--out", str(graphs / f"{name}.onnx"))
    imltool("export", "--teacher", "mobile-sam", "--out", str(graphs))
    made = sorted(graphs.glob("*.onnx"))
    return [path for path in made if path.read_bytes() != (ASSETS / path.name).read_bytes()]


def main() -> None:
    """Make the release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the bundled graphs by those made here")
    wanted = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    imltool("weights", "verify")
    changed = make_graphs()
    for path in changed:
        print(f"differs: {path.name}")
        if wanted.write:
            shutil.copy(path, ASSETS / path.name)
    baselines = [word for name in ("untrained", "ela", "constant") for word in ("--baseline", name)]
    for name in STUDENTS:
        imltool("eval", "--ood", "--weights", name, *baselines, "--out", str(OUT / f"eval-{name}"))
    run(sys.executable, "-m", "build", "--outdir", str(OUT / "dist"))
    print(f"made in {OUT}: graphs, eval-*/table.md for the model card, dist")


if __name__ == "__main__":
    main()
