"""Determine the rasters of a manifest's masks and report the findings."""

from __future__ import annotations

from imltool.data.layouts.common import Problem
from imltool.data.manifest import Manifest
from imltool.data.raster import settle_rasters


def settle_manifest(manifest: Manifest) -> tuple[Manifest, list[Problem]]:
    """The manifest with the raster of every mask filled in if the set decides it, see `settle_rasters`.

    A mask that is converted from the stored raster is a note; an undecided raster is a fault.
    """
    samples = manifest.samples()
    settled = settle_rasters(samples)
    records = [
        record.model_copy(update={"mask_rule": sample.rule})
        for record, sample in zip(manifest.records, settled.samples, strict=True)
    ]
    asked = {sample.name: sample.rule.raster for sample in samples}
    problems = [
        Problem("orientation", name, "its mask is of the stored raster: converted by the EXIF orientation", fault=False)
        for name in settled.turned
        if asked[name] is None
    ]
    problems += [
        Problem(
            "orientation",
            name,
            "has an EXIF orientation, and nothing shows whether its mask is of the stored raster: read as displayed; "
            "--mask-rule raster=stored or raster=displayed decides it",
        )
        for name in settled.unclear
    ]
    return Manifest(manifest.root, records), problems
