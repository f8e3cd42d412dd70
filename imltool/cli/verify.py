"""`imltool verify`: whether a scan's results, and the evidence, are still what they were."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common
from imltool.errors import UsageError


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of imltool scan.")],
    inputs: Annotated[
        bool, typer.Option("--inputs", help="Also hash the files that were scanned, where run.json says they are.")
    ] = False,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="SHA256", help="The head of the chain as it was noted when the scan ended."),
    ] = None,
    as_json: common.JsonOption = False,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Find out whether anything was changed since a scan.

    Follows the chain of hashes through results.jsonl, compares its head, and looks at
    run.json, every map, mask and overlay, results.csv, the report and examiners'
    decisions. Prints a line a
    finding: its kind, where, what. Nothing is written. Without --head somebody who
    made all hashes anew is not found.

    Exit codes: 0 nothing was changed; 4 something was changed, is missing or was
    added; 3 nothing of that, but not everything could be checked; 2 no scan there.
    """
    common.setup_logging(verbose, quiet)
    if head is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", head):
        raise UsageError(f"--head {head!r} is no SHA-256", "give its 64 hexadecimal digits")

    from itertools import chain

    from imltool.review.journal import verify_decisions
    from imltool.scan.verify import UNCHECKED, Finding, Verification
    from imltool.texts import printable

    verification = Verification(out)
    findings: list[Finding] = []
    with common.progress_bar() as bar:
        task = bar.add_task("verify", total=verification.files + (verification.rows if inputs else 0))
        for finding in chain(verification.run(head, inputs), verify_decisions(out)):
            if finding is None:
                bar.advance(task)
                continue
            findings.append(finding)
            if not as_json:
                line = f"{finding.kind:<9} {printable(finding.where)}: {printable(finding.what)}"
                common.stdout.print(line, highlight=False, markup=False, soft_wrap=True)
    unchecked = sum(finding.kind == UNCHECKED for finding in findings)
    changed = len(findings) - unchecked
    if as_json:
        common.stdout.file.write(
            json.dumps(
                {
                    "rows": verification.rows,
                    "head": verification.head,
                    "findings": [asdict(finding) for finding in findings],
                },
                indent=2,
            )
            + "\n"
        )
    words = f"{changed} changed, missing or added" if changed else "nothing was changed"
    if unchecked:
        words += f", {unchecked} not checked"
    compared = "" if head else " (compare with the one noted, or give --head)"
    common.say(f"{verification.rows} rows, head {verification.head}{compared}: {words}")
    common.finish(unchecked, changed)
