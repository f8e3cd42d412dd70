"""The student: shapes, gradients, ablations, and a memory bank unchanged by inference."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import Imltool
from helpers.pictures import photo
from safetensors.torch import load_file, save_file

from imltool.errors import ConfigError, WeightsError
from imltool.inference.localizer import Localizer, image_score, resize_input
from imltool.student.backbone import TinyVitBackbone, load_teacher_encoder, restore_batch_norm
from imltool.student.checkpoint import load_checkpoint, save_checkpoint
from imltool.student.header import CheckpointHeader, TrainingSet, read_header
from imltool.student.info import count_operations
from imltool.student.model import Student, normalise
from imltool.student.settings import MEAN, STD, StudentSettings, input_side
from imltool.teacher.mobile_sam import read_mobile_sam
from imltool.traces.stack import GRID, TRACES, picture_traces
from imltool.weights import locate

CPU = torch.device("cpu")
SMALL = StudentSettings(backbone="nano", input_size=64)
"""Properties of all backbones are tested with the smallest."""
ABLATIONS = {
    "full": {},
    "without memory": {"memory": "none"},
    "without gating": {"gating": False},
    "baseline": {"memory": "none", "gating": False},
    "spatial memory": {"memory": "spatial"},
    "mean memory": {"memory": "mean"},
    "ema memory": {"memory": "ema"},
    "alpha .3": {"alpha": 0.3},
    "alpha learned": {"learn_alpha": True},
    "refinement of the prior alone": {"refinement": "prior"},
    "stochastic depth": {"drop_path": 0.1},
}


def pictures(count: int, side: int) -> torch.Tensor:
    stacked = np.stack([photo(seed, side, side) for seed in range(count)])
    return normalise(torch.from_numpy(stacked), MEAN, STD)


@pytest.mark.parametrize("switches", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_every_ablation_gives_every_parameter_a_gradient(switches: dict[str, Any]) -> None:
    torch.manual_seed(0)
    student = Student(SMALL.model_copy(update=switches))
    logits = student(pictures(2, 64))
    assert logits.shape == (2, 1, 64, 64)
    (logits.sigmoid() * torch.rand(logits.shape)).sum().backward()
    idle = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # MBConv's last BatchNorm starts at zero scale, which blocks gradients of earlier layers in the first step only
    assert not [name for name in idle if not name.startswith("backbone.")], idle


@pytest.mark.parametrize("side", [224, 448])
def test_map_has_the_input_size(side: int) -> None:
    student = Student(StudentSettings(input_size=side)).eval()
    with torch.no_grad():
        assert student(pictures(1, side)).shape == (1, 1, side, side)


@pytest.mark.parametrize(("backbone", "channels"), [("11m", (64, 128, 256, 448)), ("nano", (16, 16, 32, 32))])
def test_other_backbones_fit_the_fusion_module(backbone: str, channels: tuple[int, ...]) -> None:
    student = Student(StudentSettings(backbone=backbone, input_size=64)).eval()
    assert student.backbone.channels == channels
    with torch.no_grad():
        assert student(pictures(1, 64)).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("traces", [(), ("jpeg",)])
def test_timm_convolutional_model_is_a_backbone(traces: tuple[str, ...], tmp_path: Path) -> None:
    settings = StudentSettings(backbone="mobilenetv3_small_050", input_size=64, channels=8, traces=traces)
    made = Localizer.untrained(settings, CPU, seed=1)
    assert made.student.backbone.channels == (8, 16, 24, 288)
    made.save(tmp_path / "a.safetensors")
    image = photo(1, 90, 70)
    again = Localizer.load(tmp_path / "a.safetensors", CPU)
    assert np.array_equal(again.maps([image])[0], made.maps([image])[0])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet81", "is no model of timm's .* did you mean resnet"),
        ("vit_tiny_patch16_224", "features at strides 4, 8, 16 and 32"),
        ("swin_tiny_patch4_window7_224", "takes no picture of 64x96 pixels"),
    ],
)
def test_invalid_backbone_is_a_one_line_error(name: str, reason: str, imltool: Imltool) -> None:
    code, _, err = imltool("model", "info", "--set", f"student.backbone={name}")
    assert code == 2 and err.count("\n") == 1
    assert re.search(reason, err)


def test_nano_backbone_is_small() -> None:
    assert sum(parameter.numel() for parameter in TinyVitBackbone("nano").parameters()) < 60_000


@pytest.mark.parametrize("memory", ["prototypes", "spatial", "mean", "ema"])
def test_inference_never_changes_the_memory_bank(memory: str) -> None:
    student = Student(SMALL.model_copy(update={"memory": memory})).eval()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    with torch.no_grad():
        student(pictures(3, 64))
    changed = [name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == []


def test_ema_bank_changes_in_training_only() -> None:
    student = Student(SMALL.model_copy(update={"memory": "ema"})).train()
    before = student.fusion.memory.keys.clone()  # type: ignore[operator]
    student(pictures(2, 64))
    assert not torch.equal(before, student.fusion.memory.keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", ["prototypes", "spatial", "mean", "ema"])
def test_results_do_not_depend_on_batch_size_or_order(memory: str) -> None:
    torch.manual_seed(1)
    student = Student(SMALL.model_copy(update={"memory": memory})).eval()
    x = pictures(4, 64)
    with torch.no_grad():
        together = student(x)
        reversed_order = student(x.flip(0)).flip(0)
        alone = torch.cat([student(x[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, reversed_order, atol=1e-5)
    assert torch.allclose(together, alone, atol=1e-5)


def test_disabled_gating_gives_unit_gates_and_no_memory_gives_alpha_one() -> None:
    student = Student(StudentSettings(input_size=64, gating=False, memory="none"))
    fused, gate = student.fusion.integration(student.fusion.alignment(student.backbone(pictures(2, 64))))
    assert torch.equal(gate, torch.ones_like(gate))
    final = student.fusion.guidance(fused, gate, None)
    assert torch.allclose(final, student.fusion.guidance.base(fused).sigmoid())


def test_guidance_follows_equation_four() -> None:
    student = Student(StudentSettings(input_size=64, alpha=0.3))
    fused, gate = student.fusion.integration(student.fusion.alignment(student.backbone(pictures(2, 64))))
    prior = student.fusion.memory(fused)
    assert float(prior.detach().min()) >= 0.0 and float(prior.detach().max()) <= 1.0
    expected = 0.3 * student.fusion.guidance.base(fused).sigmoid() * gate + 0.7 * prior
    assert torch.allclose(student.fusion.guidance(fused, gate, prior), expected, atol=1e-6)


def test_prototype_prior_is_independent_of_position() -> None:
    student = Student(StudentSettings(input_size=64))
    fused = torch.randn(1, 64, 16, 16)
    assert torch.allclose(student.fusion.memory(fused).flip(3), student.fusion.memory(fused.flip(3)), atol=1e-5)


@pytest.mark.slow
def test_restored_batch_norm_keeps_eval_output_and_works_in_training() -> None:
    backbone = TinyVitBackbone("5m")
    load_teacher_encoder(backbone, read_mobile_sam(locate("mobile-sam")))
    backbone.eval()
    x = pictures(24, 64)
    with torch.no_grad():
        before = backbone(x)
        folded = backbone.train()(x)
        # a forward in train mode changes running statistics: reload the file
        load_teacher_encoder(backbone, read_mobile_sam(locate("mobile-sam")))
        restore_batch_norm(backbone, [x[:12], x[12:]])
        after = backbone.eval()(x)
        trained = backbone.train()(x)
    for old, new, sane, wrong in zip(before, after, trained, folded, strict=True):
        assert (old - new).abs().max() < 1e-3
        assert (sane - old).abs().mean() < 0.05 * old.abs().mean()
        assert (wrong - old).abs().mean() > 0.2 * old.abs().mean()


@pytest.mark.parametrize("backbone", ["11m", "nano"])
def test_teacher_encoder_is_refused_by_another_backbone(backbone: str) -> None:
    with pytest.raises(WeightsError, match="does not fit"):
        load_teacher_encoder(TinyVitBackbone(backbone), read_mobile_sam(locate("mobile-sam")))  # type: ignore[arg-type]


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    header = CheckpointHeader(
        name="n",
        architecture=SMALL.model_copy(update={"memory": "ema"}),
        pixel_threshold=0.4,
        training_sets=(TrainingSet(name="casia1", files=("ab", "cd")),),
    )
    student = Student(header.architecture).eval()
    save_checkpoint(tmp_path / "a.safetensors", student.state_dict(), header)
    loaded, found = load_checkpoint(tmp_path / "a.safetensors")
    assert found == header
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    save_checkpoint(tmp_path / "half.safetensors", student.state_dict(), header, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * (tmp_path / "a.safetensors").stat().st_size
    half, _ = load_checkpoint(tmp_path / "half.safetensors")
    x = pictures(1, 64)
    with torch.no_grad():
        assert (student(x).sigmoid() - half(x).sigmoid()).abs().max() < 0.01


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="do not exist"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="not a student's checkpoint"):
        load_checkpoint(locate("mobile-sam"))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_checkpoint(tmp_path / "text.safetensors")
    good = tmp_path / "good.safetensors"
    Localizer.untrained(SMALL, CPU).save(good)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1000])
    with pytest.raises(WeightsError):
        load_checkpoint(cut)
    tensors = load_file(good)
    tensors.pop("fusion.guidance.base.weight")
    header = read_header(good)
    save_checkpoint(tmp_path / "less.safetensors", tensors, header)
    with pytest.raises(WeightsError, match="do not fit"):
        load_checkpoint(tmp_path / "less.safetensors")
    save_file(load_file(good), tmp_path / "bare.safetensors", metadata={"imltool": '{"format": 99}'})
    with pytest.raises(WeightsError, match="format 99"):
        load_checkpoint(tmp_path / "bare.safetensors")


def test_maps_have_the_size_of_their_picture_in_any_batch() -> None:
    localizer = Localizer.untrained(SMALL, CPU, seed=3)
    images = [photo(1, 96, 64), photo(2, 33, 120), photo(3, 64, 64)]
    maps = localizer.maps(images)
    for values, image in zip(maps, images, strict=True):
        assert values.shape == image.shape[:2] and values.dtype == np.float32
        assert values.min() >= 0.0 and values.max() <= 1.0
        assert np.allclose(values, localizer.maps([image])[0], atol=1e-5)
    assert localizer.maps([]) == []


@pytest.mark.parametrize("traces", [(), ("copy", "jpeg")])
def test_tta_flips_make_maps_flip_equivariant(traces: tuple) -> None:  # type: ignore[type-arg]
    image = photo(3, 96, 64)
    stack = np.random.default_rng(0).normal(size=(len(TRACES), GRID, GRID)).astype(np.float16)
    found = {}
    for tta_flips in (1, 2, 4):
        architecture = SMALL.model_copy(update={"traces": traces, "tta_flips": tta_flips})
        localizer = Localizer.untrained(architecture, torch.device("cpu"))
        for name, axis in {"as it is": None, "across": 1, "down": 0}.items():
            flipped = image if axis is None else np.ascontiguousarray(np.flip(image, axis))
            planes = stack if axis is None else np.ascontiguousarray(np.flip(stack, axis + 1))
            (values,) = localizer.maps([flipped], [planes] if traces else None)
            found[tta_flips, name] = values if axis is None else np.flip(values, axis)
    for tta_flips, equal in {1: (), 2: ("across",), 4: ("across", "down")}.items():
        for name in ("across", "down"):
            same = np.allclose(found[tta_flips, name], found[tta_flips, "as it is"], atol=1e-4)
            assert same is (name in equal), (tta_flips, name)
    assert np.allclose(found[2, "as it is"], (found[1, "as it is"] + found[1, "across"]) / 2, atol=1e-4)


@pytest.mark.parametrize("grows", [False, True])
def test_tta_scales_average_the_logits_of_maps_at_several_sizes(grows: bool) -> None:
    largest = 96 if grows else None
    architecture = SMALL.model_copy(update={"input_size": 64, "max_input_size": largest, "traces": ("copy", "noise")})
    image = photo(3, 90, 120)
    localizer = Localizer.untrained(architecture, CPU)
    stack = np.random.default_rng(0).normal(size=localizer.traces(image).shape).astype(np.float16)
    alone = []
    for side in (64, 96):
        resampled = Localizer.of(localizer.student, localizer.header, CPU)
        grid = side // 2 if grows else GRID
        planes = np.stack([cv2.resize(np.float32(plane), (grid, grid)) for plane in stack]).astype(np.float16)
        resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < 90 else cv2.INTER_LINEAR)
        alone.append(torch.from_numpy(resampled.probabilities([np.asarray(resized, np.uint8)], [planes])[0].copy()))
    small = torch.nn.functional.interpolate(alone[0][None, None], (96, 96), mode="bilinear")[0, 0]
    merged = torch.sigmoid((torch.logit(small) + torch.logit(alone[1])) / 2)
    expected = torch.nn.functional.interpolate(merged[None, None], image.shape[:2], mode="bilinear")[0, 0].numpy()
    header = localizer.header.with_architecture({"tta_scales": (1.5, 1)})
    (found,) = Localizer.of(localizer.student, header, CPU).maps([image], [stack])
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(found - localizer.maps([image], [stack])[0]).max() > 1e-4, "a single size gives a different map"


def test_invalid_tta_scales_are_refused() -> None:
    for scales in ((), (0.1,), (1.0, 1.0), (1.0, 9.0), (1.0, 1.01)):
        with pytest.raises(ConfigError, match="tta_scales"):
            CheckpointHeader().with_architecture({"tta_scales": scales})


def test_untrained_student_depends_on_the_seed_only() -> None:
    image = photo(5)
    first, again, other = (Localizer.untrained(SMALL, CPU, seed).maps([image])[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_image_score_is_the_mean_of_the_top_percent() -> None:
    values = np.zeros((100, 100), dtype=np.float32)
    values[:5, :10] = 0.8
    assert image_score(values) == pytest.approx(0.4)
    values[:10, :10] = 0.8
    assert image_score(values) == pytest.approx(0.8)
    assert image_score(np.full((3, 3), 0.25, dtype=np.float32)) == pytest.approx(0.25)


def test_resize_input_averages_when_shrinking() -> None:
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    shrunk = resize_input(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), 32)
    assert shrunk.shape == (32, 32, 3) and abs(int(shrunk.mean()) - 127) <= 1 and int(np.ptp(shrunk)) <= 1


def test_input_size_must_fit_the_strides() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        StudentSettings(input_size=100)
    with pytest.raises(ValueError, match="multiple of 32"):
        StudentSettings(max_input_size=500)
    with pytest.raises(ValueError, match="max_input_size 128 is less than input_size 224"):
        StudentSettings(max_input_size=128)


@pytest.mark.parametrize(
    ("megapixels", "most", "side"),
    [(12, None, 224), (0.01, 448, 224), (1.2, 448, 224), (2, 448, 288), (3, 448, 352), (4.8, 448, 448), (50, 448, 448)],
)
def test_input_size_grows_with_the_picture_up_to_its_maximum(megapixels: float, most: int | None, side: int) -> None:
    pixels = round(megapixels * 1e6)
    assert input_side(pixels, 224, most) == side
    settings = StudentSettings(max_input_size=most)
    assert settings.side_for((pixels // 1000, 1000, 3)) == settings.side_for((1000, pixels // 1000)) == side
    assert settings.trace_grid(side) == (GRID if most is None else side // 2)


@pytest.mark.parametrize("traces", [(), ("jpeg", "noise")])
def test_pictures_of_a_batch_keep_their_own_input_sizes(traces: tuple[str, ...]) -> None:
    settings = StudentSettings(backbone="nano", input_size=64, max_input_size=160, traces=traces)
    localizer = Localizer.untrained(settings, CPU, seed=3)
    images = [photo(1, 90, 40), photo(2, 1900, 1000), photo(3, 70, 64)]
    assert [settings.side_for(image.shape) for image in images] == [64, 96, 64]
    for fill in (0, 3):
        for image, values in zip(images, localizer.maps(images, fill=fill), strict=True):
            side = settings.side_for(image.shape)
            stack = picture_traces(image, side // 2)[None].astype(np.float32) if traces else None
            x = normalise(torch.from_numpy(resize_input(image, side)[None]), MEAN, STD)
            with torch.no_grad():
                expected = localizer.student(x, None if stack is None else torch.from_numpy(stack)).sigmoid()
            expected = cv2.resize(expected[0, 0].numpy(), (image.shape[1], image.shape[0]))
            assert values.shape == image.shape[:2] and np.abs(values - expected).max() < 1e-5


def test_operation_count_is_two_per_multiply_add() -> None:
    shrinking = torch.nn.Conv2d(3, 5, kernel_size=3, stride=2, padding=1)
    assert count_operations(shrinking, torch.zeros(1, 3, 8, 10)) == 2 * (4 * 5) * 5 * (3 * 3 * 3)
    assert count_operations(torch.nn.Linear(7, 11), torch.zeros(4, 7)) == 2 * 4 * 7 * 11

    class Attention(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    heads, count, width = 2, 6, 4
    assert count_operations(Attention(), torch.zeros(1, heads, count, width)) == 2 * 2 * heads * count * count * width
