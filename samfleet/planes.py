"""Which images a file holds, and which of them are wanted; standard library only.

An image is a scene (position, field, series), a time point, and a slice of Z or a projection of all slices.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any, NamedTuple

from samfleet.digests import digest_of, digest_of_rows
from samfleet.wording import counted

PROJECTIONS = ("max", "mean", "sharpest")
"""The words for all slices of Z as one image."""

Chosen = int | str | tuple[int | str, ...]
"""The value of `image.scenes`, `image.times` or `image.slices`: "all" or another word, a number, or several."""


Cells = tuple[str, str, str]
"""The columns `scene`, `time` and `slice` of a table, by which it tells the images of a file."""

NO_CELLS: Cells = ("", "", "")
"""Those of the one image of a file; and, where a table selects images, of what the configuration selects."""


def ending_of(cells: Cells) -> str:
    """For a name: such as "_s0_t3_zmax"; empty for the one image of a file."""
    return "".join(f"_{name}{cell}" for name, cell in zip("stz", cells, strict=True) if cell)


class Plane(NamedTuple):
    """Which image of a file; what the file has only one of is None, or empty.

    Attributes:
        scene, time: numbers, from 0.
        slice: a number as text, or one of PROJECTIONS.
    """

    scene: int | None = None
    time: int | None = None
    slice: str = ""

    @property
    def words(self) -> str:
        """Such as "scene 0, time 3, slice max"; empty for the one image of a file."""
        named = (("scene", self.scene), ("time", self.time), ("slice", self.slice or None))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)

    @property
    def cells(self) -> Cells:
        """Its columns in tables."""
        scene = "" if self.scene is None else str(self.scene)
        time = "" if self.time is None else str(self.time)
        return scene, time, self.slice

    @classmethod
    def of_cells(cls, scene: str, time: str, slice: str) -> "Plane":
        """The plane that `cells` stands for, if empty ONLY itself; raises ValueError if that is no number."""
        if not (scene or time or slice):
            return ONLY
        return cls(int(scene) if scene else None, int(time) if time else None, slice)


ONLY = Plane()
"""The one image of a file."""


PixelSide = float | tuple[float, float] | None
"""The side of a pixel in µm; both sides, the shorter first, if it is not square; None if they are not known."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene of a file, as its header describes it.

    Attributes:
        name: as the microscope's program gave it, such as a well's.
        times, slices: how many there are.
        channels: their names; empty where a channel has none.
        height, width: in pixels, 0 if not known.
        dtype: of the pixels, if known.
        is_color: whether the channels are red, green and blue.
        pixel_size_um: the side of a pixel in µm.
        acquired: when, in ISO 8601, if known.
        levels: how many resolutions there are.
        problem: why it cannot be read; empty if nothing is known to be wrong.
    """

    name: str = ""
    times: int = 1
    slices: int = 1
    channels: tuple[str, ...] = ("",)
    height: int = 0
    width: int = 0
    dtype: str = ""
    is_color: bool = False
    pixel_size_um: PixelSide = None
    acquired: str = ""
    levels: int = 1
    problem: str = ""


class Companion(NamedTuple):
    """A file beside another that holds part of it, with its size and time."""

    name: str
    size: int
    mtime_ns: int


def companions_digest(companions: Iterable[tuple[str, int, int]]) -> str:
    """Changes with the name, size or time of any of some companions; empty if there are none."""
    rows = sorted(tuple(companion) for companion in companions)
    return digest_of_rows(rows) if rows else ""


@dataclass(frozen=True, slots=True)
class Description:
    """What a file holds.

    Attributes:
        scenes: in the order of the file.
        companions: files beside it that hold part of it.
        own: where a set of files shares scenes, those images that are this file's: (scene, time, slice), with -1
            as the slice of a projection. None if all are.
        problem: why it cannot be told what the file holds, with a status; it then counts as one image.
    """

    scenes: tuple[Scene, ...]
    companions: tuple[Companion, ...] = ()
    own: frozenset[tuple[int, int, int]] | None = None
    problem: str = ""

    @property
    def is_one_image(self) -> bool:
        """Whether there is nothing to select, and nothing beside the file to look at."""
        if self.companions or len(self.scenes) != 1:
            return False
        scene = self.scenes[0]
        return scene.times == scene.slices == 1 and not scene.problem

    @property
    def images(self) -> str:
        """How many scenes, times and slices there are, in words."""
        parts = [counted(len(self.scenes), "scene")] if len(self.scenes) > 1 else []
        for name in ("time", "slice"):
            if (most := max(getattr(scene, f"{name}s") for scene in self.scenes)) > 1:
                parts.append(counted(most, name))
        return " × ".join(parts) or "1 image"

    def to_json(self) -> str:
        """Text on one line, in which only what differs from the defaults is written."""
        plain = {entry.name: entry.default for entry in fields(Scene)}
        scenes = [
            {name: value for name, value in asdict(scene).items() if value != plain[name]}
            for scene in self.scenes
        ]
        written: dict[str, object] = {"scenes": scenes}
        if self.companions:
            written["companions"] = self.companions
        if self.own is not None:
            written["own"] = sorted(self.own)
        if self.problem:
            written["problem"] = self.problem
        return json.dumps(written, separators=(",", ":"))

    @classmethod
    def of_json(cls, text: str) -> "Description":
        """What `to_json` has written; raises ValueError if it is not that."""
        try:
            read = json.loads(text)
            scenes = [
                Scene(**{name: _as_read(value) for name, value in scene.items()})
                for scene in read["scenes"]
            ]
            own = frozenset(map(tuple, read["own"])) if "own" in read else None
            companions = tuple(Companion(*each) for each in read.get("companions", ()))
            return cls(tuple(scenes), companions, own, read.get("problem", ""))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("a description is damaged") from error


def _as_read(value: Any) -> Any:
    """What JSON has turned into a list."""
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images of each file are wanted, as `image.scenes`, `image.times` and `image.slices` say."""

    scenes: Chosen = "all"
    times: Chosen = "all"
    slices: Chosen = "max"

    @property
    def digest(self) -> str:
        """Changes with the selection."""
        return digest_of([self.scenes, self.times, self.slices])

    def narrowed(self, scene: str, time: str, slice: str) -> "Selection":
        """This selection, with what the cells of a table say where they are not empty."""
        return Selection(
            _of_scene(scene) if scene else self.scenes,
            _of_cell(time) if time else self.times,
            _of_cell(slice) if slice else self.slices,
        )


def _of_scene(cell: str) -> int | str:
    """A number, unless zeros before it say that it may be a name: fields are called 01, 02, …"""
    return cell if cell.startswith("0") and cell != "0" else _of_cell(cell)


def _of_cell(cell: str) -> int | str:
    return int(cell) if cell.isdecimal() else cell


@dataclass
class Selected:
    """What a selection finds in a file.

    Attributes:
        planes: the images, each with why it cannot be read, if that is known.
        missing: why there is none; empty if there is one, or if another file of the same set has it.
        held: how many planes (scene × time × slice) the file has.
        shown: how many of them an image shows, or includes in a projection, or another file of the set has.
        projected: how many are seen only within a projection.
        again: the cells of images that an earlier selection has found, too.
    """

    planes: list[tuple[Plane, str]] = field(default_factory=list)
    missing: str = ""
    held: int = 0
    shown: int = 0
    projected: int = 0
    again: list[Cells] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        """How many planes are not shown."""
        return max(0, self.held - self.shown)


def select(description: Description | None, selection: Selection) -> Selected:
    """The images of a file that are wanted, in the order of scenes, times and slices.

    Args:
        description: of the file; None if it holds one image.
        selection: which are wanted.
    """
    description = description or Description((Scene(),))
    found = Selected()
    # a set of files is no single image by itself, so its one scene has a number
    several_scenes = len(description.scenes) > 1 or bool(description.companions)
    several_times = any(scene.times > 1 for scene in description.scenes)
    several_slices = any(scene.slices > 1 for scene in description.scenes)
    names = [scene.name for scene in description.scenes]
    chosen, reason = _numbers("scenes", selection.scenes, len(description.scenes), names)
    reasons = [reason]
    shown = elsewhere = 0
    for number in chosen:
        scene = description.scenes[number]
        which = number if several_scenes else None
        if scene.problem:
            found.planes.append((Plane(which), scene.problem))
            continue
        times, reason = _numbers("times", selection.times, scene.times)
        reasons.append(reason)
        slices, reason = _slices(selection.slices, scene.slices)
        reasons.append(reason)
        for time, slice in product(times, slices):
            place = (number, time, -1 if slice in PROJECTIONS else int(slice or 0))
            if description.own is not None and place not in description.own:
                elsewhere += 1
                continue
            plane = Plane(which, time if several_times else None, slice if several_slices else "")
            found.planes.append((plane, ""))
        shown += len(times) * (scene.slices if slices and slices[0] in PROJECTIONS else len(slices))
        if slices and slices[0] in PROJECTIONS and scene.slices > 1:
            found.projected += len(times) * scene.slices
    if not found.planes and not elsewhere:
        reasons.append("unreadable: it has no image")
        found.missing = description.problem or next(filter(None, reasons))
    found.held = sum(scene.times * scene.slices for scene in description.scenes)
    found.shown = shown + elsewhere
    return found


def _slices(chosen: Chosen, count: int) -> tuple[list[str], str]:
    """The slices that are wanted of so many, or the projection of them; and what is missing."""
    if isinstance(chosen, str) and chosen in PROJECTIONS:
        return [chosen if count > 1 else "0"], ""
    numbers, reason = _numbers("slices", chosen, count)
    return list(map(str, numbers)), reason


def _numbers(
    name: str, chosen: Chosen, count: int, names: Sequence[str] = ()
) -> tuple[list[int], str]:
    """The numbers that are wanted of so many; and, if there is none, why."""
    if chosen == "all":
        return list(range(count)), ""
    wanted = chosen if isinstance(chosen, tuple) else (chosen,)
    numbers: set[int] = set()
    for each in wanted:
        called = {number for number, name in enumerate(names) if name and name == each}
        if not called and (isinstance(each, int) or each.isdecimal()):  # digits that are no name
            called = {int(each)}.intersection(range(count))
        numbers |= called
    if numbers:
        return sorted(numbers), ""
    written = ", ".join(map(str, wanted))
    return (
        [],
        f"unsupported: it has {counted(count, name[:-1])}, counted from 0, and none is {written}; correct image.{name}, or "
        f"{name[:-1]} in the table",
    )


def channels_text(channels: Sequence[tuple[str, str]]) -> str:
    """(name, path) of joined files, on one line of a table; empty if there is none."""
    return json.dumps(channels) if channels else ""


def channels_of(text: str) -> tuple[tuple[str, str], ...]:
    """What `channels_text` has written; raises ValueError if it is not that."""
    if not text:  # as of nearly every file
        return ()
    try:
        return tuple((str(name), str(path)) for name, path in json.loads(text))
    except (TypeError, RecursionError) as error:
        raise ValueError("names of channels are damaged") from error


def cells_text(cells: Cells) -> str:
    """Cells of a table on one line, whatever characters are in them."""
    return json.dumps(cells)


def cells_of(text: str) -> Cells:
    """What `cells_text` has written, none if that is nothing; raises ValueError if it is not that."""
    if not text:  # as of nearly every image
        return NO_CELLS
    try:
        scene, time, slice = json.loads(text)
    except (TypeError, RecursionError) as error:
        raise ValueError("cells of a table are damaged") from error
    return str(scene), str(time), str(slice)


def image_id_of_plane(digest: str, plane: Plane) -> str:
    """The id of an image: the file's digest, if it is its one image."""
    if plane == ONLY:
        return digest
    return digest_of([digest, plane.scene, plane.time, plane.slice])
