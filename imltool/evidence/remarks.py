"""Remarks on a file's context, by a table of rules. A remark states a fact; none is a verdict on the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from imltool.evidence.credentials import is_fault
from imltool.evidence.model import Carrier, Context, Finding, Remark, Trace

Condition = tuple[str, str, Any]
"""A field of the context (dotted path), a name in `TESTS`, and the operand of that test."""


class Match(NamedTuple):
    """The value that passed a test: as words for the text, and as evidence."""

    text: str
    evidence: str


MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Rule:
    """One remark.

    Attributes:
        id: its name in results, never reused with another meaning.
        text: the remark; `{seen}` is replaced by the match of the first condition, `{context…}` by a field.
        when: the conditions; all must hold.
    """

    id: str
    text: str
    when: tuple[Condition, ...]


SYNTHETIC = (
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
    "compositeSynthetic",
    "softwareImage",
)
COMPOSITE = (
    "composite",
    "compositeCapture",
    "digitalArt",
    "digitalCreation",
    "humanEdits",
    "minorHumanEdits",
    "algorithmicallyEnhanced",
    "virtualRecording",
    "dataDrivenMedia",
)
"""IPTC's terms for media that is composed, edited or drawn, retired ones included."""
DESCRIBING = ("EXIF", "XMP", "IPTC", "Photoshop", "maker note", "other")
"""Kinds of metadata that could name a camera, including those that are not read."""
CAMERA_FORMATS = ("JPEG", "MPO", "HEIF", "AVIF")


def _rule(name: str, text: str, *when: Condition) -> Rule:
    return Rule(name, text, when)


RULES = (
    _rule("editor", "saved by an editor ({seen})", ("software", "names", "editor")),
    _rule("stitcher", "joined from several pictures ({seen})", ("software", "names", "stitcher")),
    _rule("library", "written by a program library, not a camera ({seen})", ("software", "names", "library")),
    _rule("metadata-tool", "metadata written by a tool ({seen})", ("software", "names", "metadata-tool")),
    _rule("generator", "metadata names a picture generator ({seen})", ("software", "names", "generator")),
    _rule("screenshot", "metadata calls it a screenshot ({seen})", ("software", "names", "screenshot")),
    _rule("network", "passed through a social network ({seen})", ("software", "names", "network")),
    _rule("synthetic", "declared as made by a computer ({seen})", ("source_types", "holds", SYNTHETIC)),
    _rule("composite", "declared as composed or edited ({seen})", ("source_types", "holds", COMPOSITE)),
    _rule("history", "its metadata lists earlier steps ({seen})", ("history", "filled", None)),
    _rule("derived", "its metadata names another file as its origin", ("derived", "is", True)),
    _rule(
        "no-camera",
        "no camera named: its metadata was removed or never written",
        ("format", "in", CAMERA_FORMATS),
        ("camera.make", "is", None),
        ("camera.model", "is", None),
        ("carriers", "none of metadata", None),
        ("problems", "is", ()),
    ),
    _rule(
        "camera-not-named",
        "its metadata names no camera",
        ("format", "in", CAMERA_FORMATS),
        ("camera.make", "is", None),
        ("camera.model", "is", None),
        ("carriers", "all read", None),
        ("problems", "is", ()),
    ),
    _rule(
        "size", "its size is not the one in EXIF ({seen})", ("exif_size", "size", None), ("size_differs", "is", True)
    ),
    _rule("clock-changed", "EXIF reports a change {seen} after it was taken", ("clocks.changed", "later", MINUTE)),
    _rule(
        "clock-before",
        "two clocks disagree: changed {seen} before it was taken",
        ("clocks.changed", "earlier", MINUTE),
    ),
    _rule(
        "clock-digitised",
        "two clocks disagree: taken and digitised are {seen} apart",
        ("clocks.digitised", "apart", MINUTE),
    ),
    _rule("gps-void", "the receiver marked its GPS position as void", ("gps.void", "is", True)),
    _rule(
        "clock-gps",
        "two clocks disagree: those of the satellites and the camera are {seen} apart",
        ("clocks.gps", "apart", HOUR),
    ),
    _rule(
        "clock-xmp",
        "two clocks disagree: the times of creation in XMP and EXIF are {seen} apart",
        ("clocks.xmp_created", "apart", DAY),
    ),
    _rule(
        "thumbnail-content",
        "the embedded thumbnail differs from the picture (correlation {seen})",
        ("thumbnail.correlation", "known", None),
        ("thumbnail.differs", "is", True),
    ),
    _rule(
        "thumbnail-aspect",
        "the embedded thumbnail has another shape than the picture (it shows {seen})",
        ("thumbnail.shows", "known", None),
        ("thumbnail.aspect_differs", "is", True),
    ),
    _rule("thumbnail-turned", "the picture was turned after its thumbnail was made", ("thumbnail.turned", "is", True)),
    _rule(
        "double-jpeg",
        "signs of double JPEG compression ({seen} of 14 DCT frequencies)",
        ("double_jpeg.frequencies", "known", None),
        ("double_jpeg.detected", "is", True),
    ),
    _rule(
        "low-quality",
        "strongly compressed (JPEG quality {seen}): weak traces are lost",
        ("jpeg.quality", "below", 60),
        ("jpeg.quality_exact", "is", True),
    ),
    _rule(
        "cut-off",
        "damaged: only its first {seen} {context.which_rows} could be decoded and were analysed",
        ("rows_decoded", "known", None),
    ),
    _rule("no-end", "its data has no end marker; no pixel is missing", ("ending", "in", ("no end marker",))),
    _rule(
        "trailer",
        "{seen} follows the end of the picture",
        ("trailer.kind", "known", None),
        ("trailer.kind", "not in", ("padding",)),
    ),
    _rule("frames", "only one of its {seen} frames or pages was analysed", ("frames", "above", 1)),
    _rule("preview-page", "the page analysed is marked as a reduced copy", ("preview_page", "is", True)),
    _rule(
        "name",
        "its file name has another format's extension; the content is {seen}",
        ("format", "known", None),
        ("name_differs", "is", True),
    ),
    _rule(
        "credentials",
        "Content Credentials fit the file; whether their signer is {seen} was not checked",
        ("credentials.signer", "known", None),
        ("credentials.state", "is", "valid"),
        ("credentials.identity", "is", "not checked"),
    ),
    _rule(
        "credentials-identity",
        "Content Credentials fit the file, and name {seen}",
        ("credentials.signer", "known", None),
        ("credentials.state", "is", "valid"),
        ("credentials.identity", "is", "holds"),
    ),
    _rule(
        "credentials-faults",
        "Content Credentials fit the file and are signed, with faults in other parts ({seen})",
        ("credentials.findings", "faults", None),
        ("credentials.state", "is", "valid with faults"),
    ),
    _rule(
        "credentials-invalid",
        "Content Credentials do not fit the file ({seen})",
        ("credentials.findings", "faults", None),
        ("credentials.state", "is", "invalid"),
        ("credentials.binding", "is", "fails"),
    ),
    _rule(
        "credentials-signature",
        "the signature of the Content Credentials does not hold ({seen})",
        ("credentials.findings", "faults", None),
        ("credentials.state", "is", "invalid"),
        ("credentials.binding", "in", ("holds", "not checked")),
    ),
    _rule(
        "credentials-unread",
        "the file has Content Credentials, but they could not be read ({seen})",
        ("credentials.reason", "known", None),
        ("credentials.state", "in", ("unreadable", "not checked")),
    ),
    _rule(
        "credentials-removed",
        "XMP says that this file holds Content Credentials ({seen}), but it holds none",
        ("credentials.address", "known", None),
        ("credentials.state", "is", "removed"),
    ),
    _rule(
        "credentials-elsewhere",
        "Content Credentials are said to be at {seen}, which was not contacted",
        ("credentials.address", "known", None),
        ("credentials.state", "is", "elsewhere"),
    ),
    _rule(
        "problems",
        "the file could not be read in full ({seen})",
        ("problems", "filled", None),
        ("format", "known", None),
    ),
)


def make_remarks(context: Context) -> list[Remark]:
    """The remarks that hold for a context, in the order of `RULES`."""
    found = []
    for rule in RULES:
        matches = [TESTS[test](look_up(context, where), operand) for where, test, operand in rule.when]
        if all(match is not None for match in matches):
            first = matches[0] or Match("", "")
            evidence = f"{rule.when[0][0]}: {first.evidence}"
            found.append(Remark(id=rule.id, text=rule.text.format(seen=first.text, context=context), evidence=evidence))
    return found


def look_up(context: Context | None, where: str) -> Any:
    """The value of a field by its dotted path (`camera.make`); None if a part of the path is None."""
    value: Any = context
    for name in where.split("."):
        value = None if value is None else getattr(value, name)
    return value


def _plain(value: Any) -> Match | None:
    return Match(str(value), str(value))


def _names(traces: Sequence[Trace], kind: str) -> Match | None:
    """Whether a field of the file names a program of a kind."""
    hits = [trace for trace in traces if kind in trace.kinds]
    texts = dict.fromkeys(hit.text for hit in hits)
    return Match(_listed([*texts]), "; ".join(f"{hit.where}: {hit.text}" for hit in hits)) if hits else None


def _no_metadata(carriers: Sequence[Carrier], _: None) -> Match | None:
    """Whether a file has no metadata that could name a camera."""
    return None if any(carrier.kind in DESCRIBING for carrier in carriers) else Match("", "")


def _all_read(carriers: Sequence[Carrier], _: None) -> Match | None:
    """Whether a file has metadata that could name a camera, and all of it was read."""
    describing = [carrier for carrier in carriers if carrier.kind in DESCRIBING]
    return Match("", "") if describing and all(carrier.state == "read" for carrier in describing) else None


def _holds(values: Any, wanted: tuple[str, ...]) -> Match | None:
    hits = [value for value in values or [] if value in wanted]
    return _plain(", ".join(hits)) if hits else None


def _filled(values: Any, _: None) -> Match | None:
    return Match(_listed([str(value) for value in values]), "; ".join(map(str, values))) if values else None


def _faults(findings: Sequence[Finding], _: None) -> Match | None:
    """The concerns of the faults among findings, and their codes. Also matches when there are none."""
    faults = [finding for finding in findings or () if is_fault(finding)]
    concerns = dict.fromkeys(NAMES.get(finding.concerns, finding.code) for finding in faults)
    codes = dict.fromkeys(f"{finding.code}: {finding.explanation or '-'}" for finding in faults)
    return Match(", ".join(concerns) or "no reason given", "; ".join(codes))


NAMES = {
    "binding": "the pixels or metadata were changed after signing",
    "signature": "the signed statements were changed",
    "time": "the time of the signing certificate",
    "identity": "the signer's identity",
    "ingredient": "a source of the picture",
}
"""What a finding concerns, in words."""


def _listed(texts: list[str]) -> str:
    rest = f", and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(text if len(text) <= 80 else f"{text[:79]}…" for text in texts[:3]) + rest


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _after(value: Any, least: int) -> Match | None:
    return Match(duration(value), f"{value} s") if _number(value) and value > least else None


def duration(seconds: float) -> str:
    """A time span in its two largest units: 676010 → `7 days 19 h`."""
    rest = abs(round(seconds))
    parts: list[str] = []
    for unit, length in ((" days", DAY), (" h", HOUR), (" min", MINUTE), (" s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == " s" and not parts):
            parts.append(f"{count}{unit}".replace("1 days", "1 day") if count == 1 else f"{count}{unit}")
    return " ".join(parts[:2])


TESTS: dict[str, Callable[[Any, Any], Match | None]] = {
    "is": lambda value, wanted: _plain(value) if value is wanted or value == wanted else None,
    "in": lambda value, wanted: _plain(value) if value in wanted else None,
    "known": lambda value, _: _plain(value) if value is not None else None,
    "above": lambda value, limit: _plain(value) if _number(value) and value > limit else None,
    "below": lambda value, limit: _plain(value) if _number(value) and value < limit else None,
    "later": _after,
    "earlier": lambda value, least: _after(-value, least) if _number(value) else None,
    "apart": lambda value, least: _after(abs(value), least) if _number(value) else None,
    "size": lambda value, _: _plain(f"{value[0]}x{value[1]}") if value else None,
    "names": _names,
    "holds": _holds,
    "filled": _filled,
    "faults": _faults,
    "all read": _all_read,
    "none of metadata": _no_metadata,
    "not in": lambda value, unwanted: _plain(value) if value is not None and value not in unwanted else None,
}
"""Name → test of a value of the context against the operand of a condition."""
