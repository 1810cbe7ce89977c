"""Vary how a training image looks: its blur, contrast, noise and look-up table."""

import cv2
import numpy as np

from training.fields import MULTI_HUE_MAPS, multi_hue, single_hue


def degrade(image: np.ndarray, rng) -> np.ndarray:
    """Change blur, gain, contrast and noise at random: from float32, 0 to 1, to uint8."""
    image = image.astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.2:
        slope = np.linspace(0, rng.uniform(0, 0.2) * max(image.max(), 0.05), image.shape[1])
        image = image + slope[None, :: rng.choice([-1, 1])].astype(np.float32)
    if rng.random() < 0.7:  # stretch between percentiles, as for display
        low, high = np.percentile(image, [rng.uniform(0, 2), rng.uniform(99, 100)])
        image = (image - low) / max(high - low, 0.02)
        image = image * rng.uniform(0.7, 1.2)
    else:
        image = image * np.exp(rng.uniform(-0.7, 0.7))
    image = np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.4:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + rng.uniform(0, 0.06) * noise * np.sqrt(image + 0.05)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def colour(grey: np.ndarray, rng) -> np.ndarray:
    """Apply a random look-up table: grey, one hue, several hues, or inverted."""
    kind = rng.random()
    if kind < 0.4:
        rgb = np.repeat(grey[..., None], 3, axis=2)
    elif kind < 0.8:
        rgb = single_hue(grey, _hue(rng))
    else:
        rgb = multi_hue(grey, str(rng.choice(list(MULTI_HUE_MAPS))))
    if rng.random() < 0.06:
        rgb = 255 - rgb
    if rng.random() < 0.15:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 98))]
        rgb = cv2.imdecode(cv2.imencode(".jpg", rgb, quality)[1], cv2.IMREAD_COLOR)
    return rgb


def _hue(rng) -> tuple[float, float, float]:
    if rng.random() < 0.6:  # the pure hues that microscope software offers
        colour = np.array([int(d) for d in f"{rng.integers(1, 7):03b}"], float)
    else:
        colour = rng.uniform(0, 1, 3)
    return tuple(colour / colour.max())
