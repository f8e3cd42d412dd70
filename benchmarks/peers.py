"""Metrics of one set of maps by imltool and by scikit-learn, torchmetrics and segmentation-models-pytorch.

Prints the largest absolute difference of each metric over all pictures, and of the AUC over image scores.

Usage: python benchmarks/peers.py [DATASET ...]   (tampered/, masks/, authentic/; default sample_images/*)
Needs: pip install torchmetrics segmentation-models-pytorch scikit-learn
"""

import importlib.metadata
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import segmentation_models_pytorch.metrics as smp
import torch
from sklearn import metrics as sklearn
from torchmetrics.functional import classification as torchmetrics

from imltool.data.folder import read_folder
from imltool.data.samples import read_sample_mask
from imltool.evaluation.metrics import image_auc
from imltool.evaluation.rows import HALF
from imltool.evaluation.runner import count_image
from imltool.inference.localizer import Localizer
from imltool.pictures.images import Map, Mask, read_rgb


def of_scikit_learn(values: Map, truth: Mask) -> dict[str, float]:
    flat, marked = truth.ravel(), (values > 0.5).ravel()
    return {
        "f1": sklearn.f1_score(flat, marked),
        "iou": sklearn.jaccard_score(flat, marked),
        "auc": sklearn.roc_auc_score(flat, values.ravel()),
    }


def of_torchmetrics(values: Map, truth: Mask) -> dict[str, float]:
    both = torch.from_numpy(np.ascontiguousarray(values)).flatten(), torch.from_numpy(truth).flatten().long()
    return {
        "f1": float(torchmetrics.binary_f1_score(*both)),
        "iou": float(torchmetrics.binary_jaccard_index(*both)),
        "auc": float(torchmetrics.binary_auroc(*both)),
    }


def of_smp(values: Map, truth: Mask) -> dict[str, float]:
    marked, flat = torch.from_numpy(values > 0.5).long()[None, None], torch.from_numpy(truth).long()[None, None]
    stats = smp.get_stats(marked, flat, mode="binary")
    return {
        "f1": float(smp.f1_score(*stats, reduction="micro")),
        "iou": float(smp.iou_score(*stats, reduction="micro")),
    }


PEERS = {
    "scikit-learn": of_scikit_learn,
    "torchmetrics": of_torchmetrics,
    "segmentation-models-pytorch": of_smp,
}

localizer = Localizer.load(Path("boxprompt"), torch.device("cpu"))
roots = [Path(word) for word in sys.argv[1:]] or sorted(
    path for path in Path("sample_images").iterdir() if path.is_dir()
)
largest: dict[tuple[str, str], float] = defaultdict(float)
f1s: list[float] = []
scores: dict[bool, list[float]] = {True: [], False: []}
for sample in (sample for root in roots for sample in read_folder(root).samples):
    rgb = read_rgb(sample.image)
    (values,) = localizer.maps([rgb])
    truth = read_sample_mask(sample) if sample.mask else np.zeros(rgb.shape[:2], dtype=bool)
    row = count_image(sample, values, truth, {HALF: 0.5})
    scores[sample.tampered].append(row.score)
    if not sample.tampered:
        continue
    f1s.append(row.metric("f1") or 0.0)
    for peer, measure in PEERS.items():
        for metric, value in measure(values, truth).items():
            ours = row.metric(metric)
            assert ours is not None
            largest[peer, f"pixel {metric}"] = max(largest[peer, f"pixel {metric}"], abs(ours - value))

labels = np.repeat([1, 0], [len(scores[True]), len(scores[False])])
ranked = np.concatenate([scores[True], scores[False]])
ours = image_auc(scores[True], scores[False])
assert ours is not None
largest["scikit-learn", "image auc"] = abs(ours - sklearn.roc_auc_score(labels, ranked))
largest["torchmetrics", "image auc"] = abs(
    ours - float(torchmetrics.binary_auroc(torch.from_numpy(ranked), torch.from_numpy(labels)))
)
print(f"{len(scores[True])} tampered and {len(scores[False])} authentic pictures of {len(roots)} sets")
print(f"mean pixel F1 {np.mean(f1s):.4f}, image AUC {ours:.4f}; largest differences:")
for (peer, metric), difference in sorted(largest.items()):
    print(f"{peer} {importlib.metadata.version(peer):8} {metric:10} {difference:.1e}")
