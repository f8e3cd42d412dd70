"""`imltool scan` for programs: the same rows, as objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from imltool.cluster.settings import choose_cluster
from imltool.engines.network import Compute
from imltool.errors import UsageError
from imltool.inference.predictor import Predictor, load_student
from imltool.scan import runner
from imltool.scan.companions import choose_companions
from imltool.scan.inputs import plan_inputs, require_pictures, require_shared
from imltool.scan.results import ScanResult
from imltool.scan.settings import require_batch
from imltool.scan.verdicts import Sensitivity, choose_verdicts


class Scanner:
    """A student with the choices of a scan, to be used for any number of scans.

    Args:
        weights: as `load_student` takes it, or a `Predictor`, whose network is used (its device, engine and precision
            count then).
        device: "auto", "cpu", "cuda" or "mps".
        engine: what runs the student: "auto", "torch", "onnx" or "openvino".
        compute: inference precision: "fp32", "bf16" or "int8".
        threshold: map values above it belong to the mask; None takes the checkpoint's.
        sensitivity: "low", "medium" or "high", see `imltool.scan.verdicts`.
        tiles: see large pictures in tiles too, see `imltool.inference.tiles`.
        stability: score every picture again under mild changes, see `imltool.scan.stability`.
        companions: names of companion maps to draw: "ela", "noise", "ghost".
        batch: pictures analysed at once, at most.
        cluster: "ray" spreads every scan over processes, see `imltool.cluster`; None scans in this one. Results do not
            depend on it. Where the program is connected to Ray, that cluster is used; else one is started for the scan.
        cluster_address: `host:port` of a cluster that runs.
        cluster_workers: processes; None takes one a CPU, or with CUDA one a GPU.

    Raises `WeightsError`, and `UsageError` for choices that are not there.
    """

    def __init__(
        self,
        weights: str | Path | Predictor | None = None,
        device: str = "auto",
        *,
        engine: str = "auto",
        compute: Compute = "fp32",
        threshold: float | None = None,
        sensitivity: Sensitivity = "medium",
        tiles: bool = False,
        stability: bool = False,
        companions: Sequence[str] = (),
        batch: int = 8,
        cluster: str | None = None,
        cluster_address: str | None = None,
        cluster_workers: int | None = None,
    ) -> None:
        if not 0.0 <= (threshold or 0.0) <= 1.0:
            raise UsageError(f"threshold {threshold}", "give one in [0,1]")
        require_batch(batch)
        self._cluster = choose_cluster(cluster, cluster_address, cluster_workers)
        self._companions = choose_companions(companions)
        given = (
            weights
            if isinstance(weights, Predictor)
            else load_student(weights, device, engine=engine, precision=compute)
        )
        self._localizer = given.localizer
        choose_verdicts(self._localizer.header, sensitivity)  # what it cannot tell is told now
        self._threshold, self._sensitivity = threshold, sensitivity
        self._tiles, self._stability, self._batch = tiles, stability, batch

    def scan(
        self,
        paths: str | Path | Iterable[str | Path],
        out: str | Path | None = None,
        *,
        restart: bool = False,
        case: Mapping[str, str | None] | None = None,
    ) -> Iterator[ScanResult]:
        """Look at files and folders (recursively); yield a result a file, in the order of the command line's rows.

        Args:
            paths: files and folders; a text may be an address such as `s3://bucket/folder`.
            out: the output folder, as the command line makes it but for the report: new, empty, or an earlier scan's,
                whose results come first. None keeps nothing: maps lie in a temporary folder for as long as the
                iteration goes on.
            restart: discard what an earlier scan left in `out`.
            case: texts for `run.json`: `id`, `examiner`, `notes`.

        A file that cannot be analysed is a result with `status` "failed". Nothing is read or written before the first
        result is asked for. An iteration that is not followed to its end leaves a scan that was cut, which goes on when
        the same is asked for again.

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
                threshold=self._threshold,
                sensitivity=self._sensitivity,
                tiles=self._tiles,
                stability=self._stability,
                companions=self._companions,
                batch=self._batch,
                restart=restart,
                case=case,
                cluster=self._cluster,
            )
            for row in stack.enter_context(closing(scan)):
                yield ScanResult.of_row(row, place)
