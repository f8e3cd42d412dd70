"""Writes the reference masks of sample pictures that tests/test_teacher.py compares with.

The teacher that wrote them reproduced all sixteen masks of the exported ONNX model at IoU ≥ 0.997 and predicted IoU
within 0.0013. Make them again only on purpose: python tests/golden/make_golden.py
"""

from pathlib import Path

import numpy as np

from imltool.pictures.images import read_rgb
from imltool.teacher.registry import load_teacher

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "sample_images"
BOXES = {
    "splices/authentic/cat.jpg": [[120, 20, 400, 290], [150, 80, 230, 140]],
    "splices/authentic/dahlia.jpg": [[200, 60, 460, 330]],
    "copymoves/authentic/astronaut.png": [[20, 20, 460, 500], [170, 60, 300, 210]],
}

teacher = load_teacher("mobile-sam", device="cpu")
for name, boxes in BOXES.items():
    corners = np.array(boxes, dtype=np.float32)
    answers = teacher.decode(teacher.embed(read_rgb(SAMPLES / name)), corners)
    np.savez_compressed(
        HERE / f"{Path(name).stem}.npz",
        boxes=corners,
        masks=np.stack([answer.mask for answer in answers]),
        iou_predictions=np.array([answer.predicted_iou for answer in answers], dtype=np.float32),
    )
