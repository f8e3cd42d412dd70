"""Adaptation of a student to a new kind of forgery: F1 against the number of boxed pictures.

    python benchmarks/adapt.py SET --start STUDENT --authentic DIR --out OUT [--sizes 5 10 20 1000] [--parts all fusion]

SET has the layout tampered/, masks/, boxes.json (and optionally a manifest.jsonl with scenes). Its pictures
are divided by scene into folds; for each fold the student is adapted to the first pictures of the other folds, as
in `imltool adapt`, and evaluated on the fold with the true masks. Its loss is measured on forgeries of
known kinds made from authentic pictures that are not used for training, and on those pictures. Rows are stored in
OUT, so that an interrupted benchmark resumes. The table is printed at the end; `benchmarks/adapt_curves.py` makes it,
and a plot, from the rows of one or several kinds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapt_curves import Row, read_rows, table

from imltool.adapt.comparison import Case, f1_of
from imltool.adapt.known import known_cases, make_known
from imltool.adapt.mixing import keep_known
from imltool.adapt.parts import Parts, group_scenes
from imltool.adapt.recipe import training_settings
from imltool.adapt.settings import AdaptSettings
from imltool.config import load_settings
from imltool.data.box_formats import read_boxes
from imltool.data.boxes import MatchedImage, match_boxes
from imltool.device import choose_device
from imltool.files import make_folder, sha256_text
from imltool.inference.localizer import Localizer, image_score
from imltool.pictures.images import read_rgb
from imltool.student.checkpoint import load_checkpoint
from imltool.student.header import read_header
from imltool.teacher.pseudo import PseudoSettings, write_pseudo_masks
from imltool.teacher.registry import load_teacher
from imltool.training.loop import Training
from imltool.training.prepared import ArrayCache
from imltool.training.settings import SourceSettings, TrainSettings

KNOWN_COUNT = 24


@dataclass(frozen=True)
class Bench:
    """Settings and data shared by all runs."""

    folder: Path
    start: Path
    authentic: Path
    out: Path
    settings: AdaptSettings
    device: str
    cache: ArrayCache
    clean: tuple[tuple[Path, ...], tuple[Path, ...], tuple[Path, ...]]
    watched: tuple[Case, ...]
    known: tuple[Case, ...]

    def measured(self, localizer: Localizer, held: Sequence[Path]) -> Row:
        """Metrics of a student on the fold, on forgeries of known kinds, and on authentic pictures."""
        calibrating, checking = ([Case(path, None) for path in part] for part in self.clean[1:])
        return {
            "held": measure(self.cache, localizer, labelled(held, self.folder / "masks")),
            "known": measure(self.cache, localizer, self.known),
            "calibrating": measure(self.cache, localizer, calibrating),
            "authentic": measure(self.cache, localizer, checking),
        }


def shuffled(groups: list[list[Path]]) -> list[list[Path]]:
    """Scenes in an order that depends only on their names."""
    return sorted(groups, key=lambda group: sha256_text(group[0].name))


def folds_of(folder: Path, files: Sequence[Path], pattern: str | None, count: int) -> list[list[list[Path]]]:
    """The scenes of each fold."""
    manifest, listed = folder / "manifest.jsonl", {}
    if manifest.is_file():
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        listed = {Path(row["file"]).name: row["scene"] for row in rows if "scene" in row and "tampered" in row["file"]}
    if listed and pattern is None:
        ordered = sorted(files, key=lambda path: (str(listed[path.name]), path.name))
        groups = [list(group) for _, group in itertools.groupby(ordered, key=lambda path: listed[path.name])]
    else:
        groups = group_scenes(files, pattern)
    return [shuffled(groups)[number::count] for number in range(count)]


def measure(cache: ArrayCache, localizer: Localizer, cases: Sequence[Case]) -> list[Row]:
    """Score, and F1 of forgeries, of each picture."""
    rows = []
    for case in cases:
        rgb = read_rgb(case.image)
        kept = cache.get(
            sha256_text(str(case.image))[:24],
            lambda rgb=rgb: {"traces": localizer.traces(rgb)},  # type: ignore[misc]
        )
        (probabilities,) = localizer.maps([rgb], [kept["traces"]] if localizer.sees_traces else None)
        row: Row = {"name": case.image.name, "score": float(image_score(probabilities))}
        if case.mask is not None:
            row["f1"] = f1_of(probabilities, case)
        rows.append(row)
    return rows


def labelled(paths: Sequence[Path], masks: Path) -> list[Case]:
    """Pictures with their true masks."""
    return [Case(path, next(masks.glob(f"{path.stem}.*"))) for path in paths]


def run(bench: Bench, held: Sequence[Path], taught: Sequence[Path], labels: str, parts: str, place: Path) -> Row:
    """Train on `taught`, measure on `held`."""
    settings = bench.settings.model_copy(update={"parts": parts})
    header = read_header(bench.start)
    chosen = Parts(tuple(taught), tuple(held), *bench.clean)
    recipe = training_settings(
        bench.start,
        header,
        bench.folder / "tampered",
        bench.authentic,
        chosen,
        bench.out / "pseudo",
        make_folder(place / "lists"),
        settings,
    )
    folder = place / "training"
    if not (folder / "last.safetensors").is_file():  # written at the end
        training = Training(
            _changed(recipe, bench, labels), folder, choose_device(bench.device), resume=folder.is_dir()
        )
        for _ in training.run():
            pass
    student, after = load_checkpoint(folder / "last.safetensors")
    before = load_checkpoint(bench.start)[0].state_dict()
    localizer, mixing = keep_known(before, student, after, bench.watched, choose_device(bench.device))
    return {"minutes": minutes_of(folder), "share": mixing.share} | bench.measured(localizer, held)


def minutes_of(folder: Path) -> float:
    """Duration of a training in minutes, from the images/s in its log."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [(row["step"], row["images_per_second"]) for row in rows if row["event"] == "train"]
    size = load_settings(TrainSettings, folder / "config.yaml").optim.batch_size
    starts = [0, *(step for step, _ in steps)]
    return float(sum((step - start) * size / speed for start, (step, speed) in zip(starts, steps, strict=False)) / 60)


def _changed(recipe: TrainSettings, bench: Bench, labels: str) -> TrainSettings:
    """The recipe with the shared cache, and with pixel masks instead of pseudo-masks if requested."""
    train = list(recipe.data.train)
    if labels == "masks":
        new = train[0].model_dump() | {"kind": "masks", "pseudo": None, "masks": bench.folder / "masks"}
        train[0] = SourceSettings.model_validate(new)
    data = recipe.data.model_copy(update={"train": tuple(train), "cache": bench.out / "cache", "validation": ()})
    return recipe.model_copy(update={"data": data})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--authentic", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 20, 1000])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--scenes", help="pattern of the part of file names that pictures of a scene share")
    parser.add_argument("--parts", nargs="+", default=["all"], choices=["all", "fusion"])
    parser.add_argument("--labels", nargs="+", default=["boxes"], choices=["boxes", "masks"])
    parser.add_argument("--set-adapt", action="append", default=[], metavar="KEY=VALUE", help="a setting of adapt")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    settings = load_settings(AdaptSettings, None, given.set_adapt)
    out, folder = make_folder(given.out.resolve()), given.set.resolve()
    matched = match_boxes(folder / "tampered", read_boxes(folder / "boxes.json")).matched
    folds = folds_of(folder, [item.image for item in matched], given.scenes, given.folds)
    bench = prepare(folder, given, settings, out, matched)
    rows = read_rows(out)
    jobs: list[tuple[int, int, str, str]] = [(0, fold, "–", "–") for fold in range(given.folds)]
    jobs += itertools.product(given.sizes, range(given.folds), given.labels, given.parts)
    for size, fold, labels, parts in jobs:
        if any((row["size"], row["fold"], row["labels"], row["parts"]) == (size, fold, labels, parts) for row in rows):
            continue
        held = sorted(itertools.chain(*folds[fold]))
        others = shuffled([scene for number, one in enumerate(folds) if number != fold for scene in one])
        taught = list(itertools.chain(*others))[:size]
        key: Row = {"size": size, "fold": fold, "labels": labels, "parts": parts, "taught": len(taught)}
        if size:
            row = key | run(bench, held, taught, labels, parts, out / f"{size}-{fold}-{labels}-{parts}")
        else:
            before = Localizer.load(bench.start, choose_device(given.device))
            row = key | {"minutes": 0.0} | bench.measured(before, held)
        rows.append(row)
        with (out / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(*key.values(), f"F1 {statistics.mean(one['f1'] for one in row['held']):.3f}", flush=True)
    print(table({folder.name: rows}))


def prepare(
    folder: Path, given: argparse.Namespace, settings: AdaptSettings, out: Path, matched: list[MatchedImage]
) -> Bench:
    """Pseudo-masks of all boxed pictures, the parts of the authentic ones, and forgeries of known kinds."""
    if not (out / "pseudo").is_dir():
        teacher = load_teacher(settings.teacher, device=choose_device(given.device), engine="auto")
        for _ in write_pseudo_masks(matched, teacher, PseudoSettings(), make_folder(out / "pseudo")):
            pass
    clean = sorted(path for path in given.authentic.resolve().iterdir())
    scenes = shuffled(group_scenes(clean, settings.scenes))
    parts = [tuple(sorted(itertools.chain(*scenes[number::10]))) for number in range(10)]
    teaching, calibrating, checking = parts[:4], parts[4:7], parts[7:]
    three = tuple(tuple(itertools.chain(*each)) for each in (teaching, calibrating, checking))
    cases = []
    for name, photos in (("watched", three[1]), ("known", three[2])):
        if not (out / name).is_dir():
            for _ in make_known(photos, KNOWN_COUNT, out / name):
                pass
        cases.append(tuple(known_cases(out / name)))
    cache = ArrayCache(out / "cache", {"content": "traces of whole pictures"})
    return Bench(
        folder,
        given.start,
        given.authentic.resolve(),
        out,
        settings,
        given.device,
        cache,
        three,  # type: ignore[arg-type]
        *cases,
    )


if __name__ == "__main__":
    main()
