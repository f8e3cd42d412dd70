"""A file's context in words, for people: what the report's case view lists."""

from __future__ import annotations

from typing import Any

TIMES = {
    "taken": "taken",
    "digitised": "digitised",
    "changed": "changed",
    "gps": "satellites",
    "xmp_created": "XMP created",
    "xmp_changed": "XMP changed",
}


def describe(context: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Names and values of what a context (see `picture_context`) holds; where the file is silent, nothing is listed."""
    if not context or not context["format"]:
        return []
    camera, gps, made = context["camera"], context["gps"], context["credentials"] or {"state": "not checked"}
    times = [
        f"{word} {context['times'][key].replace('T', ' ')}" for key, word in TIMES.items() if context["times"][key]
    ]
    place = [str(gps["latitude"]), str(gps["longitude"])] if gps["present"] else []
    lines = {
        "Format": _format(context),
        "JPEG coding": _coding(context["jpeg"]),
        "Earlier save": _earlier(context["earlier_save"]),
        "Camera": _joined(_model(camera), camera["lens"], camera["serial"] and f"serial {camera['serial']}"),
        "Software": "; ".join(f"{trace['text']} ({trace['where']})" for trace in context["software"]),
        "Times": "; ".join(times),
        "Position": _joined(*place, f"{gps['altitude']} m high" if gps["altitude"] is not None else None),
        "Thumbnail": _thumbnail(context["thumbnail"]),
        "Colour profile": context["profile"],
        "Content Credentials": _credentials(made),
        "Not readable": "; ".join(context["problems"]),
    }
    return [(name, value) for name, value in lines.items() if value]


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _model(camera: dict[str, str | None]) -> str:
    make, model = camera["make"] or "", camera["model"] or ""
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def _format(context: dict[str, Any]) -> str:
    told = context["told_size"]
    return _joined(
        context["format"],
        context["mode"],
        f"{context['frames']} frames or pages" if (context["frames"] or 1) > 1 else None,
        f"EXIF orientation {context['orientation']}" if (context["orientation"] or 1) > 1 else None,
        f"EXIF tells {told[0]} × {told[1]} px" if told and context["size_differs"] else None,
    )


def _coding(jpeg: dict[str, Any] | None) -> str:
    if not jpeg:
        return ""
    kind = "the IJG library's tables" if jpeg["quality_exact"] else "other tables, nearest IJG quality"
    return _joined(
        f"quality {jpeg['quality']} ({kind})" if jpeg["quality"] else None,
        jpeg["subsampling"],
        "progressive" if jpeg["progressive"] else None,
        f"tables SHA-256 {jpeg['tables_sha256'][:16]}…" if jpeg["tables_sha256"] else None,
    )


def _earlier(found: dict[str, Any] | None) -> str:
    return f"traces in {found['frequencies']} of 14 frequencies" if found and found["frequencies"] else ""


def _thumbnail(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    size = f"{found['width']} × {found['height']} px" if found["width"] else None
    if found["correlation"] is None:
        return _joined(found["where"], size, "not compared")
    return _joined(
        found["where"],
        size,
        f"shows {found['shows']}{', turned' if found['turned'] else ''}",
        f"correlation {found['correlation']:.3f}",
        f"largest local difference {found['local_difference']:.1f} of 255",
    )


def _credentials(made: dict[str, Any]) -> str:
    if made["state"] in ("absent", "elsewhere", "not checked", "unreadable"):
        return _joined(made["state"], made.get("reason"), made.get("address"))
    return _joined(
        "fit the file" if made["state"] == "valid" else "do not fit the file",
        made["generator"],
        f"signed in the name of {made['signer']}" if made["signer"] else None,
        made["signed"],
        *made["actions"],
        *made["failures"],
    )
