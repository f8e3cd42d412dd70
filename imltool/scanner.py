"""`imltool scan` for programs: the same results, as objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from imltool.cluster.clusters import choose_cluster
from imltool.engines.network import Compute
from imltool.inference.predictor import Predictor, load_student
from imltool.scan import runner
from imltool.scan.inputs import plan_inputs, require_pictures, require_shared
from imltool.scan.results import ScanResult
from imltool.scan.settings import BATCH, ScanSettings, require_batch
from imltool.scan.verdicts import Sensitivity


class Scanner:
    """A student with the settings of a scan, for any number of scans.

    Args:
        weights: as for `load_student`, or a `Predictor`, whose network, device, engine and precision are then used.
        device: "auto", "cpu", "cuda" or "mps".
        engine: runs the student: "auto", "torch", "onnx" or "openvino".
        precision: "fp32", "bf16" if the processor supports it, or "int8" with a graph exported so.
        threshold: see `ScanSettings.of`, also for the next four.
        sensitivity: "low", "medium" or "high": how many pictures become an indication.
        tiles: also predict large pictures in tiles.
        stability: score every picture again after mild changes.
        companions: companion maps to draw.
        batch: batch size, at most.
        cluster: "ray" spreads every scan over processes, see `imltool.cluster`; None scans in this one. Results do not
            depend on it. If the program is connected to Ray, that cluster is used; else one is started for the scan.
        cluster_address: `host:port` of a running cluster.
        cluster_workers: processes; None takes one per CPU, or with CUDA one per GPU.

    Raises `WeightsError`, and `UsageError` for values that do not exist or are unavailable.
    """

    def __init__(
        self,
        weights: str | Path | Predictor | None = None,
        device: str = "auto",
        *,
        engine: str = "auto",
        precision: Compute = "fp32",
        threshold: float | None = None,
        sensitivity: Sensitivity = "medium",
        tiles: bool = False,
        stability: bool = False,
        companions: Sequence[str] = (),
        batch: int = BATCH,
        cluster: str | None = None,
        cluster_address: str | None = None,
        cluster_workers: int | None = None,
    ) -> None:
        self._batch = require_batch(batch)
        self._cluster = choose_cluster(cluster, cluster_address, cluster_workers)
        given = (
            weights
            if isinstance(weights, Predictor)
            else load_student(weights, device, engine=engine, precision=precision)
        )
        self._localizer = given.localizer
        self._settings = ScanSettings.of(
            self._localizer.header,
            threshold=threshold,
            sensitivity=sensitivity,
            stability=stability,
            companions=companions,
            tiles=tiles,
        )

    def scan(
        self,
        paths: str | Path | Iterable[str | Path],
        out: str | Path | None = None,
        *,
        restart: bool = False,
        case: Mapping[str, str | None] | None = None,
    ) -> Iterator[ScanResult]:
        """Scan files and folders (recursively); yield one result per file, in the same order as `imltool scan`.

        Args:
            paths: files and folders; a text may be an address such as `s3://bucket/folder`.
            out: the output folder, written as by the command line but without the report: new, empty, or of an earlier
                scan, whose results come first. None keeps nothing: maps are in a temporary folder until the iteration
                ends.
            restart: discard what an earlier scan left in `out`.
            case: texts for `run.json`: `id`, `examiner`, `notes`.

        A file that cannot be analysed gives a result with `status` "failed". Nothing is read or written before the
        first result is requested. An iteration that is not completed leaves an unfinished scan; the same call resumes
        it.

        Raises `UsageError`, `ResumeError`, `OutputError`, `StoreError`, `ClusterError`, and `DataError` when there is
        no picture in `paths`.
        """
        given = [paths] if isinstance(paths, str | os.PathLike) else [*paths]
        with ExitStack() as stack:
            place = Path(stack.enter_context(TemporaryDirectory(prefix="imltool-")) if out is None else out)
            plan = plan_inputs(given, place)
            require_pictures(plan)
            if self._cluster:
                require_shared(plan)
            scan = runner.scan(
                plan,
                self._localizer,
                place,
                self._settings,
                batch=self._batch,
                restart=restart,
                case=case,
                cluster=self._cluster,
            )
            yield from stack.enter_context(closing(scan))
