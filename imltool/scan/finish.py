"""The last step for one file of a scan: write its outputs and make its result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from imltool.errors import ImlError
from imltool.evidence.remarks import make_remarks
from imltool.files import write_bytes, writing
from imltool.pictures.draw import fit
from imltool.pictures.images import Map, encode_jpeg, map_png, mask_png
from imltool.scan.companions import companion_files, companion_png
from imltool.scan.decode import Decoded, failure
from imltool.scan.inputs import Input
from imltool.scan.picture_outputs import OVERLAY_SIDE, find_regions, map_score, output_files, overlay, quantise
from imltool.scan.previews import make_preview
from imltool.scan.results import ScanResult
from imltool.scan.settings import ScanSettings
from imltool.scan.stability import settle


def finish(
    item: Input,
    read: Decoded,
    predicted: Map | str | None,
    changed: Mapping[str, float | None],
    out: Path,
    settings: ScanSettings,
) -> ScanResult:
    """Compute and write the outputs of one picture and return its result.

    Args:
        read: the picture; its pixels are freed once they are drawn.
        predicted: its map (overwritten here), the reason why there is none, or None for a picture that was not decoded.
        changed: its scores after the changes of `stability`; empty when it was not requested.

    Raises `OutputError`.
    """
    result = partial(
        ScanResult,
        path=item.name,
        sha256=read.sha256,
        size_bytes=read.size_bytes,
        status="failed",
        context=read.context,
        remarks=tuple(make_remarks(read.context)) if read.context else (),
    )
    if read.rgb is None:
        return result(reason=read.reason)
    height, width = read.rgb.shape[:2]
    result = partial(result, width=width, height=height)
    if predicted is None or isinstance(predicted, str):
        return result(reason=predicted or "not analysed")
    values = quantise(predicted)
    score = map_score(values)
    if score is None:
        return result(reason="analysis failed (the map holds values that are not numbers)")
    files, companions = output_files(item.output), companion_files(item.output, settings.companions)
    written: dict[str, str] = {}

    def save(file: str, data: bytes) -> None:
        write_bytes(out / file, data)
        written[file] = hashlib.sha256(data).hexdigest()

    try:
        rgb, small = fit(read.rgb, OVERLAY_SIDE), fit(values, OVERLAY_SIDE)
        save(files["overlay"], encode_jpeg(overlay(rgb, small, settings.threshold), quality=88))
        save(files["preview"], make_preview(rgb, small, settings.threshold).to_bytes())
        for name, file in companions.items():
            save(file, companion_png(name, read.rgb))
        read.rgb = None  # memory would not hold a large picture's pixels together with what follows
        save(files["map"], map_png(values))
        save(files["mask"], mask_png(values > settings.threshold))
        area = np.count_nonzero(values > settings.threshold) / values.size
        regions = find_regions(values, settings.threshold)
    except ImlError:
        raise
    except Exception as error:  # mostly lack of memory: the next picture may need less
        with writing(out):
            for file in written:
                (out / file).unlink(missing_ok=True)
        return result(reason=failure(error))
    settled = settle(settings.verdicts, score, changed)
    return result(
        status="ok",
        score=score,
        verdict=settled.verdict,
        verdict_reason=settled.reason,
        stability=settled.stability,
        tampered_area=round(area, 6),
        regions=tuple(regions),
        companions=companions,
        outputs_sha256=written,
        **files,
    )
