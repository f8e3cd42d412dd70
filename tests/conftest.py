"""Fixtures shared by several test modules, and the order, timeouts and skip rules of the tests."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # three processes of tests share the two cores of CI

import pytest
from helpers.commands import Imltool
from helpers.forked import Forked, forks, serve
from helpers.page_server import Annotating
from hypothesis import settings

from imltool.cli.app import run
from imltool.engines.network import require_compute
from imltool.errors import UsageError

LONGEST_FIRST = (
    *("test_cluster", "test_engines", "test_review_browser", "test_train", "test_scan_browser", "test_annotate_races"),
    *("test_study", "test_student", "test_synth", "test_annotate_browser", "test_traces", "test_cluster_pseudo"),
    *("test_teacher_engines", "test_annotate_server", "test_objects"),
    *("test_teacher", "test_bundled", "test_resume", "test_eval_compare", "test_eval_cross_check"),
    *("test_eval_folder", "test_annotate_worker", "test_eval_maps", "test_scan_resume", "test_pseudo"),
)
"""Files are handed out whole, in this order and then by name: a long one at the end would leave the others idle."""


SLOW_TIMEOUT = 600
"""Seconds after which a slow test is ended as hanging; other tests have the timeout of pyproject."""


def pytest_configure() -> None:
    if hasattr(os, "fork"):  # without it, only the tests that fork commands fail
        serve()  # before xdist workers start, which use the same server


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Exempt imported objects from garbage collection: it takes a quarter of collection time and slows every test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


STRICT = bool(os.environ.get("IMLTOOL_CI"))
"""Set by `.ci/run`, which installs all test dependencies: a skip is then a failure, so that none is overlooked."""


settings.register_profile("everyday", max_examples=25, deadline=None)
settings.register_profile("everything", max_examples=100, deadline=None)
settings.load_profile("everything" if STRICT else "everyday")


def _refuse_skip(report: Any) -> None:
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"skipped, which fails with IMLTOOL_CI set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if not item.get_closest_marker("may_skip") and "bfloat16" not in getattr(item, "fixturenames", ()):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the servers and teachers of all workers of one run keep embeddings; no two runs share it."""
    base = tmp_path_factory.getbasetemp()
    Annotating.embeddings = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "embeddings"
    return Annotating.embeddings


@pytest.fixture(scope="session")
def mobile_sam(embeddings: Path) -> Any:
    """The bundled teacher by torch; it embeds a picture once for all tests."""
    from imltool.teacher.embeddings import ENTRY_BYTES, EmbeddingFolder
    from imltool.teacher.registry import load_sam

    return load_sam("mobile-sam", device="cpu", embeddings=EmbeddingFolder(embeddings, 1000 * ENTRY_BYTES))


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights and the smallest input."""
    import torch

    from imltool.inference.localizer import Localizer
    from imltool.student.settings import StudentSettings

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    Localizer.untrained(StudentSettings(backbone="nano", input_size=64), torch.device("cpu"), seed=3).save(path)
    return path


@pytest.fixture(scope="session")
def scanned(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a scan to review: three pictures, one damaged; tests must not change it."""
    from helpers.review_scan import scan

    return scan(tmp_path_factory.mktemp("review"), tiny_weights)


@pytest.fixture
def bfloat16() -> None:
    """Skip the test if the processor does not support bfloat16."""
    try:
        require_compute("bf16", "cpu")
    except UsageError as refused:
        pytest.skip(refused.message)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium without a window, driven by Playwright; tests skip where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not start for root; the pages under test are our own
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def pages(browser: Any) -> Iterator[Any]:
    """Opens pages of `imltool annotate` in one window."""
    from helpers.annotate_page import opened, window

    with window(browser) as context:
        yield lambda address: opened(context.new_page(), address)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One `imltool annotate` server for the tests of a module: each test uses a different picture."""
    from helpers.annotate_page import make

    root = make(tmp_path_factory.mktemp("shared") / "set", 6)
    running = Annotating(root, "--out", root.parent / "boxes.json", "--annotator", "anna")
    yield running
    running.end()


@pytest.fixture(scope="session")
def forked() -> Forked:
    """Run commands in forked processes."""
    return forks()


@pytest.fixture
def imltool(capfd: pytest.CaptureFixture[str]) -> Imltool:
    """Run the command line: `imltool("scan", path)` returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call
