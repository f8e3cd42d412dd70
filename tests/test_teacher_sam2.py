"""SAM 2 as a teacher: masks equal to those of the transformers API, and refusal of other folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers.commands import Imltool
from helpers.pictures import forged, write_rgb
from safetensors.torch import load_file, save_file

from imltool.errors import UsageError, WeightsError
from imltool.teacher.pseudo_rows import read_pseudo
from imltool.teacher.registry import load_teacher, teacher_files
from imltool.teacher.teacher import Teacher

SIDE = 128


def small(config: Any, **more: Any) -> Any:
    """A configuration with the official layout, a few hundred times smaller."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIDE, SIDE],
        "hidden_size": 12,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [12, 24, 48, 96],
        "num_attention_heads_per_stage": [1, 1, 1, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [96, 48, 24, 12],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    prompts = {"hidden_size": 32, "image_size": SIDE, "mask_input_channels": 4}
    return config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder, **more)


def save(folder: Path, kind: str) -> Path:
    """Save a SAM 2 with random weights in the layout of the official folders, for images or for video."""
    torch.manual_seed(5)
    model: Any
    if kind == "sam2":
        model = transformers.Sam2Model(small(transformers.Sam2Config))
    else:
        narrow = {"memory_attention_hidden_size", "memory_attention_feed_forward_hidden_size", "memory_fuser_embed_dim"}
        narrow |= {"memory_encoder_hidden_size", "mask_downsampler_embed_dim"}
        sizes = dict.fromkeys(narrow, 32) | {"memory_encoder_output_channels": 16, "image_size": SIDE}
        model = transformers.Sam2VideoModel(small(transformers.Sam2VideoConfig, **sizes))
    model.save_pretrained(folder)
    named = {"processor_class": "Sam2VideoProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(named | {"target_size": SIDE, "point_pad_value": -10}))
    pictures = {
        "image_processor_type": "Sam2ImageProcessorFast",
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "rescale_factor": 1 / 255,
        "resample": 2,
        **dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"), True),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(named | pictures))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("official"), "sam2_video")


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Teacher:
    return load_teacher("sam2", folder, "cpu")


@pytest.mark.parametrize("kind", ["sam2", "sam2_video"])
@pytest.mark.parametrize("size", [(150, 90), (40, 200)])
def test_masks_equal_those_of_the_documented_library_calls(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    save(tmp_path, kind)
    rgb, _ = forged(7, *size)
    height, width = rgb.shape[:2]
    boxes = [[5.0, 8.5, width / 2, height - 3.0], [width / 3, 2.0, width - 4.25, height - 9.0]]
    model: Any = transformers.Sam2Model.from_pretrained(tmp_path)
    model.eval()
    processor: Any = transformers.Sam2Processor.from_pretrained(tmp_path)
    inputs = processor(images=rgb, input_boxes=[boxes], return_tensors="pt")
    teacher = load_teacher("sam2", tmp_path, "cpu")
    embedding = teacher.embed(rgb)
    shares = []
    for multimask in (False, True):
        with torch.no_grad():
            outputs = model(**inputs, multimask_output=multimask)
        masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"])[0].numpy()
        scores = outputs.iou_scores[0].numpy()
        found = teacher.decode(embedding, np.array(boxes, np.float32), multimask)
        assert len(found) == 2
        for answer, mask, score in zip(found, masks, scores, strict=True):
            best = int(score.argmax())
            assert answer.mask.shape == rgb.shape[:2] and answer.mask.dtype == bool
            np.testing.assert_array_equal(answer.mask, mask[best])
            assert answer.predicted_iou == pytest.approx(score[best], abs=1e-6)
            assert answer.choice == (best + 1 if multimask else 0) and 0 <= answer.stability <= 1
            shares.append(answer.mask.mean())
    assert any(0.05 < share < 0.95 for share in shares), "some masks are neither empty nor full"
    assert teacher.decode(embedding, np.zeros((0, 4), np.float32)) == []


def test_folder_saved_by_transformers_4_gives_the_same_masks(folder: Path, tmp_path: Path) -> None:
    image = "shared_image_embedding.positional_embedding"
    prompts = "prompt_encoder.shared_embedding.positional_embedding"
    rgb, _ = forged(7, 150, 90)
    boxes = np.array([[5, 8, 80, 70], [60, 2, 140, 60]], np.float32)
    found = []
    for name in ("both", "one"):
        shutil.copytree(folder, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        if name == "both":
            tensors[prompts] = tensors[image].clone()
        else:
            del tensors[prompts]
        save_file(tensors, tmp_path / name / "model.safetensors", {"format": "pt"})
        teacher = load_teacher("sam2", tmp_path / name, "cpu")
        found.append(teacher.decode(teacher.embed(rgb), boxes))
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first.mask, second.mask)
        assert first.predicted_iou == second.predicted_iou


def test_files_sent_to_other_machines_are_sufficient(teacher: Teacher, tmp_path: Path) -> None:
    files = teacher_files(teacher)
    for file in files:
        shutil.copy(file, tmp_path)
    moved = load_teacher("sam2", tmp_path / files[0].name, "cpu")
    rgb, _ = forged(7, 150, 90)
    box = np.array([[5, 8, 80, 70]], np.float32)
    (here,), (there,) = (one.decode(one.embed(rgb), box) for one in (teacher, moved))
    np.testing.assert_array_equal(here.mask, there.mask)
    assert moved.engine == teacher.engine


@pytest.mark.filterwarnings("error")
def test_picture_three_pixels_high_is_read_as_channels_last(teacher: Teacher) -> None:
    rgb = forged(7, 60, 3)[0]
    rgb.flags.writeable = False
    (answer,) = teacher.decode(teacher.embed(rgb), np.array([[2, 0, 40, 3]], np.float32))
    assert answer.mask.shape == (3, 60)


def test_pseudo_accepts_the_folder_or_its_weights_file(folder: Path, tmp_path: Path, imltool: Imltool) -> None:
    write_rgb(tmp_path / "photos/a.png", forged(7, 150, 90)[0])
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,50,30,140,80\n")
    command = ("pseudo", tmp_path / "photos", "--boxes", tmp_path / "boxes.csv", "--teacher", "sam2", "--device", "cpu")
    for given in (folder, folder / "model.safetensors"):
        code, _, stderr = imltool(*command, "--weights", given, "--out", tmp_path / given.name)
        assert code == 0
        assert "You are using a model" not in stderr and "Loading weights" not in stderr
        (row,) = read_pseudo(tmp_path / given.name)
        assert row.teacher == "sam2" and row.status == "ok"
        assert f"transformers {transformers.__version__}" in str(row.engine)
    masks = [next((tmp_path / name / "masks").iterdir()).read_bytes() for name in (folder.name, "model.safetensors")]
    assert masks[0] == masks[1]
    code, _, stderr = imltool(*command, "--weights", folder, "--out", tmp_path / "k", "--embeddings", tmp_path / "e")
    assert code == 2 and "embeddings of teacher sam2 cannot be cached" in stderr
    code, _, stderr = imltool(*command, "--weights", folder, "--out", tmp_path / "k", "--engine", "onnx")
    assert code == 2 and "teacher sam2 is run by torch alone" in stderr
    code, _, stderr = imltool(*command, "--out", tmp_path / "k")
    assert code == 2 and "teacher sam2 needs its folder" in stderr
    page = ("annotate", tmp_path / "photos", "--out", tmp_path / "b.json", "--teacher", "sam2", "--weights", folder)
    code, _, stderr = imltool(*page, "--no-browser")
    assert code == 2 and "teacher sam2 cannot make live masks" in stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no folder", "does not exist"),
        ("a file", "is not a folder"),
        ("model.safetensors", "has no model.safetensors"),
        ("config.json", "has no config.json"),
        ("no processor", "has no preprocessor_config.json"),
        ("another model", "does not hold a SAM 2: its config.json is of bert"),
        ("cut", "does not hold a SAM 2: "),
        ("tensors missing", "does not hold a SAM 2: 1 tensors missing, no_memory_embedding"),
        ("other sizes", "does not hold a SAM 2: "),
    ],
)
def test_folder_without_sam_2_is_a_one_line_error(
    folder: Path, tmp_path: Path, imltool: Imltool, change: str, words: str
) -> None:
    given = tmp_path / "given"
    shutil.copytree(folder, given)
    weights, config = given / "model.safetensors", given / "config.json"
    if change == "no folder":
        shutil.rmtree(given)
    elif change == "a file":
        given = given / "config.json"
    elif change == "no processor":
        (given / "preprocessor_config.json").unlink()
        (given / "processor_config.json").unlink()
    elif change == "another model":
        config.write_text(json.dumps({"model_type": "bert"}))
    elif change == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif change == "tensors missing":
        tensors = load_file(weights)
        del tensors["no_memory_embedding"]
        save_file(tensors, weights, {"format": "pt"})
    elif change == "other sizes":
        settings = json.loads(config.read_text())
        settings["mask_decoder_config"]["mlp_dim"] = 48
        config.write_text(json.dumps(settings))
    else:
        (given / change).unlink()
    write_rgb(tmp_path / "photos/a.png", forged(7, 60, 40)[0])
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,5,3,40,30\n")
    command = ("pseudo", tmp_path / "photos", "--boxes", tmp_path / "boxes.csv", "--teacher", "sam2")
    code, _, stderr = imltool(*command, "--weights", given, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 1 and words in stderr.splitlines()[-1] and "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(WeightsError):
        load_teacher("sam2", given, "cpu")


def test_missing_transformers_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"teacher sam2 needs transformers \(pip install 'imltool\[sam2\]'\)"):
        load_teacher("sam2", folder, "cpu")


@pytest.mark.slow
def test_help_and_import_do_not_load_transformers() -> None:
    program = (
        "import sys; from imltool.cli.app import main\n"
        "try: main(['pseudo', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
        "import imltool.teacher.sam2; print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["[]", "False"], done.stderr
    assert any("sam2" in line for line in lines)
