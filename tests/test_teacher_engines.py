"""The teacher with every engine, its exported graphs, and cached embeddings."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.annotated import make_annotated
from helpers.commands import Imltool
from helpers.outputs import parsed, pseudo_rows
from helpers.pictures import forged

from imltool.engines.graph_info import INFO_KEY
from imltool.engines.registry import GRAPH_ENGINES
from imltool.errors import UsageError, WeightsError
from imltool.export.teacher import compare
from imltool.teacher.embeddings import ENTRY_BYTES, CachingSam, EmbeddingFolder
from imltool.teacher.graphs import PARTS, SteppableSam, TeacherGraphInfo, graphs_of
from imltool.teacher.registry import load_sam, load_teacher
from imltool.teacher.sam import Embedding, SamTeacher
from imltool.weights import WEIGHTS, locate

INSTALLED = [name for name, engine in GRAPH_ENGINES.items() if engine.installed]


def loaded(engine: str, embeddings: EmbeddingFolder | None = None) -> SamTeacher:
    return load_sam("mobile-sam", None, "cpu", engine, embeddings)


@pytest.fixture(scope="module")
def teachers() -> dict[str, SamTeacher]:
    return {engine: loaded(engine) for engine in ("torch", *INSTALLED)}


@pytest.fixture(scope="module")
def embedded(teachers: dict[str, SamTeacher]) -> Embedding:
    """The torch embedding of a picture of 192×128 pixels."""
    return teachers["torch"].embed(forged(7, 192, 128)[0])


@pytest.fixture(scope="module")
def reference(teachers: dict[str, SamTeacher], tmp_path_factory: pytest.TempPathFactory) -> CachingSam:
    """The torch teacher, which embeds each picture once for all comparisons."""
    folder = EmbeddingFolder(tmp_path_factory.mktemp("reference"), 10 * ENTRY_BYTES)
    return CachingSam(teachers["torch"].network, "torch", folder)


SLOWER = [pytest.param(name, marks=pytest.mark.slow) for name in INSTALLED[1:]]


@pytest.mark.parametrize("engine", [INSTALLED[0], *SLOWER])
def test_every_engine_gives_the_masks_of_torch(
    teachers: dict[str, SamTeacher], reference: CachingSam, engine: str
) -> None:
    features, logits = compare(teachers[engine].network, reference)
    assert features["max_difference"] < 1e-5 and logits["max_difference"] < 1e-3
    assert features["mask_iou"] > 0.9999


def test_steppable_encoder_is_combined_with_the_fastest_decoder(
    teachers: dict[str, SamTeacher], embedded: Embedding
) -> None:
    teacher = load_sam("mobile-sam", None, "cpu", steppable=True)
    assert isinstance(teacher.network, SteppableSam)
    assert [type(layer) for layer in teacher.network.layers] == [
        type(layer) for layer in teachers["torch"].network.layers
    ]
    assert teacher.engine == teachers["torch"].engine, "embeddings are shared"
    boxes = [np.array([[x, 20, x + 60, 110]], np.float32) for x in range(0, 120, 20)]
    with ThreadPoolExecutor(4) as pool:  # an engine answers one request at a time
        found = [*pool.map(lambda box: teacher.decode(embedded, box)[0].mask, boxes)]
    expected = [teachers["torch"].decode(embedded, box)[0].mask for box in boxes]
    assert all((one != other).mean() < 1e-3 for one, other in zip(found, expected, strict=True))


def test_every_engine_accepts_clicks_and_points(teachers: dict[str, SamTeacher], embedded: Embedding) -> None:
    box, clicks = np.array([30, 20, 150, 110], np.float32), np.array([[96, 60, 1], [40, 30, 0]], np.float32)
    points = np.array([[96, 60], [20, 20], [150, 90], [60, 100], [10, 110]], np.float32)
    expected = [
        teachers["torch"].refine(embedded, box, clicks),
        *teachers["torch"].decode_points(embedded, points),
        *teachers["torch"].decode(embedded, box[None], multimask=True),
    ]
    assert not np.array_equal(expected[0].mask, teachers["torch"].decode(embedded, box[None])[0].mask)
    for engine in INSTALLED:
        teacher = teachers[engine]
        found = [
            teacher.refine(embedded, box, clicks),
            *teacher.decode_points(embedded, points),
            *teacher.decode(embedded, box[None], multimask=True),
        ]
        for one, other in zip(found, expected, strict=True):
            assert one.choice == other.choice and one.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-4)
            assert (one.mask != other.mask).sum() <= 3


def test_bundled_teacher_includes_its_graphs() -> None:
    onnx = pytest.importorskip("onnx")
    for part, file in zip(PARTS, graphs_of(locate("mobile-sam")), strict=True):
        assert file.stat().st_size < 1e6, "their weights are in a separate file"
        onnx.checker.check_model(str(file))
        model = onnx.load(file, load_external_data=False)
        info = TeacherGraphInfo.model_validate_json({prop.key: prop.value for prop in model.metadata_props}[INFO_KEY])
        assert info.part == part and info.weights_sha256 == WEIGHTS["mobile-sam"].sha256
        assert info.opset == model.opset_import[0].version and info.mask_iou > 0.999
        assert 0 < info.mean_difference <= info.max_difference < 1e-3


@pytest.mark.slow
def test_exported_graphs_share_the_weights_file_and_are_used(tmp_path: Path, imltool: Imltool) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    weights = Path(shutil.copy(locate("mobile-sam"), tmp_path / "mine.safetensors"))
    command = ("export", "--teacher", "mobile-sam", "--weights", weights)
    code, out, err = imltool(*command, "--json")
    assert code == 0 and "mask logits differ from torch's by at most" in err
    exported = parsed(out)
    assert [Path(fact["file"]).name for fact in exported] == ["mine.encoder.onnx", "mine.decoder.onnx"]
    for fact, bundled in zip(exported, graphs_of(locate("mobile-sam")), strict=True):
        assert fact["size_bytes"] < 1.1 * bundled.stat().st_size
        onnx.load(fact["file"])  # including the weights in the separate file
    assert load_teacher("mobile-sam", weights, "cpu", INSTALLED[0]).engine.startswith(f"{INSTALLED[0]} ")


def test_invalid_or_mismatched_graphs_are_refused(tmp_path: Path) -> None:
    weights = Path(shutil.copy(locate("mobile-sam"), tmp_path / "mine.safetensors"))
    with pytest.raises(WeightsError, match=r"no exported graph mine.encoder.onnx and mine.decoder.onnx"):
        load_teacher("mobile-sam", weights, "cpu", "onnx")
    assert load_teacher("mobile-sam", weights, "cpu", "auto").engine.startswith("torch ")
    encoder, decoder = graphs_of(weights)
    bundled = graphs_of(locate("mobile-sam"))
    encoder.write_bytes(bundled[1].read_bytes())
    decoder.write_bytes(bundled[1].read_bytes())
    shutil.copy(locate("mobile-sam"), tmp_path)
    with pytest.raises(WeightsError, match="is a teacher's decoder, not its encoder"):
        load_teacher("mobile-sam", weights, "cpu", "onnx")
    encoder.write_bytes(bundled[0].read_bytes())
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match=r"other weights than mine.safetensors"):
        load_teacher("mobile-sam", weights, "cpu", "onnx")
    decoder.write_bytes(decoder.read_bytes()[:5000])
    for engine in INSTALLED:
        with pytest.raises(WeightsError, match="graph"):
            load_teacher("mobile-sam", weights, "cpu", engine)
    with pytest.raises(UsageError, match="torch alone"):
        load_teacher("vit-b", weights, "cpu", "onnx")
    with pytest.raises(UsageError, match="has no network"):
        load_teacher("box", engine="onnx")


def test_teacher_without_a_network_is_not_exported(imltool: Imltool) -> None:
    code, _, err = imltool("export", "--teacher", "grabcut")
    assert code == 2 and "no network to export" in err and err.count("\n") == 1
    code, _, err = imltool("export", "--teacher", "mobile-sam", "--list", "x=x.txt")  # of students alone
    assert code == 2 and "leave out the others" in err


def embedding(value: float) -> np.ndarray:
    return np.full((1, 256, 64, 64), value, np.float32)


KEYS = [f"{number:064x}" for number in range(4)]


def test_least_recently_used_embedding_is_evicted(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not ours")
    folder = EmbeddingFolder(tmp_path, 3 * ENTRY_BYTES)
    for number, key in enumerate(KEYS[:3]):
        folder.put(key, embedding(number))
        os.utime(tmp_path / f"{key}.embedding", (1000 + number, 1000 + number))
    partial = tmp_path / f".{KEYS[3]}.embedding.{'0' * 12}.part"  # left by a killed process
    partial.write_bytes(b"0" * 1000)
    os.utime(partial, (900, 900))
    assert np.array_equal(folder.take(KEYS[0]), embedding(0))  # used again: now the second is the least recently used
    EmbeddingFolder(tmp_path, 3 * ENTRY_BYTES).put(KEYS[3], embedding(3))
    assert [folder.take(key) is not None for key in KEYS] == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.embedding")) <= 3 * ENTRY_BYTES
    assert (tmp_path / "notes.txt").exists() and not partial.exists()
    with pytest.raises(UsageError, match="more room"):
        EmbeddingFolder(tmp_path, ENTRY_BYTES - 1)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_entry_counts_as_missing(tmp_path: Path, damage: str) -> None:
    folder = EmbeddingFolder(tmp_path, 10 * ENTRY_BYTES)
    folder.put(KEYS[0], embedding(0.25))
    (entry,) = tmp_path.glob("*.embedding")
    data = bytearray(entry.read_bytes())
    data[-9] ^= 1
    entry.write_bytes({"cut": data[:-1000], "flipped": data, "empty": b""}[damage])  # type: ignore[arg-type]
    assert folder.take(KEYS[0]) is None
    folder.put(KEYS[0], embedding(0.25))
    assert np.array_equal(folder.take(KEYS[0]), embedding(0.25)) and folder.found == 1


def test_write_error_loses_the_entry_but_not_the_run(tmp_path: Path) -> None:
    folder = EmbeddingFolder(tmp_path / "kept", 10 * ENTRY_BYTES)
    (tmp_path / "kept").rmdir()
    (tmp_path / "kept").write_text("in the way")
    folder.put(KEYS[0], embedding(1))
    assert folder.take(KEYS[0]) is None


@pytest.mark.slow
def test_embeddings_depend_on_weights_engine_and_pixels(teachers: dict[str, SamTeacher], tmp_path: Path) -> None:
    folder = EmbeddingFolder(tmp_path, 10 * ENTRY_BYTES)
    rgb, _ = forged(3, 128, 96)
    network = teachers[INSTALLED[0]].network
    remembering = SamTeacher("kept", CachingSam(network, "these weights", folder))
    made = remembering.embed(rgb)
    assert torch.equal(remembering.embed(rgb.copy()).features, made.features) and folder.found == 1
    for other in (
        SamTeacher("other weights", CachingSam(network, "other weights", folder)),
        SamTeacher("other engine", CachingSam(teachers["torch"].network, "these weights", folder)),
    ):
        other.embed(rgb)
    changed = rgb.copy()
    changed[40:44, 40:44] = 255 - changed[40:44, 40:44]
    remembering.embed(changed)
    assert folder.found == 1 and len(list(tmp_path.glob("*.embedding"))) == 4


@pytest.mark.slow
def test_pseudo_records_its_engine_and_reuses_cached_embeddings(tmp_path: Path, imltool: Imltool) -> None:
    images, boxes, _ = make_annotated(tmp_path, 1)
    command = ("pseudo", images, "--boxes", boxes, "--device", "cpu", "--embeddings", tmp_path / "kept")
    for name, found in (("fresh", 0), ("again", 1)):
        code, _, err = imltool(*command, "--out", tmp_path / name)
        assert code == 0 and f"{found} embeddings from" in err and f"images/s by {INSTALLED[0]} " in err
    (fresh,), (again,) = pseudo_rows(tmp_path / "fresh"), pseudo_rows(tmp_path / "again")
    assert fresh | {"seconds": 0} == again | {"seconds": 0} and fresh["engine"].startswith(f"{INSTALLED[0]} ")
    code, _, err = imltool(*command, "--out", tmp_path / "fresh", "--engine", "torch")
    assert code == 2 and "engine was" in err.splitlines()[-1]
    code, _, err = imltool(*command, "--out", tmp_path / "box", "--teacher", "box")
    assert code == 2 and "has no network" in err.splitlines()[-1]
