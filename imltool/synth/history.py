"""Histories: changes of whole pictures by cameras, editors and social networks, before and after an edit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from imltool.pictures.images import RGB, Mask, encode_jpeg
from imltool.pictures.pixels import LEAST_SIDE, decode, jpeg, resize, resize_mask, scaled
from imltool.synth.records import Earlier, Final, Pass, Save
from imltool.synth.settings import HistorySettings


@dataclass(frozen=True)
class Before:
    """Probabilities of the steps applied to a picture before the edit."""

    jpeg: float
    resample: float
    noise: float


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A log-uniform draw from `low` to `high` (both above 0), so that half is as likely as double."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def add_noise(rng: np.random.Generator, rgb: RGB, sigma: float, sensor: bool = False) -> RGB:
    """Add Gaussian noise of `sigma` grey levels; with `sensor` this holds at mid-grey and grows with the root of
    brightness.

    It is drawn by OpenCV's generator, seeded by `rng`, which is three times as fast as numpy's.
    """
    noise = np.empty(rgb.shape, np.float32)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(noise, np.zeros(3), np.full(3, sigma))
    if sensor:
        # our choice: a quarter of the variance at mid-grey is read noise, the rest photons
        growth = np.sqrt(0.25 + 0.75 * np.arange(256, dtype=np.float32) / 128.0)
        noise *= cv2.LUT(rgb, growth)
    return np.asarray(cv2.add(rgb, noise, dtype=cv2.CV_8U), dtype=np.uint8)


def draw_quality(rng: np.random.Generator, bounds: tuple[float, float]) -> int:
    """Draw an integer JPEG quality within `bounds`, both included."""
    return int(rng.integers(int(bounds[0]), int(bounds[1]) + 1))


def earlier(
    rng: np.random.Generator, rgb: RGB, size: tuple[int, int], before: Before, settings: HistorySettings
) -> tuple[RGB, Earlier]:
    """Bring a picture to `size` (width, height) with a random history before the edit.

    Steps, each with its probability in `before`: sensor noise, a resize, a JPEG save. The last two are in either order,
    so that the period of the JPEG grid is 8 pixels or another length. A shrinking resize starts from as many pixels as
    `rgb` has.
    """
    done = Earlier()
    resampled = rng.random() < before.resample
    grid_last = True
    if resampled:
        factor = log_uniform(rng, *settings.resample_range)
        grid_last = rng.random() < 0.5
        first = max(LEAST_SIDE, round(size[0] / factor)), max(LEAST_SIDE, round(size[1] / factor))
        if first[0] < rgb.shape[1] or factor > 1.0:  # otherwise the source has no more pixels from which to shrink
            rgb = resize(rgb, first)
        done = Earlier(resample=size[0] / rgb.shape[1], order="resize-jpeg" if grid_last else "jpeg-resize")
    else:
        rgb = resize(rgb, size)
    if rng.random() < before.noise:
        sigma = float(rng.uniform(*settings.sensor_sigma))
        rgb, done = add_noise(rng, rgb, sigma, sensor=True), replace(done, noise=sigma)
    kernel = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])) if resampled else cv2.INTER_CUBIC
    if resampled and grid_last:
        rgb = resize(rgb, size, kernel)
    if rng.random() < before.jpeg:
        quality, subsampling = draw_quality(rng, settings.jpeg_quality), int(rng.choice([0, 2]))
        x, y = (int(value) for value in rng.integers(0, 8, 2)) if rng.random() < settings.grid_shift else (0, 0)
        # as if the file had been cropped after that save: otherwise its grid would always coincide with the final one
        wide = cv2.copyMakeBorder(rgb, y, 0, x, 0, cv2.BORDER_REFLECT_101) if x or y else rgb
        rgb = np.ascontiguousarray(jpeg(np.asarray(wide, dtype=np.uint8), quality, subsampling)[y:, x:])
        done = replace(done, jpeg=Save(quality=quality, subsampling=subsampling, shift=(x, y)))
    return resize(rgb, size, kernel), done


def finish(
    rng: np.random.Generator, rgb: RGB, mask: Mask, settings: HistorySettings
) -> tuple[RGB, Mask, Final, bytes | None]:
    """Apply the steps after the edit, which are the same for tampered and authentic pictures.

    Resize, blur, noise, perhaps a first save with a crop that shifts the JPEG grid, the save, perhaps social networks.
    Returns the decoded final picture, the mask with the same geometry, the record of the steps, and the last JPEG file
    itself (None for a PNG).
    """
    done = Final("PNG")
    if settings.develop and rng.random() < settings.develop:
        from imltool.synth.develop import develop

        rgb, names = develop(rng, rgb)
        done = replace(done, developed=names)
    if rng.random() < settings.resize:
        factor = float(rng.uniform(*settings.resize_range))
        rgb, mask = _resize_both(rgb, mask, factor)
        done = replace(done, resize=factor)
    if rng.random() < settings.blur:
        sigma = float(rng.uniform(*settings.blur_sigma))
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), dtype=np.uint8)
        done = replace(done, blur=sigma)
    if rng.random() < settings.noise:
        sigma = float(rng.uniform(*settings.noise_sigma))
        rgb, done = add_noise(rng, rgb, sigma), replace(done, noise=sigma)
    if rng.random() < settings.double:
        quality, subsampling = draw_quality(rng, settings.jpeg_quality), int(rng.choice([0, 2]))
        x, y = (int(value) for value in rng.integers(0, 8, 2))
        rgb, mask = np.ascontiguousarray(jpeg(rgb, quality, subsampling)[y:, x:]), np.ascontiguousarray(mask[y:, x:])
        done = replace(done, first_save=Save(quality=quality, subsampling=subsampling, shift=(x, y)))
    data = None
    if rng.random() >= settings.final_png:
        quality, subsampling = draw_quality(rng, settings.final_quality), int(rng.choice([0, 2], p=[0.3, 0.7]))
        done = replace(done, format="JPEG", quality=quality, subsampling=subsampling)
        data = encode_jpeg(rgb, quality, subsampling)
        rgb = decode(data)
    if rng.random() < settings.social:
        rgb, mask, data, passes = _social(rng, rgb, mask, settings)
        before = Save(done.format, done.quality, done.subsampling)
        done = replace(done, before_social=before, social=passes, format="JPEG")
        done = replace(done, quality=passes[-1].quality, subsampling=2)
    return rgb, mask, done, data


def _resize_both(rgb: RGB, mask: Mask, factor: float) -> tuple[RGB, Mask]:
    size = scaled(mask.shape, factor)
    return resize(rgb, size), resize_mask(mask, size)


def _social(
    rng: np.random.Generator, rgb: RGB, mask: Mask, settings: HistorySettings
) -> tuple[RGB, Mask, bytes, tuple[Pass, ...]]:
    """Pass through one or two social networks: a limit on the long side (first pass only), sharpening, JPEG 4:2:0."""
    passes: tuple[Pass, ...] = ()
    data = b""
    for number in range(2 if rng.random() < settings.social_twice else 1):
        factor: float | None = None
        if number == 0:
            factor = float(rng.uniform(*settings.social_side))
            rgb, mask = _resize_both(rgb, mask, factor)
        amount = float(rng.uniform(*settings.social_sharpen))
        rgb = sharpen(rgb, amount, 1.0)
        quality = draw_quality(rng, settings.social_quality)
        data = encode_jpeg(rgb, quality, 2)
        rgb = decode(data)
        passes += (Pass(quality, amount, factor),)
    return rgb, mask, data, passes


def sharpen(rgb: RGB, amount: float, sigma: float) -> RGB:
    """Unsharp masking: `amount` times the difference to a Gaussian blur of `sigma` pixels is added."""
    smooth = cv2.GaussianBlur(rgb, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(rgb, 1.0 + amount, smooth, -amount, 0.0), dtype=np.uint8)
