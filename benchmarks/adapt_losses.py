"""What adaptations to a new kind cost on known kinds: real forgeries and authentic pictures, before and after.

    python benchmarks/adapt_losses.py OUT --start STUDENT --authentic DIR --data NAME=DIR [--list NAME=FILE] ...
                                      [--sizes 20] [--cache DIR]

OUT is an output folder of `benchmarks/adapt.py`, STUDENT and DIR those it was run with. Every finished adaptation of
the sizes given is measured on all pictures of the data sets, which should be of kinds that STUDENT was trained on and
pictures that it was not trained on. Pictures that were among the authentic ones of the adaptation, or share a scene of
CASIA with one of them, are left out and counted. Values by picture are stored in OUT/losses.jsonl, so that an
interrupted run resumes. The table gives for each set the mean F1 before and after, and the paired difference with its
95 % interval over pictures, of which each counts with its mean over the folds. "False alarms" are authentic pictures
that score above 95 % of the authentic pictures used for calibration.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from adapt import measure
from adapt_curves import Row, calibrated_limit, read_rows, signed

from imltool.adapt.comparison import Case
from imltool.adapt.mixing import mixed
from imltool.data.folder import Sample
from imltool.data.sets import NamedSet, apply_lists, named_sets
from imltool.data.splits import scenes_of
from imltool.device import choose_device
from imltool.files import sha256_file, write_text
from imltool.inference.localizer import Localizer
from imltool.student.checkpoint import load_checkpoint
from imltool.training.prepared import ArrayCache

Key = tuple[int, int, str, str]
"""Number of pictures asked for, fold, labels, and what learns; 0 pictures for the student before."""
BEFORE = "–"
"""What the rows of the student before have as labels and as what learns."""


def key_of(row: Row) -> Key:
    """What a row was measured with."""
    return row["size"], row["fold"], row["labels"], row["parts"]


def chosen_samples(sets: Sequence[NamedSet], authentic: Path) -> dict[str, list[Sample]]:
    """The samples to measure of each set, without those that an adaptation may have been trained on."""
    used = [path.resolve() for path in sorted(authentic.iterdir())]
    hashes = {sha256_file(path) for path in used}
    scenes = {scene for path in used for scene in scenes_of(path.name)}
    found: dict[str, list[Sample]] = {}
    for one in sets:
        found[one.name] = [
            sample
            for sample in one.samples
            if not scenes & set(scenes_of(sample.image.name)) and sha256_file(sample.image) not in hashes
        ]
        kept = len(found[one.name])
        print(f"{one.name}: {kept} pictures, {len(one.samples) - kept} left out")
    return found


def students(
    out: Path, start: Path, rows: Sequence[Row], sizes: Sequence[int], device: str
) -> Iterator[tuple[Key, Localizer]]:
    """The student before, then each adapted one with the share of its weights that was kept."""
    yield (0, 0, BEFORE, BEFORE), Localizer.load(start, device)
    before = load_checkpoint(start)[0].state_dict()
    for row in rows:
        if row["size"] in sizes and row["size"]:
            size, fold, labels, parts = key_of(row)
            student, header = load_checkpoint(out / f"{size}-{fold}-{labels}-{parts}" / "training" / "last.safetensors")
            student.load_state_dict(mixed(before, dict(student.state_dict()), row["share"]))
            yield (size, fold, labels, parts), Localizer.of(student, header, device)


def measured(localizer: Localizer, samples: Mapping[str, Sequence[Sample]], cache: ArrayCache) -> Iterator[Row]:
    """Score of each picture, and F1 of each forgery."""
    for name, part in samples.items():
        cases = [Case(sample.image, sample.mask, sample.rule) for sample in part]
        for sample, row in zip(part, measure(cache, localizer, cases), strict=True):
            yield row | {"set": name, "name": sample.name}


def table(found: Sequence[Row], rows: Sequence[Row]) -> str:
    """A Markdown table with a line for each set, and for all forgeries, of each way to adapt."""
    f1s: dict[tuple[int, str, str], dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    alarms: dict[tuple[int, str, str], dict[str, list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    limits = {key_of(row): calibrated_limit(row) for row in rows}
    before = {(row["set"], row["name"]): row for row in found if row["size"] == 0}
    for row in found:
        way, picture = (row["size"], row["labels"], row["parts"]), (row["set"], row["name"])
        if "f1" in row:
            f1s[way][picture].append(row["f1"])
        elif row["size"]:
            first = before[picture]["score"] > limits[0, row["fold"], BEFORE, BEFORE]
            alarms[way][row["set"]].append((first, row["score"] > limits[key_of(row)]))
    lines = [
        "| trained on | labels | learns | set | pictures | before | after | difference [95 %] |",
        "|---:" + "|---" * 7 + "|",
    ]
    for way in sorted(way for way in f1s if way[0]):
        sets = sorted({name for name, _ in f1s[way]})
        for name in [*sets, "all forgeries"]:
            pictures = [one for one in f1s[way] if name in (one[0], "all forgeries")]
            first = np.array([before[one]["f1"] for one in pictures])
            after = np.array([np.mean(f1s[way][one]) for one in pictures])
            shown = signed(after - first)
            lines.append(_line(way, name, len(pictures), f"{first.mean():.3f}", f"{after.mean():.3f}", shown))
        everything = {**alarms[way], "all authentic": list(itertools.chain(*alarms[way].values()))}
        for name, flags in everything.items():
            if flags:
                was, now = np.mean(flags, axis=0)
                folds = len({row["fold"] for row in found if (row["size"], row["labels"], row["parts"]) == way})
                lines.append(_line(way, f"false alarms, {name}", len(flags) // folds, f"{was:.1%}", f"{now:.1%}", ""))
    return "\n".join(lines) + "\n"


def numbers(found: Sequence[Row]) -> Row:
    """Way to adapt → set → picture → F1 of a forgery, or score of an authentic one: before, and mean after."""
    before = {(row["set"], row["name"]): row for row in found if row["size"] == 0}
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in found:
        if row["size"]:
            way = f"{row['size']} {row['labels']}, {row['parts']}"
            values[way, row["set"], row["name"]].append(row.get("f1", row["score"]))
    made: Row = {}
    for (way, name, picture), after in values.items():
        first = before[name, picture]
        pair = [round(first.get("f1", first["score"]), 4), round(float(np.mean(after)), 4)]
        made.setdefault(way, {}).setdefault(name, {})[picture] = pair
    return made


def _line(way: tuple[int, str, str], name: str, count: int, before: str, after: str, difference: str) -> str:
    size, labels, parts = way
    return f"| {size} | {labels} | {parts} | {name} | {count} | {before} | {after} | {difference} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--authentic", type=Path, required=True)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=DIR")
    parser.add_argument("--list", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20])
    parser.add_argument("--cache", type=Path, help="folder of the pictures' traces, shared by all kinds")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="where to write the values by picture")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    rows, file = read_rows(given.out), given.out / "losses.jsonl"
    sets = named_sets(given.data)
    apply_lists(sets, given.list)
    samples = chosen_samples(sets, given.authentic)
    found = read_rows(given.out, "losses.jsonl")
    done = {key_of(row) for row in found}
    cache = ArrayCache(given.cache or given.out / "cache", {"content": "traces of known kinds"})
    for key, localizer in students(given.out, given.start, rows, given.sizes, choose_device(given.device)):
        if key in done:
            continue
        names = dict(zip(("size", "fold", "labels", "parts"), key, strict=True))
        new = [names | row for row in measured(localizer, samples, cache)]
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in new)
        found += new
        print(*key, f"F1 {np.mean([row['f1'] for row in new if 'f1' in row]):.3f}", flush=True)
    print(table(found, rows))
    if given.json:
        write_text(given.json, json.dumps(numbers(found), ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
