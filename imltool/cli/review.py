"""`imltool review`: examine a scan's pictures in a browser, decide on them, record the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imltool.cli import common
from imltool.texts import counted


def review(
    out: Annotated[Path, common.argument("OUT", "Output folder of imltool scan, finished or running.")],
    examiner: Annotated[
        str | None, common.option("--examiner NAME", "Name of the examiner (default: the user's name).")
    ] = None,
    port: common.PortOption = 0,
    no_browser: common.NoBrowserOption = False,
    export: Annotated[
        bool, common.option("--export", "Only write the tables, boxes and reports with the decisions, and end.")
    ] = False,
    pdf: Annotated[bool, common.option("--pdf", "Also write report.pdf (default: if there is one already).")] = False,
) -> None:
    """Examine the pictures of a scan in a browser, decide on them, and record the decisions.

    Prints an address that works only on this machine and only for this run. Every decision is written to
    OUT/decisions.jsonl at once. Ctrl-C ends the review, and the same command resumes it. At the end decisions.csv,
    decisions.json, boxes.json and the scan's reports are written with the decisions, apart from the machine's verdicts.
    """
    from imltool.pages.server import person_name
    from imltool.review.exports import write_reports, write_tables
    from imltool.review.folder import ScanFolder
    from imltool.review.journal import DecisionJournal
    from imltool.review.session import open_review
    from imltool.texts import printable

    who = person_name(examiner, "--examiner")
    if export:
        folder, journal = ScanFolder(out), DecisionJournal(out, who)
        if not journal.rows:
            common.say("no picture was decided: the reports are written without decisions")
        write_tables(folder, journal)
        for name in write_reports(folder, pdf or None):
            common.say(f"{name} written: {printable(str(out / name))}", whole=True)
        return
    with open_review(out, who, port) as session:
        common.serve(session.server, counted(len(session.folder.results), "file"), no_browser)
    decided = len({row.path for row in session.journal.rows})
    if not decided:
        common.say("no picture was decided")
        return
    pictures = counted(decided, "picture")
    common.say(f"{pictures} decided: {printable(str(out / 'decisions.jsonl'))}", whole=True)
    if session.writer.report_is_old and session.folder.is_finished:
        for name in write_reports(session.folder, pdf or None, new=False):
            common.say(f"{name} written with the decisions: {printable(str(out / name))}", whole=True)
