"""A scan over Ray with one worker and with two, beside the same scan in one process, and what larger ones would cost.

Usage: python benchmarks/cluster.py FOLDER [--weights FILE|NAME] [--workers N ...] [--batch N]

Told of every scan: seconds until the first row (processes start and load the student), pictures a second from there
to the last row, and seconds of processor time a picture of the command's own process. Over Ray that process only orders
and writes: one over these seconds bounds what one command can take from its workers, however many. Results are compared
byte by byte.

The cost model takes from the scan in one process the processor time and the bytes written a picture. It assumes
pictures like those measured, as many workers as cores, nothing lost to waiting, and cores like this one.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imltool.cluster.ray_cluster import RayCluster
from imltool.device import choose_device
from imltool.files import human_size
from imltool.inference.localizer import Localizer
from imltool.scan.inputs import Plan, plan_inputs
from imltool.scan.runner import scan

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--weights", type=Path)
parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
parser.add_argument("--batch", type=int, default=8)
arguments = parser.parse_args()


@dataclass
class Figures:
    """Of one scan: what the module's docstring tells, and its results without its record of times."""

    first: float
    rate: float
    processor: float
    results: dict[str, bytes]


def seconds_used(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(plan: Plan, out: Path, localizer: Localizer, cluster: RayCluster | None) -> Figures:
    own, children = seconds_used(resource.RUSAGE_SELF), seconds_used(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    first = None
    for _ in scan(plan, localizer, out, batch=arguments.batch, cluster=cluster):
        first = first or time.perf_counter()
    assert first is not None
    ended = time.perf_counter()
    used = seconds_used(resource.RUSAGE_SELF) - own
    if cluster is None:  # what reads Content Credentials is a process of its own
        used += seconds_used(resource.RUSAGE_CHILDREN) - children
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "run.json"]
    count = len(plan.inputs)
    return Figures(
        first - started,
        (count - 1) / (ended - first),
        used / count,
        {str(path.relative_to(out)): path.read_bytes() for path in files},
    )


def tell_costs(count: int, figures: Figures, read: float) -> None:
    written = sum(map(len, figures.results.values())) / count
    each = f"{figures.processor:.3f} s of processor time, {human_size(read)} read, {human_size(written)} written"
    print(f"\na picture: {each}")
    print("| pictures | core hours | hours on 64 cores | read | written |\n|---|---|---|---|---|")
    for pictures in (10**6, 10**9):
        hours = pictures * figures.processor / 3600
        cells = (
            f"{pictures:,}",
            f"{hours:,.0f}",
            f"{hours / 64:,.1f}",
            size(pictures * read),
            size(pictures * written),
        )
        print(f"| {' | '.join(cells)} |")


def size(count: float) -> str:
    return f"{count / 1e12:,.2f} TB"


def main() -> None:
    localizer = Localizer.load(arguments.weights, choose_device())
    runs: dict[str, Callable[[], RayCluster | None]] = {"one process": lambda: None}
    runs |= {f"Ray, {n} workers": lambda n=n: RayCluster(None, n) for n in arguments.workers}  # type: ignore[misc]
    found: dict[str, Figures] = {}
    print(f"{localizer.header.name} by {localizer.engine}, batches of {arguments.batch}")
    print("| | to the first row, s | pictures/s from there | processor s a picture |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for name, make in runs.items():
            out = Path(place, name.replace(" ", "-"))
            plan = plan_inputs([arguments.folder], out)
            one = found[name] = measure(plan, out, localizer, make())
            print(f"| {name} | {one.first:.1f} | {one.rate:.2f} | {one.processor:.4f} |", flush=True)
    alone = found["one process"]
    if any(one.results != alone.results for one in found.values()):
        sys.exit("results differ")
    print("results are the same, byte by byte")
    read = sum(item.path.stat().st_size for item in plan.inputs) / len(plan.inputs)
    tell_costs(len(plan.inputs), alone, read)


if __name__ == "__main__":
    main()
