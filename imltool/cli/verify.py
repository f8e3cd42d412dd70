"""`imltool verify`: find out whether a scan's results, or the evidence, were changed."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from imltool.cli import common
from imltool.errors import UsageError
from imltool.texts import counted


def verify(
    out: Annotated[Path, common.argument("OUT", "Output folder of imltool scan.")],
    inputs: Annotated[
        bool, common.option("--inputs", "Also hash the scanned files, where run.json says they are.")
    ] = False,
    head: Annotated[
        list[str] | None,
        common.option("--head SHA256", "A final hash that you kept, as the scan printed it. Repeatable."),
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Find out whether a scan's results were changed.

    Checks the hash chains of results.jsonl and decisions.jsonl, every map, mask, overlay and preview, run.json, the
    tables, the reports, and the pictures that examiners decided on. Prints one line per finding: its kind, where and
    what. Nothing is written. Without --head, a change is not found if all hashes were computed again after it.

    Exit codes:

    - 0: nothing was changed.
    - 1: the folder cannot be read, or was written by another version.
    - 2: the folder holds no scan.
    - 3: no change was found, but some things could not be checked.
    - 4: something was changed, is missing or was added.
    """
    for given in head or ():
        if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
            raise UsageError(f"--head {given!r} is no SHA-256", "give its 64 hexadecimal digits")

    from itertools import chain

    from imltool.review.journal import verify_decisions
    from imltool.scan.verify import UNCHECKED, Finding, Verification
    from imltool.texts import printable

    verification = Verification(out)
    findings: list[Finding] = []
    with common.progress_bar() as bar:
        task = bar.add_task("verify", total=verification.files + (verification.rows if inputs else 0))
        for finding in chain(verification.run(head or (), inputs), verify_decisions(out)):
            if finding is None:
                bar.advance(task)
                continue
            findings.append(finding)
            if not as_json:
                common.print_line(f"{finding.kind:<9} {printable(finding.where)}: {printable(finding.what)}")
    unchecked = sum(finding.kind == UNCHECKED for finding in findings)
    changed = len(findings) - unchecked
    if as_json:
        common.stdout.file.write(
            json.dumps(
                {
                    "rows": verification.rows,
                    "head": verification.head,
                    "journals": [
                        {"name": one.name, "rows": len(one.links), "head": one.head} for one in verification.journals
                    ],
                    "findings": [asdict(finding) for finding in findings],
                },
                indent=2,
            )
            + "\n"
        )
    words = f"{changed} changed, missing or added" if changed else "nothing was changed"
    if unchecked:
        words += f", {unchecked} not checked"
    for journal in verification.journals:
        common.say(f"{journal.name}: {counted(len(journal.links), 'row')}, final hash {journal.head}", whole=True)
    compared = "" if head else "; compare the final hash with the one you kept, or give it as --head"
    common.say(f"{words}{compared}")
    common.finish(unchecked, changed)
