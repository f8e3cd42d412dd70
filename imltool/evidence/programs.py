"""Kinds of program that a text in a file names. Whole texts are matched; they are cut only for display."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from imltool.evidence.model import Trace
from imltool.texts import clean


class Text(Enum):
    """The content of a field: the name of a program, a comment that programs may sign, or free text by people."""

    PROGRAM = "program"
    COMMENT = "comment"
    FREE = "free"


@dataclass(frozen=True)
class Field:
    """A field of a file with its whole text; "" for none."""

    where: str
    text: str
    kind: Text


NAMES = {
    "editor": (
        r"photoshop(?! lightroom)", r"gimp", r"lightroom", r"(adobe )?camera raw",
        r"adobe (imageready|bridge|fireworks|illustrator|save for web)", r"affinity( photo)?", r"pixelmator( pro)?",
        r"paint\.net", r"snapseed", r"picsart", r"photopea", r"canva", r"paint ?shop( pro)?", r"acdsee", r"picasa",
        r"photoscape( x)?", r"photofiltre", r"corel", r"krita", r"capture one", r"darktable", r"rawtherapee",
        r"luminar", r"dxo", r"vsco", r"meitu|beautyplus|airbrush", r"facetune\d*|faceapp", r"remini",
        r"polarr|pixlr|fotor|befunky|inshot", r"photo ?editor", r"irfanview|xnview", r"windows photo",
        r"microsoft photos|microsoft windows photo viewer|paint 3d", r"topaz|gigapixel", r"photomatix|aurora hdr",
    ),
    "stitcher": (r"hugin", r"ptgui", r"autostitch", r"image composite editor"),
    "library": (
        r"imagemagick|graphicsmagick", r"gd-jpeg", r"lav[cf][\d.]*", r"ffmpeg", r"libvips|openjpeg",
        r"lead technologies|intel\(r\) jpeg", r"applemark", r"matplotlib",
    ),
    "metadata-tool": (r"exiftool", r"exiv2", r"exif ?pilot", r"geosetter", r"jhead"),
    "generator": (
        r"midjourney", r"(stable|latent) ?diffusion", r"comfyui|automatic1111|invokeai|novelai|fooocus|easy diffusion",
        r"dall[ .·-]?e( \d)?", r"openai|chatgpt|gpt-image", r"adobe firefly", r"firefly", r"ideogram",
        r"leonardo\.ai", r"black forest labs", r"google (generative )?ai|imagen \d",
        r"bing image creator", r"draw things",
    ),
    "screenshot": (r"screen ?shot", r"screen ?capture", r"greenshot", r"sharex", r"snipping ?tool"),
}  # fmt: skip
"""Kind of program → patterns of names, searched between word boundaries in fields for the name of a program."""

SIGNED = {
    "editor": (
        r"^(created|made|edited|processed|saved) (with|by|in) ({editor})",
        r"^file written by adobe photoshop",
        r"^apple photos clean up",
    ),
    "library": (
        r"^creator: gd-jpeg",
        r"^lav[cf]\d",
        r"^(created|written) by ({library})",
        r"^({library})",
        r"^applemark",
    ),
    "generator": (r"^(created|made|generated|edited) (with|by|in|using) ({generator})",),
    "screenshot": (r"^screen ?shot$",),
}
"""Kind → beginnings of comments that such a program signed."""

PARAMETERS = (
    (r"\bsteps: \d+, .{0,40}sampler: ",),
    (r"\bnegative prompt: ", r"\bsteps: \d+"),
    (r"\bcfg scale: [\d.]+, seed: \d+",),
    (r'"(last_node_id|last_link_id)"\s*:\s*\d', r'"nodes"\s*:|"last_(node|link)_id".*"last_(node|link)_id"'),
    (r'"class_type"\s*:\s*"[^"]*(sampler|checkpoint|vae|clip|unet|latent)[^"]*"',),
    (r'"(sd_version|sui_image_params|invokeai_metadata|sd-metadata|fooocus_scheme|model_weights)"\s*:',),
    (r'"(prompt|positive_prompt)"\s*:', r'"(seed|steps|sampler|cfg_scale|guidance_scale|scheduler)"\s*:'),
    (r'"(sampler|sampler_name)"\s*:', r'"seed"\s*:', r'"steps"\s*:'),
    (r"\bjob id: [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",),
    (r" --(v|niji) \d", r" --(ar|stylize|chaos|style|s|c|q) \S"),
    (r"\bnovelai\b", r'"?sampler"?\s*:'),
)
"""How the common generators write the parameters of a picture, in any text: all patterns of a line must occur."""
PARAMETER_KEYS = re.compile(
    r"^PNG text (sd-metadata|invokeai_(metadata|graph|workflow)|generation_data|fooocus_scheme|sui_image_params)$",
    re.IGNORECASE,
)
"""Texts that only generators write."""
OWN_FORMS = {
    "png text prompt": re.compile(r'\{ ?"'),
    "png text workflow": re.compile(r'\{ ?"'),
    "png text dream": re.compile(r"(?=.* -s ?\d).* -S ?\d"),
}
"""Texts with ordinary names → how they begin if a generator wrote them: ComfyUI's JSON objects, InvokeAI's options."""
NETWORK_CODES = re.compile(r"^FBMD[0-9a-f]{4}", re.IGNORECASE)
NETWORKS = re.compile(
    r"(instagram|facebook|whatsapp|snapchat|wechat|weibo|tiktok)(( for)? (android|ios|iphone|camera|web))?( v?[\d.]+)?",
    re.IGNORECASE,
)
"""A program field names a network only if it holds nothing else."""


def _any(patterns: tuple[str, ...]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


_NAMED = {kind: re.compile(rf"(?<!\w)(?:{_any(patterns)})(?!\w)", re.IGNORECASE) for kind, patterns in NAMES.items()}
_SIGNED = {
    kind: re.compile(_any(patterns).format(**{name: _any(names) for name, names in NAMES.items()}), re.IGNORECASE)
    for kind, patterns in SIGNED.items()
}
_PARAMETERS = [[re.compile(pattern, re.IGNORECASE) for pattern in line] for line in PARAMETERS]
MATCHED = 200_000
"""Characters of a text that are matched (our choice: several times the longest workflow we met)."""


def kinds_of(field: Field) -> tuple[str, ...]:
    """The kinds of program that a field names, in the order of `NAMES` and then "network"."""
    text = " ".join(field.text[:MATCHED].split())
    found = []
    if field.kind is Text.PROGRAM:
        found = [kind for kind, pattern in _NAMED.items() if pattern.search(text)]
        found += ["network"] if NETWORKS.fullmatch(text) else []
    elif field.kind is Text.COMMENT:
        found = [kind for kind, pattern in _SIGNED.items() if pattern.search(text)]
    elif re.fullmatch(r"screen ?shot", text, re.IGNORECASE):  # phones write this as a user comment
        found = ["screenshot"]
    parameters = any(all(pattern.search(text) for pattern in line) for line in _PARAMETERS)
    own = OWN_FORMS.get(field.where.lower())
    parameters = parameters or (own is not None and own.match(text) is not None)
    if "generator" not in found and (parameters or PARAMETER_KEYS.match(field.where)):
        found.append("generator")
    if field.where == "IPTC Special Instructions" and NETWORK_CODES.match(text):
        found.append("network")
    return tuple(found)


NAMED_AT = re.compile(
    r"EXIF (Software|ProcessingSoftware)$|XMP (CreatorTool|Software|camera raw settings|history|AISystemUsed)$"
    r"|IPTC Originating Program$|PNG text (software|creator ?tool)$",
    re.IGNORECASE,
)
"""Fields that hold the name of a program and nothing else. HostComputer holds a device, captions hold anything."""


def names_program(trace: Trace) -> bool:
    """Whether a field names a program, by its text or because that is what the field is for."""
    return bool(trace.kinds) or NAMED_AT.match(trace.where) is not None


def trace_of(field: Field) -> Trace | None:
    """A field in the form of a row: the text cut for display, the kinds from the whole text; None without text."""
    text = clean(field.text)
    return Trace(where=field.where, text=text, kinds=kinds_of(field)) if text else None
