"""A scan over Ray with one and two workers compared with one process, and estimated costs of larger scans.

Usage: python benchmarks/cluster.py FOLDER [--weights FILE|NAME] [--workers N ...] [--batch N]

For every scan: seconds until the first row (processes start and load the student), pictures per second from there
to the last row, and processor time per picture of the main process. Over Ray that process only orders
and writes results: the inverse of this time bounds the throughput with any number of workers. Results are compared
byte by byte.

The cost model uses the processor time and the bytes written per picture of the scan in one process. It assumes
similar pictures, one worker per core, no waiting time, and similar cores.
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
class Measurement:
    """Measurements of one scan, see the module docstring, and its output files without run.json."""

    first: float
    rate: float
    processor: float
    results: dict[str, bytes]


def seconds_used(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure(plan: Plan, out: Path, localizer: Localizer, cluster: RayCluster | None) -> Measurement:
    own, children = seconds_used(resource.RUSAGE_SELF), seconds_used(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    first = None
    for _ in scan(plan, localizer, out, batch=arguments.batch, cluster=cluster):
        first = first or time.perf_counter()
    assert first is not None
    ended = time.perf_counter()
    used = seconds_used(resource.RUSAGE_SELF) - own
    if cluster is None:  # Content Credentials are read in a child process
        used += seconds_used(resource.RUSAGE_CHILDREN) - children
    files = [path for path in out.rglob("*") if path.is_file() and path.name != "run.json"]
    count = len(plan.inputs)
    return Measurement(
        first - started,
        (count - 1) / (ended - first),
        used / count,
        {str(path.relative_to(out)): path.read_bytes() for path in files},
    )


def print_costs(count: int, measured: Measurement, read: float) -> None:
    written = sum(map(len, measured.results.values())) / count
    each = f"{measured.processor:.3f} s of processor time, {human_size(read)} read, {human_size(written)} written"
    print(f"\na picture: {each}")
    print("| pictures | core hours | hours on 64 cores | read | written |\n|---|---|---|---|---|")
    for pictures in (10**6, 10**9):
        hours = pictures * measured.processor / 3600
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
    found: dict[str, Measurement] = {}
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
    print_costs(len(plan.inputs), alone, read)


if __name__ == "__main__":
    main()
