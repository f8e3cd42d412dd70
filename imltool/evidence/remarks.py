"""Remarks on a file's context, by a table of rules. A remark says what was seen; none is a verdict on the picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from imltool.evidence.model import Context, Remark

Condition = tuple[str, str, Any]
"""Where to look in the context (keys with dots between), a name in `TESTS`, and what that test compares with."""


class Match(NamedTuple):
    """What a test found: in words for the text, and as evidence."""

    text: str
    evidence: str


MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Rule:
    """One remark.

    Attributes:
        id: its name in results, never used again for another meaning.
        text: what it says; `{seen}` becomes what the first condition found.
        when: all of these must hold.
    """

    id: str
    text: str
    when: tuple[Condition, ...]


EDITORS = (
    r"photoshop(?! lightroom)",
    r"\bgimp\b",
    r"lightroom",
    r"camera raw",
    r"adobe (imageready|bridge|fireworks|illustrator|save for web)",
    r"affinity",
    r"pixelmator",
    r"paint\.net",
    r"snapseed",
    r"picsart",
    r"photopea",
    r"\bcanva\b",
    r"paint ?shop",
    r"acdsee",
    r"picasa",
    r"photoscape",
    r"photofiltre",
    r"\bcorel",
    r"\bkrita\b",
    r"capture one",
    r"darktable",
    r"rawtherapee",
    r"luminar",
    r"\bdxo\b",
    r"\bvsco\b",
    r"meitu|beautyplus|airbrush",
    r"facetune|faceapp",
    r"remini",
    r"polarr|pixlr|fotor|befunky|inshot",
    r"photo ?editor",
    r"irfanview|xnview",
    r"windows photo|microsoft photos|paint 3d",
    r"topaz|gigapixel",
    r"photomatix|aurora hdr",
)
STITCHERS = (r"\bhugin\b|ptgui|autostitch|image composite editor",)
LIBRARIES = (
    r"imagemagick|graphicsmagick|date:create",
    r"gd-jpeg",
    r"\blavc\d|ffmpeg",
    r"libvips|openjpeg",
    r"lead technologies|intel\(r\) jpeg",
    r"applemark",
)
METADATA_TOOLS = (r"exiftool|exiv2|exif ?pilot|geosetter|jhead",)
GENERATORS = (
    r"midjourney",
    r"stable ?diffusion|comfyui|automatic1111|invokeai|novelai|fooocus",
    r"^PNG text (parameters|prompt|workflow|sd-metadata|invokeai_metadata|dream):",
    r"steps: \d+, sampler: ",
    r"dall[ .·-]?e\b|openai|chatgpt",
    r"adobe firefly|ideogram|leonardo\.ai|black forest labs",
)
SCREENSHOTS = (r"screen ?shot|screen ?capture|greenshot|sharex|snipping",)
NETWORKS = (r"instructions: fbmd", r"instagram|facebook|whatsapp|snapchat|wechat")
"""Patterns are looked for in `place: text`, without regard to case."""

SYNTHETIC = (
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
    "compositeSynthetic",
)
COMPOSITE = ("composite", "compositeCapture", "digitalArt", "humanEdits", "virtualRecording", "dataDrivenMedia")
CAMERA_FORMATS = ("JPEG", "MPO", "HEIF", "AVIF")


def _rule(name: str, text: str, *when: Condition) -> Rule:
    return Rule(name, text, when)


RULES = (
    _rule("editor", "saved by an editor ({seen})", ("software", "names", EDITORS)),
    _rule("stitcher", "joined from several pictures ({seen})", ("software", "names", STITCHERS)),
    _rule("library", "written by a program library, not a camera ({seen})", ("software", "names", LIBRARIES)),
    _rule("metadata-tool", "metadata written by a tool ({seen})", ("software", "names", METADATA_TOOLS)),
    _rule("generator", "metadata names a picture generator ({seen})", ("software", "names", GENERATORS)),
    _rule("screenshot", "metadata calls it a screenshot ({seen})", ("software", "names", SCREENSHOTS)),
    _rule("network", "passed through a social network ({seen})", ("software", "names", NETWORKS)),
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
    ),
    _rule(
        "size", "its size is not the one EXIF says ({seen})", ("exif_size", "size", None), ("size_differs", "is", True)
    ),
    _rule("clock-changed", "EXIF tells of a change {seen} after it was taken", ("clocks.changed", "later", MINUTE)),
    _rule(
        "clock-before",
        "two clocks disagree: changed {seen} before it was taken",
        ("clocks.changed", "earlier", MINUTE),
    ),
    _rule(
        "clock-digitised",
        "two clocks disagree: taken and digitised lie {seen} apart",
        ("clocks.digitised", "apart", MINUTE),
    ),
    _rule(
        "clock-gps",
        "two clocks disagree: the satellites' and the camera's lie {seen} apart",
        ("clocks.gps", "apart", HOUR),
    ),
    _rule(
        "clock-xmp",
        "two clocks disagree: XMP and EXIF lie {seen} apart on when it was made",
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
        "strongly compressed (JPEG quality about {seen}): weak traces are lost",
        ("jpeg.quality", "below", 60),
    ),
    _rule("frames", "only one of its {seen} frames or pages was analysed", ("frames", "above", 1)),
    _rule("preview-page", "the page analysed is marked as a reduced copy", ("preview_page", "is", True)),
    _rule(
        "name",
        "its name ends like another format's; the content is {seen}",
        ("format", "known", None),
        ("name_differs", "is", True),
    ),
    _rule(
        "credentials",
        "Content Credentials fit the file; whether their signer is {seen} was not checked",
        ("credentials.signer", "known", None),
        ("credentials.state", "is", "valid"),
    ),
    _rule(
        "credentials-invalid",
        "Content Credentials do not fit the file ({seen})",
        ("credentials.findings", "findings", None),
        ("credentials.state", "is", "invalid"),
    ),
    _rule(
        "credentials-unread",
        "Content Credentials are there and could not be read ({seen})",
        ("credentials.reason", "known", None),
        ("credentials.state", "in", ("unreadable", "not checked")),
    ),
    _rule(
        "credentials-elsewhere",
        "Content Credentials are said to lie at {seen}, which was not asked",
        ("credentials.address", "known", None),
        ("credentials.state", "is", "elsewhere"),
    ),
    _rule(
        "problems",
        "metadata could not be read in full ({seen})",
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
            found.append(Remark(id=rule.id, text=rule.text.format(seen=first.text), evidence=evidence))
    return found


def look_up(context: Context | None, where: str) -> Any:
    """The value of a field, dots between (`camera.make`); None where a part on the way is None."""
    value: Any = context
    for name in where.split("."):
        value = None if value is None else getattr(value, name)
    return value


def _plain(value: Any) -> Match | None:
    return Match(str(value), str(value))


def _names(traces: Any, patterns: tuple[str, ...]) -> Match | None:
    """Whether a program's name is among the traces (`where`, `text`)."""
    hits = [
        trace
        for trace in traces or []
        if any(re.search(pattern, f"{trace.where}: {trace.text}", re.IGNORECASE) for pattern in patterns)
    ]
    texts = dict.fromkeys(hit.text for hit in hits)
    return Match(_listed([*texts]), "; ".join(f"{hit.where}: {hit.text}" for hit in hits)) if hits else None


def _holds(values: Any, wanted: tuple[str, ...]) -> Match | None:
    hits = [value for value in values or [] if value in wanted]
    return _plain(", ".join(hits)) if hits else None


def _filled(values: Any, _: None) -> Match | None:
    return Match(_listed([str(value) for value in values]), "; ".join(map(str, values))) if values else None


def _findings(values: Any, _: None) -> Match | None:
    """The codes of a list of findings, empty ones too."""
    return _filled([finding.code for finding in values or ()], None) or Match("no reason given", "")


def _listed(texts: list[str], most: int = 3) -> str:
    rest = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(text if len(text) <= 80 else f"{text[:79]}…" for text in texts[:most]) + rest


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
    "findings": _findings,
}
"""Name → test of what was found against the operand of a condition."""
