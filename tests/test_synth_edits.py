"""Edits of synthetic forgeries: retouch, enlarge, geometry, uneven borders, light, and file histories."""

# mypy: no-strict-optional
# a None where a test expects a value fails it anyway

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.pictures import write_rgb
from helpers.synth_sources import BEFORE, LOSSLESS, make_forge, make_sources
from numpy.typing import NDArray

from imltool.errors import DataError
from imltool.synth.blending import alpha_paste, match_colour, match_light
from imltool.synth.edges import defringe, feathered, guided, ragged
from imltool.synth.forge import Forge, Forgery, sample_rng
from imltool.synth.history import Before, add_noise, earlier, finish
from imltool.synth.records import Earlier, Save
from imltool.synth.regions import Piece, transform
from imltool.synth.retouch import METHODS
from imltool.synth.settings import HistorySettings, MattingSettings


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"))


def made(forge: Forge, kind: str, count: int, seed: int = 0) -> list[Forgery]:
    return [forge.make(sample_rng(seed, index), kind) for index in range(count)]


def disc(side: int = 80, radius: int = 30) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side, :side] - side / 2
    return rows**2 + columns**2 < radius**2  # type: ignore[no-any-return]


def grain(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", list(METHODS))
def test_each_retouch_changes_most_of_its_mask_sufficiently(sources: Path, method: str) -> None:
    forge = make_forge(sources, history=LOSSLESS, retouch={"methods": {method: 1}, "least_change": 3})
    for index in range(6):
        sample = forge.make(sample_rng(1, index), "retouch")
        host = forge.make(sample_rng(1, index), "authentic")
        assert sample.record.method == method
        if (sample.record.host, sample.record.crop) != (host.record.host, host.record.crop):
            continue
        change = cv2.absdiff(sample.image, host.image).max(axis=2)
        assert not change[~sample.mask].any()
        assert (change[sample.mask] > 0).mean() > 0.7 and change[sample.mask].mean() >= 3


def test_retouch_without_effect_is_refused(tmp_path: Path) -> None:
    write_rgb(tmp_path / "sources" / "photos" / "plain.png", np.full((220, 300, 3), 90, np.uint8))
    (tmp_path / "sources" / "objects").mkdir()
    (tmp_path / "sources" / "object_masks").mkdir()
    forge = make_forge(tmp_path / "sources", history=LOSSLESS, retouch={"methods": {"blur": 1}})
    with pytest.raises(DataError, match="no retouch"):
        forge.make(sample_rng(0, 0), "retouch")


def test_enlarging_marks_the_larger_object_and_shrinking_fills_the_gap(sources: Path) -> None:
    still = {"history": LOSSLESS, "own_object": 1, "feather": [0, 0], "matting": 0, "poisson": 0, "area": [0.001, 0.9]}
    larger = make_forge(sources, **still, enlarge={"shrink": 0, "factor": [1.4, 1.4]})
    smaller = make_forge(sources, **still, enlarge={"shrink": 1, "shrink_factor": [0.7, 0.7]})
    larger.pool.hosts = smaller.pool.hosts = [path for path, _ in larger.pool.objects]
    compared = 0
    for sample in made(larger, "enlarge", 8):
        own = larger.pool.picture(larger.pool.hosts[0].parent / sample.record.host)[1]
        left, top, right, bottom = sample.record.crop or (0, 0, 0, 0)
        size = (sample.mask.shape[1], sample.mask.shape[0])
        own = cv2.resize(own[top:bottom, left:right].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        assert sample.record.scale == pytest.approx(1.4) and sample.record.filled is None
        if sample.record.region == "object" and not (own[:, 0] | own[:, -1]).any() and not own[[0, -1]].any():
            compared += 1
            assert sample.mask.sum() == pytest.approx(1.96 * own.sum(), rel=0.25)
            assert sample.mask[own].mean() > 0.9
    assert compared
    for sample in made(smaller, "enlarge", 8):
        assert sample.record.scale == pytest.approx(0.7) and sample.record.filled is not None
        assert sample.record.filled.method in {"telea", "ns", "patch"}


def test_copy_moves_rotate_and_scale_in_the_full_range(sources: Path) -> None:
    forge = make_forge(sources, plain=0, rotate=1, rotate_any=0.5, history=LOSSLESS)
    records = [sample.record for sample in made(forge, "copymove", 40)]
    degrees, scales = [record.degrees or 0 for record in records], [record.scale or 1 for record in records]
    assert max(degrees) > 90 and min(degrees) < -90 and sum(abs(angle) <= 25 for angle in degrees) >= 10
    assert min(scales) < 0.7 and max(scales) > 1.4 and 0.5 <= min(scales) <= max(scales) <= 2
    never = [sample.record for sample in made(make_forge(sources, plain=1), "copymove", 10)]
    assert {(record.scale, record.degrees, record.flip) for record in never} == {(1.0, 0.0, False)}


def test_rotated_piece_keeps_its_area_without_black_pixels() -> None:
    piece = Piece(np.full((80, 80, 3), 200, np.uint8), disc())
    for scale, degrees in [(1.0, 137.0), (0.5, 33.0), (2.0, -90.0), (0.6, 0.0)]:
        turned = transform(piece, scale, degrees, False)
        assert turned.shape.sum() == pytest.approx(piece.shape.sum() * scale**2, rel=0.03)
        assert (turned.rgb == 200).all()


def test_downscaling_a_piece_does_not_alias() -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    for degrees in (0.0, 20.0):
        shrunk = transform(Piece(stripes, np.ones((96, 96), bool)), 0.5, degrees, False)
        inside = shrunk.rgb[shrunk.rgb.shape[0] // 2 - 10 : shrunk.rgb.shape[0] // 2 + 10, 20:30]
        assert abs(inside.astype(int) - 128).max() < 8


def test_uneven_borders_change_the_host_only_where_weights_are_positive() -> None:
    host, piece, shape = np.full((120, 160, 3), 90, np.uint8), grain(80, 80, 1), disc()
    weights = {
        "feather": feathered(shape, 1.5),
        "ragged": ragged(np.random.default_rng(0), shape, MattingSettings()),
        "guided": guided(piece, shape, 4, 1e-3),
    }
    widths = {}
    for name, weight in weights.items():
        assert weight.min() >= 0 and weight.max() <= 1 and weight[35:45, 35:45].min() > 0.99
        pasted, mask = alpha_paste(host, piece, weight, 30, 20)
        assert np.array_equal(mask[20:100, 30:110], weight > 0) and mask.sum() == (weight > 0).sum()
        assert np.array_equal(pasted[~mask], host[~mask])
        # the spread of the border's distance to the outline of the shape
        middle = weight > 0.5
        depth = cv2.distanceTransform(np.pad(disc(), 20).astype(np.uint8), cv2.DIST_L2, 5)[20:-20, 20:-20]
        edge = middle & ~(cv2.erode(middle.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        widths[name] = depth[edge].std()
    assert widths["feather"] < 0.7 < widths["ragged"]
    assert (weights["guided"][~shape] > 0).any()  # it follows grey values of the donor beyond the shape


def test_full_frame_shape_has_soft_borders() -> None:
    weight = feathered(np.ones((40, 40), bool), 2.0)
    assert weight[0].max() < 0.3 and weight[:, -1].max() < 0.3 and weight[20, 20] == 1


def test_defringing_removes_donor_background_from_the_border() -> None:
    shape = disc()
    rgb = np.full((80, 80, 3), 20, np.uint8)
    rgb[cv2.erode(shape.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = 220
    weight = feathered(shape, 2.0)
    cleaned = defringe(rgb, weight, 6)
    assert cleaned[shape].mean() > rgb[shape].mean() + 5 and cleaned[(weight > 0.05) & (weight < 0.9)].min() > 200


def test_matting_and_its_colour_changes_are_recorded(sources: Path) -> None:
    always = make_forge(sources, matting=1, poisson=0, borders={"contaminated": 0.5, "defringed": 0.5})
    done = [paste for sample in made(always, "splice", 20) for paste in sample.record.pasted]
    assert {paste.border for paste in done} == {"guided", "ragged"}
    assert {paste.contamination is not None for paste in done} == {True, False}
    assert all((paste.contamination is not None) != bool(paste.defringed) for paste in done)


def test_light_matching_follows_the_host_and_keeps_the_mean() -> None:
    ramp = np.repeat(np.linspace(40, 200, 64).astype(np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    piece = np.full((30, 50, 3), 100, np.uint8)
    lit = match_light(piece, ramp, 1.0).astype(float)
    assert lit.mean() == pytest.approx(100, abs=2)
    assert lit[:, -5:].mean() > 1.8 * lit[:, :5].mean()
    assert np.array_equal(match_light(piece, ramp, 0.0), piece)


def test_colour_matching_transfers_mean_and_spread() -> None:
    dark, bright = (grain(seed=1) // 3).astype(np.uint8), (grain(seed=2) // 2 + 110).astype(np.uint8)
    everywhere = np.ones(dark.shape[:2], bool)
    full, half = (match_colour(dark, everywhere, bright, strength) for strength in (1.0, 0.5))
    assert full.mean() == pytest.approx(bright.mean(), abs=4)
    assert dark.mean() + 20 < half.mean() < full.mean() - 20
    assert np.array_equal(match_colour(dark, everywhere, bright, 0.0), dark)


def test_donor_and_host_have_separate_histories(sources: Path) -> None:
    certain = {f"{who}_{step}": 1 for who in ("host", "donor") for step in ("jpeg", "resample", "noise")}
    records = [sample.record for sample in made(make_forge(sources, history=certain), "splice", 12)]
    for record in records:
        for who in ("host", "donor"):
            assert 50 <= getattr(record, f"{who}_jpeg").quality <= 98
            assert 0.8 <= getattr(record, f"{who}_noise") <= 6 and getattr(record, f"{who}_resample") > 0
    assert {record.host_order for record in records} == {"resize-jpeg", "jpeg-resize"}
    assert all(record.host_noise != record.donor_noise for record in records)
    none = made(make_forge(sources, history=BEFORE), "splice", 1)[0].record
    assert none.host_jpeg == none.donor_jpeg == Save() and none.host_noise is None and none.donor_resample is None


def test_earlier_histories_leave_their_traces() -> None:
    def spectrum(rgb: NDArray[np.uint8]) -> float:
        return float(np.abs(np.diff(rgb[..., 1].astype(float), axis=1)).mean())

    settings, size = HistorySettings(resample_range=(1.6, 1.6), sensor_sigma=(6, 6)), (160, 120)
    rng = np.random.default_rng(0)
    plain, record = earlier(rng, grain(), size, Before(0, 0, 0), settings)
    assert np.array_equal(plain, grain()) and record == Earlier()
    resampled, record = earlier(rng, grain(), size, Before(0, 1, 0), settings)
    assert resampled.shape == plain.shape and record.resample == pytest.approx(1.6, rel=0.02)
    assert spectrum(resampled) < 0.5 * spectrum(plain)
    flat = np.full((120, 160, 3), 128, np.uint8)
    assert earlier(rng, flat, size, Before(0, 0, 1), settings)[0].std() == pytest.approx(6, rel=0.1)
    assert add_noise(rng, flat // 4, 6.0, sensor=True).std() < 0.8 * add_noise(rng, flat, 6.0, sensor=True).std()


def test_earlier_jpeg_grid_is_at_the_recorded_shift() -> None:
    rows, columns = np.mgrid[:160, :160].astype(np.float32)
    smooth = (100 + 40 * np.sin(rows / 17) + 40 * np.sin(columns / 23)).astype(np.uint8)[..., None].repeat(3, axis=2)
    settings, shifts = HistorySettings(jpeg_quality=(20, 20), grid_shift=1), set()
    for seed in range(8):
        saved, record = earlier(np.random.default_rng(seed), smooth, (160, 160), Before(1, 0, 0), settings)
        x, y = record.jpeg.shift or (0, 0)
        shifts.add((x, y))
        assert saved.shape == smooth.shape
        steps = np.abs(np.diff(saved[..., 1].astype(float), n=2, axis=1)).mean(axis=0)  # kinks at block borders
        energy = [steps[phase::8].mean() + steps[(phase - 1) % 8 :: 8].mean() for phase in range(8)]
        assert (int(np.argmax(energy)) + 1 + x) % 8 == 0
    assert len(shifts) > 5


def test_final_quality_is_above_or_below_the_earlier_one(sources: Path) -> None:
    forge = make_forge(sources, long_side=[96, 128], history={"host_jpeg": 1, "donor_jpeg": 1, "final_png": 0})
    records = [sample.record for sample in made(forge, "splice", 40)]
    for who in ("host", "donor"):
        above = [(record.final.quality or 0) > getattr(record, f"{who}_jpeg").quality for record in records]
        assert 0.2 < np.mean(above) < 0.8


def test_social_network_history_shrinks_and_saves_once_or_twice() -> None:
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    settings = HistorySettings.model_validate(LOSSLESS | {"social": 1, "social_twice": 0.5})
    passes = set()
    for seed in range(12):
        rgb, kept, record, data = finish(np.random.default_rng(seed), grain(), mask, settings)
        passes.add(len(record.social))
        assert record.format == "JPEG" and record.before_social == Save("PNG")
        assert 70 <= record.social[-1].quality == record.quality <= 85 and record.subsampling == 2
        assert kept.shape == rgb.shape[:2] and 0.5 <= max(kept.shape) / 160 <= 0.91
        assert kept.mean() == pytest.approx(mask.mean(), rel=0.1)
        assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape, rgb.shape)
    assert passes == {1, 2}


def test_double_save_shifts_picture_and_mask_equally() -> None:
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    marked = np.where(mask[..., None], 220, 30).astype(np.uint8).repeat(3, axis=2)
    settings = HistorySettings.model_validate(LOSSLESS | {"double": 1, "jpeg_quality": [98, 98]})
    shifts = set()
    for seed in range(12):
        rgb, kept, record, _ = finish(np.random.default_rng(seed), marked, mask, settings)
        assert record.first_save is not None and record.first_save.shift is not None
        x, y = record.first_save.shift
        shifts.add((x, y))
        assert rgb.shape == (120 - y, 160 - x, 3) and np.array_equal(rgb[..., 1] > 128, kept)
    assert len(shifts) > 8


def test_authentic_and_tampered_pictures_are_finished_equally() -> None:
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    for seed in range(20):
        one = finish(np.random.default_rng(seed), grain(), mask, HistorySettings())
        other = finish(np.random.default_rng(seed), grain(), ~mask & mask, HistorySettings())
        assert np.array_equal(one[0], other[0]) and one[2:] == other[2:] and not other[1].any()
