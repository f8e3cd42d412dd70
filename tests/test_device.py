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
from imltool.device import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def work():
    for _ in range(8):
        np.ones(8 << 20)  # 64 MB, freed at once
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_reused_by_the_next_step() -> None:
    faults = {
        kind: int(subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, check=True).stdout)
        for kind in ("as is", "kept")
    }
    assert faults["kept"] < 0.1 * faults["as is"]


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
