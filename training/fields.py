"""Draw synthetic fluorescence fields with known objects, for the demo and for training `tiny`.

A field is drawn nucleus by nucleus and then passed through a simple model of a microscope: point
spread, out-of-focus haze, uneven background, photon noise, read noise and bad pixels. A seed
determines everything. The images are in the public domain (CC0-1.0).

``python -m training.fields OUT_FOLDER`` writes the demo's images and label images.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

MULTI_HUE_MAPS = {
    "hot": cv2.COLORMAP_HOT,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
    "plasma": cv2.COLORMAP_PLASMA,
    "jet": cv2.COLORMAP_JET,
    "turbo": cv2.COLORMAP_TURBO,
    "bone": cv2.COLORMAP_BONE,
    "parula": cv2.COLORMAP_PARULA,
}
"""Look-up tables of several hues, by name."""


@dataclass(frozen=True)
class FieldSettings:
    """What a synthetic field looks like.

    Args:
        height, width: Size in pixels.
        diameter: Typical diameter of a nucleus in pixels.
        count: Number of nuclei to place; there are fewer if they do not fit.
        clustering: Fraction of the nuclei, 0 to 1, that are placed next to another one.
        dimmest: Brightness of the dimmest nuclei, 0 to 1, before a random change of contrast.
        spread: Relative spread of the diameters (log-normal sigma).
        blur: Sigma of the point spread in pixels.
        photons: Photons in a pixel of brightness 1; fewer photons mean more noise.
        background: Brightness of the background, 0 to 1.
        gradient: How much brighter the background is on one side, 0 to 1.
        debris: Number of bright specks that are not nuclei.
        dead_pixels: Number of pixels stuck at black or white.

    Raises:
        ValueError: if a value is out of range.
    """

    height: int
    width: int
    diameter: float = 30.0
    count: int = 20
    clustering: float = 0.3
    dimmest: float = 0.25
    spread: float = 0.2
    blur: float = 1.0
    photons: float = 400.0
    background: float = 0.04
    gradient: float = 0.03
    debris: int = 3
    dead_pixels: int = 2

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a field needs pixels, but this one is {self.height} × {self.width}")
        if self.diameter < 2:
            raise ValueError(f"diameter must be at least 2 pixels, not {self.diameter}")
        if self.photons <= 0:
            raise ValueError(f"photons must be positive, not {self.photons}")
        for name in ("count", "spread", "blur", "debris", "dead_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        for name in ("clustering", "dimmest", "background", "gradient"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0 to 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Field:
    """A field with known objects.

    Args:
        image: shape (height, width); float32, 0 to 1, if drawn, or uint8 if from a pack.
        labels: uint16, shape (height, width), 0 for background and 1, 2, … for the nuclei.
    """

    image: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or self.image.shape != self.labels.shape:
            raise ValueError(
                f"image {self.image.shape} and labels {self.labels.shape} must have the same 2-D shape"
            )


def draw_field(settings: FieldSettings, rng: np.random.Generator) -> Field:
    """Draw a field of nuclei as a microscope would show it."""
    shape = (settings.height, settings.width)
    signal = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    centres: list[tuple[float, float, float]] = []
    for _ in range(settings.count):
        _place_nucleus(signal, labels, centres, settings, rng)
    _scatter_debris(signal, labels, settings, rng)
    return Field(_expose(signal, settings, rng), labels)


def random_settings(
    rng: np.random.Generator, height: int, width: int, diameter: float | None = None
) -> FieldSettings:
    """Draw settings for training from the range that real collections cover."""
    if diameter is None:
        diameter = float(np.exp(rng.uniform(np.log(9), np.log(90))))
    room = height * width / diameter**2
    crowding = rng.choice([0.0, 0.15, 0.4, 0.8], p=[0.04, 0.36, 0.4, 0.2])
    return FieldSettings(
        height=height,
        width=width,
        diameter=diameter,
        count=int(min(400, np.ceil(room * crowding * rng.uniform(0.5, 1.0)))),
        clustering=rng.uniform(0, 0.8),
        spread=rng.uniform(0.05, 0.4),
        blur=min(rng.uniform(0.3, 2.2), diameter / 8),
        photons=float(np.exp(rng.uniform(np.log(30), np.log(3000)))),
        background=rng.uniform(0, 0.25) ** 1.5,
        gradient=rng.uniform(0, 0.15) if rng.random() < 0.5 else 0.0,
        debris=int(rng.integers(0, 8)),
        dead_pixels=int(rng.integers(0, 5)),
    )


def _place_nucleus(signal, labels, centres, settings, rng) -> None:
    """Try a few places for a new nucleus; leave it out if it fits in none of them."""
    radius = settings.diameter / 2 * float(np.exp(rng.normal(0, settings.spread)))
    radius = max(radius, 2.0)
    inside, glow = _nucleus(radius, settings.dimmest, rng)
    for _ in range(12):
        y, x = _centre(centres, radius, settings, rng)
        window = _window(labels.shape, inside.shape, y, x)
        if window is None:
            continue
        here, there = window
        mask = inside[there]
        visible = mask & (labels[here] == 0)
        # It would be unfair to ask for a nucleus that is mostly hidden or outside the image.
        if mask.sum() < 0.5 * inside.sum() or visible.sum() < 0.85 * mask.sum():
            continue
        centres.append((y, x, radius))
        labels[here][visible] = len(centres)
        np.maximum(signal[here], np.where(mask, glow[there], 0), out=signal[here])
        return


def _centre(centres, radius, settings, rng) -> tuple[float, float]:
    if centres and rng.random() < settings.clustering:
        y, x, other = centres[rng.integers(len(centres))]
        angle, gap = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.15) * (radius + other)
        return y + gap * np.sin(angle), x + gap * np.cos(angle)
    return rng.uniform(0, settings.height), rng.uniform(0, settings.width)


def _window(shape, patch_shape, y, x):
    """The slices of the image and of a patch centred at (y, x) where they overlap, or None."""
    here, there = [], []
    for size, patch, centre in zip(shape, patch_shape, (y, x), strict=True):
        start = round(centre) - patch // 2
        low, high = max(start, 0), min(start + patch, size)
        if low >= high:
            return None
        here.append(slice(low, high))
        there.append(slice(low - start, high - start))
    return tuple(here), tuple(there)


def _nucleus(radius: float, dimmest: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """The shape (bool) and brightness (float32) of a nucleus, in a square patch around it.

    The outline is an ellipse whose radius is modulated by a few low harmonics.
    """
    half = int(np.ceil(radius * 1.9)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    aspect = np.sqrt(rng.uniform(1.0, 2.0))
    angle, distance = np.arctan2(v * aspect, u / aspect), np.hypot(u / aspect, v * aspect)
    outline = np.ones_like(angle)
    for harmonic in (2, 3, 4, 5):
        size = rng.normal(0, 0.10 / harmonic)
        outline += size * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    depth = 1 - distance / (radius * np.clip(outline, 0.6, 1.4))
    inside = depth > 0
    return inside, _brightness(depth, radius, dimmest, rng)


def _brightness(depth: np.ndarray, radius: float, dimmest: float, rng) -> np.ndarray:
    """The brightness of a nucleus, from the relative depth of its pixels below the outline."""
    level = rng.uniform(dimmest, 1.0) ** rng.choice([1.0, 2.0], p=[0.7, 0.3])
    dome = np.clip(depth, 0, 1) ** rng.uniform(0.1, 0.6)
    texture = np.zeros_like(depth)
    for scale in (0.5, 0.2):
        noise = rng.standard_normal(depth.shape).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), max(radius * scale, 0.6))
        texture += noise / max(float(noise.std()), 1e-6)
    return (level * dome * np.clip(1 + rng.uniform(0, 0.25) * texture, 0.3, 1.8)).astype(np.float32)


def _scatter_debris(signal, labels, settings, rng) -> None:
    for _ in range(settings.debris):
        y, x = int(rng.integers(settings.height)), int(rng.integers(settings.width))
        size = rng.uniform(0.5, max(0.6, settings.diameter / 14))
        if labels[y, x] == 0:
            cv2.circle(signal, (x, y), round(size), float(rng.uniform(0.3, 1.0)), -1)


def _expose(signal: np.ndarray, settings: FieldSettings, rng) -> np.ndarray:
    """Simulate the image that a camera takes: float32, 0 to 1."""
    light = signal
    if settings.blur > 0:
        light = cv2.GaussianBlur(light, (0, 0), settings.blur)
    haze = cv2.GaussianBlur(light, (0, 0), max(settings.diameter * 0.4, 1.0))
    light = light + rng.uniform(0, 0.25) * haze + settings.background
    y, x = np.mgrid[0 : 1 : complex(settings.height), 0 : 1 : complex(settings.width)]
    turn = rng.uniform(0, 2 * np.pi)
    light = light + settings.gradient * (
        0.5 + 0.5 * (x - 0.5) * np.cos(turn) + 0.5 * (y - 0.5) * np.sin(turn)
    )
    counts = rng.poisson(np.clip(light, 0, None) * settings.photons)
    image = counts / settings.photons + rng.normal(0, 0.004, light.shape)
    for _ in range(settings.dead_pixels):
        image[rng.integers(settings.height), rng.integers(settings.width)] = rng.integers(2)
    return np.clip(image / max(1.0, float(np.quantile(image, 0.9995))), 0, 1).astype(np.float32)


def single_hue(grey: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Colour a grey image with a look-up table from black to one colour.

    Args:
        grey: uint8, shape (height, width).
        colour: Red, green and blue, each 0 to 1; at least one of them should be 1.

    Returns:
        uint8, shape (height, width, 3), RGB.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2:
        raise ValueError(f"grey must be a 2-D uint8 image, not {grey.dtype} {grey.shape}")
    table = np.rint(np.arange(256)[:, None] * np.asarray(colour, float)[None]).astype(np.uint8)
    return table[grey]


def multi_hue(grey: np.ndarray, name: str) -> np.ndarray:
    """Colour a grey image (uint8, 2-D) with a look-up table of `MULTI_HUE_MAPS`: uint8 RGB."""
    if grey.dtype != np.uint8 or grey.ndim != 2:
        raise ValueError(f"grey must be a 2-D uint8 image, not {grey.dtype} {grey.shape}")
    return cv2.cvtColor(cv2.applyColorMap(grey, MULTI_HUE_MAPS[name]), cv2.COLOR_BGR2RGB)


# --- the demo -----------------------------------------------------------------------------------

DEMO_SEED = 20181
_HUES = {
    "blue": (0.1, 0.25, 1.0),
    "green": (0.0, 1.0, 0.2),
    "red": (1.0, 0.1, 0.1),
    "cyan": (0.0, 1.0, 1.0),
    "magenta": (1.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "gray": (1.0, 1.0, 1.0),
}
# (path, height, width, diameter, count); the folder and the suffix decide the kind of image.
_DEMO_FIELDS = (
    ("dapi/field_01.png", 256, 256, 30, 18),
    ("dapi/field_02.png", 256, 256, 22, 30),
    ("dapi/field_03.png", 256, 320, 40, 14),
    ("dapi/field_04.png", 320, 320, 26, 40),
    ("dapi/field_05.jpg", 360, 360, 34, 28),
    ("dapi/field_06.jpg", 256, 256, 60, 6),
    ("dapi/empty.png", 256, 256, 30, 0),
    ("gfp/field_01.png", 256, 256, 36, 12),
    ("gfp/field_02.png", 300, 260, 24, 26),
    ("gfp/field_03.jpg", 320, 400, 30, 40),
    ("gfp/field_04.jpg", 256, 256, 44, 8),
    ("gfp/field_05.png", 256, 256, 20, 35),
    ("gfp/damaged.png", 256, 256, 30, 15),
    ("mixed/cyan.png", 256, 256, 28, 20),
    ("mixed/magenta.png", 256, 256, 34, 15),
    ("mixed/red.jpg", 320, 320, 50, 12),
    ("mixed/yellow.jpg", 256, 320, 26, 28),
    ("mixed/gray.png", 256, 256, 24, 25),
    ("raw/field_01.tif", 256, 256, 30, 20),
    ("raw/field_02.tif", 256, 256, 22, 32),
    ("raw/field_03.tif", 200, 280, 38, 10),
    ("raw/field_04.tif", 280, 200, 26, 18),
    ("raw/field_05.tif", 256, 256, 52, 7),
    ("raw/field_06.tif", 320, 320, 34, 26),
)


def make_demo(folder: str | Path, seed: int = DEMO_SEED) -> list[Path]:
    """Write the demo's images to ``images`` and their label images to ``labels`` in `folder`.

    There are 24 images: 22 with objects, one without any, and one whose file is truncated. They are
    8-bit pseudo-coloured PNG and JPEG files and 16-bit grey TIFF files. The label image of an image
    is a uint16 PNG with the same relative path; the truncated file has none. The same seed gives
    the same bytes with the same versions of NumPy and OpenCV.

    Returns:
        The paths of the images.
    """
    folder = Path(folder)
    written = []
    for number, (name, height, width, diameter, count) in enumerate(_DEMO_FIELDS):
        rng = np.random.default_rng([seed, number])
        field = draw_field(_demo_settings(height, width, diameter, count, rng), rng)
        image = folder / "images" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        data = _encoded(image, field.image)
        if image.stem == "damaged":
            image.write_bytes(data[: len(data) // 3])
        else:
            image.write_bytes(data)
            labels = (folder / "labels" / name).with_suffix(".png")
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_bytes(cv2.imencode(".png", field.labels)[1].tobytes())
        written.append(image)
    return written


def _demo_settings(height, width, diameter, count, rng) -> FieldSettings:
    return FieldSettings(
        height=height,
        width=width,
        diameter=diameter,
        count=count,
        clustering=rng.uniform(0.1, 0.4),
        dimmest=0.5,
        spread=rng.uniform(0.1, 0.25),
        blur=rng.uniform(0.7, 1.4),
        photons=rng.uniform(150, 800),
        background=rng.uniform(0.02, 0.07),
        gradient=rng.uniform(0.0, 0.06),
        debris=int(rng.integers(1, 5)) if count else 0,
    )


def _encoded(path: Path, image: np.ndarray) -> bytes:
    """Encode an image: 16-bit grey as TIFF, or 8-bit in the colour that its path names."""
    if path.suffix == ".tif":
        # As from a 12-bit camera with an offset.
        raw = np.rint(100 + image * 3900).astype(np.uint16)
        return cv2.imencode(".tif", raw, [cv2.IMWRITE_TIFF_COMPRESSION, 8])[1].tobytes()
    colour = {"dapi": "blue", "gfp": "green"}.get(path.parent.name, path.stem)
    rgb = single_hue(np.rint(image * 255).astype(np.uint8), _HUES[colour])
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92], ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9]}
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.imencode(path.suffix, bgr, options[path.suffix])[1].tobytes()


def main(arguments: list[str] | None = None) -> None:
    """Write the demo as the command line says."""
    parser = argparse.ArgumentParser(description="Write the demo's images and label images.")
    parser.add_argument("folder", type=Path, help="where the folders images and labels are written")
    parser.add_argument("--seed", type=int, default=DEMO_SEED)
    args = parser.parse_args(arguments)
    print(f"{len(make_demo(args.folder, args.seed))} images in {args.folder / 'images'}")


if __name__ == "__main__":
    main()
