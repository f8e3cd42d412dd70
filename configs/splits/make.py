"""Makes the lists of this folder again, but for the fixed ones of casia1-dev and photos that they start from.

    python configs/splits/make.py DATA [--out FOLDER]

No source scene is in two of the parts train, calibration and val, across all sets: the pictures of CASIA v2 and the
multi-splices made from them share scenes with CASIA v1, so they follow its lists; one that would join two parts is in
none (`left-out.txt`).
DATA holds the data sets as folders, each with `manifest.jsonl` where it has one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from imltool.data.splits import read_list
from imltool.files import walk_images

PARTS = ("train", "calibration", "val")
SHARES = {"train": 0.5, "calibration": 1 / 6, "val": 1 / 3}
CASIA = re.compile(r"(ani|arc|art|cha|ind|nat|pla|sec|txt)_?(\d{4,5})")
HEADS = {
    "train": "for training",
    "calibration": "for calibrating thresholds and nothing else",
    "val": "for watching, choosing and measuring",
}
Scenes = Callable[[str], set[str]]


def casia(name: str) -> set[str]:
    """Scenes of a CASIA file name; v1 writes ani0049 what v2 writes ani00049."""
    return {f"{kind}{int(number)}" for kind, number in CASIA.findall(Path(name).name)}


def rank(name: str) -> str:
    """An order that depends on nothing but the name."""
    return hashlib.sha256(f"2026:{name}".encode()).hexdigest()


def pictures(data: Path, name: str) -> list[str]:
    """Names of a set's pictures as lists have them: tampered/a.jpg, authentic/b.jpg."""
    folders = [data / name / kind for kind in ("tampered", "authentic")]
    return sorted(
        f"{folder.name}/{path.relative_to(folder).as_posix()}"
        for folder in folders
        if folder.is_dir()
        for path in walk_images(folder)
    )


def manifest_scenes(data: Path, name: str) -> Scenes:
    """Scenes as the set's manifest gives them in `scene`."""
    lines = (data / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    known = {row["file"]: str(row["scene"]) for row in rows if "scene" in row}
    return lambda picture: {known[picture]}


def shared_out(groups: dict[str, list[str]], shares: dict[str, float]) -> dict[str, list[str]]:
    """Whole groups of pictures by part: the next group goes where most is missing."""
    total = sum(map(len, groups.values()))
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for key in sorted(groups, key=lambda key: (-len(groups[key]), rank(key))):
        missing = {part: share * total - len(parts[part]) for part, share in shares.items()}
        parts[max(missing, key=lambda part: missing[part])] += groups[key]
    return parts


def by_scene(names: Iterable[str], scenes: Scenes) -> dict[str, list[str]]:
    """Pictures that share a scene, directly or through others."""
    parent: dict[str, str] = {}

    def root(scene: str) -> str:
        while parent.setdefault(scene, scene) != scene:
            scene = parent[scene]
        return scene

    found = {name: sorted(scenes(name)) for name in names}
    for ids in found.values():
        for one in ids[1:]:
            parent[root(one)] = root(ids[0])
    groups: dict[str, list[str]] = defaultdict(list)
    for name, ids in found.items():
        groups[root(ids[0])].append(name)
    return groups


def casia_parts(data: Path, lists: Path) -> tuple[dict[tuple[str, str], list[str]], list[str]]:
    """(set, part) → names of casia2_part, misd and casia2_auth, and what would join two parts."""
    side: dict[str, str] = {}
    for part in PARTS:
        for name in read_list(lists / f"casia1-dev.{part}.txt"):
            side |= dict.fromkeys(casia(name), part)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    left: list[str] = []
    for one in ("misd", "casia2_part"):
        names = sorted(pictures(data, one), key=rank)
        total = len(names)
        taken = dict.fromkeys(PARTS, 0)
        # pictures that CASIA v1 binds come first; the free ones then fill what is missing
        for name in sorted(names, key=lambda name: not any(scene in side for scene in casia(name))):
            bound = {side[scene] for scene in casia(name) if scene in side}
            if len(bound) > 1:
                left.append(f"{one}/{name}")
                continue
            wanted = max(PARTS, key=lambda part: SHARES[part] * total - taken[part])
            part = bound.pop() if bound else wanted
            side |= dict.fromkeys(casia(name), part)
            taken[part] += 1
            found[one, part].append(name)
    groups = by_scene(pictures(data, "casia2_auth"), casia)
    free = {key: names for key, names in groups.items() if key not in side}
    for key, names in groups.items():
        if key in side:
            found["casia2_auth", side[key]] += names
    for part, names in shared_out(free, SHARES).items():
        found["casia2_auth", part] += names
    return found, left


def camera(name: str) -> set[str]:
    """Pictures of one camera, photographer or series of a collection: neighbours in a numbered series are alike."""
    stem = Path(name).stem
    return {re.sub(r"[-_]?\d+(_[0-9a-f]{6})?$", "", stem)}


def places(name: str) -> set[str]:
    """The picture a removal was made in: several tools took theirs from Places365, whose numbers have 8 digits."""
    stem = Path(name).stem
    number = stem.rsplit("_", 1)[1]
    return {number if len(number) == 8 else stem}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    found, left = casia_parts(data, Path(__file__).parent)
    thirds = {"train": 0.36, "calibration": 0.32, "val": 0.32}  # 19 are needed to promise 5 % of a kind
    half = {"calibration": 0.6, "val": 0.4}
    others: list[tuple[str, Scenes, dict[str, float]]] = [
        ("cmh", manifest_scenes(data, "cmh"), SHARES),
        ("grip_inpaint", lambda name: {Path(name).stem}, SHARES),
        ("ai_inpaint", places, SHARES),
        ("receipts", lambda name: {Path(name).stem.split("_")[1]}, SHARES),
        ("photos_native", camera, thirds),
        # terms forbid training on it
        ("photos_processed", lambda name: {Path(name).stem}, half),
    ]
    for one, scenes, shares in others:
        names = pictures(data, one)
        for kind in ("tampered", "authentic"):
            groups = by_scene([name for name in names if name.startswith(kind)], scenes)
            few = one == "receipts" and kind == "authentic"
            for part, chosen in shared_out(groups, thirds if few else shares).items():
                found[one, part] += chosen
        known = {scene: part for part in PARTS for name in found[one, part] for scene in scenes(name)}
        for part in PARTS:
            if any(known[scene] != part for name in found[one, part] for scene in scenes(name)):
                raise SystemExit(f"{one}: a scene is in two parts")
    for (one, part), names in sorted(found.items()):
        if names:
            head = f"# {one}, {HEADS[part]}: no scene is in another part of any set\n"
            (out / f"{one}.{part}.txt").write_text(head + "\n".join(sorted(names)) + "\n", encoding="utf-8")
            sys.stdout.write(f"{one}.{part}: {len(names)}\n")
    names = read_list(Path(__file__).parent / "casia1-dev.train.txt")
    for kind, mark in (("splices", "/Sp_D_"), ("copymoves", "/Sp_S_")):
        chosen = [name for name in names if mark in name]
        head = f"# casia1-dev.train.txt, the {kind} alone\n"
        (out / f"casia1-dev.train-{kind}.txt").write_text(head + "\n".join(chosen) + "\n", encoding="utf-8")
    # hosts of synthetic forgeries; of two folders called authentic a list names pictures of one
    hosts = [name for name in read_list(out / "synth-photos.train.txt") if not name.startswith("authentic/")]
    cameras = [name for name in hosts if name.startswith("photos/camera_")]
    for kind, chosen in (("native", cameras), ("all", hosts)):
        head = "# clean photos for synthetic forgeries: training parts of photos and photos_native\n"
        lines = [*chosen, *sorted(found["photos_native", "train"])]
        (out / f"synth-{kind}.train.txt").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    head = "# pictures whose scenes lie in two parts, for nothing\n"
    (out / "left-out.txt").write_text(head + "\n".join(sorted(left)) + "\n", encoding="utf-8")
    sys.stdout.write(f"left out: {len(left)}\n")


if __name__ == "__main__":
    main()
