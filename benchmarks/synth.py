"""Time of one synthetic sample on one thread, per kind, relative to one JPEG save and load of the same size.

Usage: python benchmarks/synth.py PHOTOS [IMAGES:MASKS]
"""

import sys
import time
from pathlib import Path

import cv2

from imltool.pictures.pixels import jpeg
from imltool.synth.forge import Forge, sample_rng
from imltool.synth.kinds import KINDS
from imltool.synth.settings import SynthSettings
from imltool.synth.sources import SourcePool

cv2.setNumThreads(1)
pairs = [(Path(a), Path(b)) for a, _, b in (text.partition(":") for text in sys.argv[2:])]
forge = Forge(SynthSettings(), SourcePool.from_folders([Path(sys.argv[1])], pairs))
for path in forge.pool.hosts:
    forge.pool.picture(path)
reference = forge.make(sample_rng(0, 0)).image
started = time.perf_counter()
for _ in range(50):
    jpeg(reference, 90, 2)
unit = (time.perf_counter() - started) / 50
print(f"one JPEG round trip at {reference.shape[1]}x{reference.shape[0]}: {unit * 1000:.2f} ms")
for kind in KINDS:
    started = time.perf_counter()
    for index in range(60):
        forge.make(sample_rng(1, index), kind)
    each = (time.perf_counter() - started) / 60
    print(f"{kind}: {each * 1000:.1f} ms a sample, {each / unit:.1f} JPEG round trips")
