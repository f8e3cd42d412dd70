"""A file's context as text: the lines of the report's case view."""

from __future__ import annotations

from imltool.evidence.model import Camera, Context, Credentials, JpegCoding, Thumbnail
from imltool.files import human_size

TIMES = {
    "taken": "taken",
    "digitised": "digitised",
    "changed": "changed",
    "gps": "satellites",
    "xmp_created": "XMP created",
    "xmp_changed": "XMP changed",
    "iptc_created": "IPTC created",
    "png_created": "PNG created",
    "png_changed": "PNG changed",
}


def describe(context: Context | None) -> list[tuple[str, str]]:
    """Names and values of a context (see `picture_context`) for display; values that the file lacks are left out."""
    if not context or not context.format:
        return []
    camera, gps, double, trailer = context.camera, context.gps, context.double_jpeg, context.trailer
    made = context.credentials or Credentials(state="not checked")
    reported = {word: getattr(context.times, key) for key, word in TIMES.items()}
    times = [f"{word} {time.replace('T', ' ')}" for word, time in reported.items() if time]
    unread = [
        carrier.where if carrier.state == "not read" else f"{carrier.where} (in part)"
        for carrier in context.carriers
        if carrier.state != "read"
    ]
    place = [str(gps.latitude), str(gps.longitude)] if gps.present else []
    lines = {
        "Format": _format(context),
        "JPEG coding": _coding(context.jpeg),
        "Double JPEG": f"signs in {double.frequencies} of 14 DCT frequencies" if double and double.frequencies else "",
        "Camera": _joined(camera_name(camera), camera.lens, camera.serial and f"serial {camera.serial}"),
        "Software": "; ".join(f"{trace.text} ({trace.where})" for trace in context.software),
        "Times": "; ".join(times),
        "Position": _joined(
            *place,
            f"{gps.altitude} m high" if gps.altitude is not None else None,
            "marked as void" if gps.void else None,
        ),
        "Thumbnail": _thumbnail(context.thumbnail),
        "Colour profile": context.profile,
        "Content Credentials": _credentials(made),
        "After the end": f"{trailer.kind}, {human_size(trailer.size_bytes)}" if trailer else "",
        "Not understood": "; ".join(f"{value.where}: {value.text}" for value in context.unparsed),
        "Not read": "; ".join(unread),
        "Problems": "; ".join(context.problems),
    }
    return [(name, value) for name, value in lines.items() if value]


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def camera_name(camera: Camera) -> str:
    """Make and model; the model alone if it begins with the make. "" if neither is named."""
    make, model = camera.make or "", camera.model or ""
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def _format(context: Context) -> str:
    size = context.exif_size
    return _joined(
        context.format,
        context.mode,
        f"{context.frames} frames or pages" if (context.frames or 1) > 1 else None,
        f"{context.orientation_source} orientation {context.orientation}" if (context.orientation or 1) > 1 else None,
        "no end marker" if context.ending == "no end marker" else None,
        f"cut off after {context.rows_decoded} {context.which_rows}" if context.rows_decoded else None,
        f"EXIF says {size[0]} × {size[1]} px" if size and context.size_differs else None,
    )


def _coding(jpeg: JpegCoding | None) -> str:
    if not jpeg:
        return ""
    kind = "the IJG library's tables" if jpeg.quality_exact else "an estimate: the tables are not the IJG's"
    return _joined(
        f"quality {jpeg.quality} ({kind})" if jpeg.quality else None,
        jpeg.subsampling,
        "progressive" if jpeg.progressive else None,
        f"tables SHA-256 {jpeg.tables_sha256[:16]}…" if jpeg.tables_sha256 else None,
    )


def _thumbnail(found: Thumbnail | None) -> str:
    if not found:
        return ""
    size = f"{found.width} × {found.height} px" if found.width else None
    if found.correlation is None:
        return _joined(found.where, size, "not compared")
    return _joined(
        found.where,
        size,
        f"shows {found.shows}{', turned' if found.turned else ''}",
        f"correlation {found.correlation:.3f}",
    )


STATES = {
    "valid": "fit the file",
    "valid with faults": "fit the file, with faults",
    "invalid": "do not hold",
    "removed": "removed",
}


def _credentials(made: Credentials) -> str:
    if made.state in ("absent", "elsewhere", "removed", "not checked", "unreadable"):
        return _joined(made.state, made.reason, made.address)
    checks = {
        "binding": made.binding,
        "signature": made.signature,
        "certificate's time": made.time,
        "identity": made.identity,
        "sources": made.ingredients,
    }
    return _joined(
        STATES[made.state],
        *(f"{name} {outcome}" for name, outcome in checks.items()),
        made.generator,
        f"signed in the name of {made.signer}" if made.signer else None,
        made.signed,
        *made.actions,
        *(f"{finding.code} ({finding.explanation})" for finding in made.findings),
    )
