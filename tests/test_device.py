"""Device-dependent settings: precision, and memory between training steps."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pictures import make_set

from imltool.config import load_settings
from imltool.training.loop import Training
from imltool.training.settings import TrainSettings

PROGRAM = """
import resource, sys
import numpy as np
from imltool.device import freed_memory_kept
def work():
    for _ in range(8):
        np.ones(8 << 20)  # 64 MB, freed at once
def faults():
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
with freed_memory_kept() as kept:
    assert kept
    during = faults()
print(before, during, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_reused_by_the_next_step() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    before, during, after = map(int, done.stdout.split())
    assert during < 0.1 * before and after > 0.5 * before, "the program's memory is as before"


def test_automatic_precision_is_float32_on_cpu(tmp_path: Path) -> None:
    make_set(tmp_path / "set", tampered=1, authentic=0)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
init: random
student: {{backbone: nano, input_size: 64}}
data: {{root: {tmp_path}, train: [{{name: set, kind: masks, images: set/tampered, masks: set/masks}}]}}
optim: {{batch_size: 2}}
"""
    )
    settings = load_settings(TrainSettings, config)
    assert settings.optim.precision == "auto"
    assert Training(settings, tmp_path / "run", "cpu").accelerator.mixed_precision == "no"
