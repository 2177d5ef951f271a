"""Shapes on photographs, drawn when they are asked for.

Picture `index` of a seed is always the same, so that there is nothing to download or to store.
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

KINDS = ("ellipse", "rectangle", "triangle", "star")
PHOTOGRAPHS = Path(__file__).parent.parent / "images"
SAMPLES = 3  # per pixel and axis, for smooth edges


class Sample(NamedTuple):
    """A picture and its G objects."""

    image: Tensor  # [3, H, W], 0 to 1
    boxes: Tensor  # [G, 4] (x1, y1, x2, y2), or [G, 5] (cx, cy, w, h, angle)
    labels: Tensor  # [G], index in KINDS
    masks: Tensor  # [G, H, W], the part of each pixel that the object covers, where it is visible


def outlines() -> list[Tensor]:
    """The corners [V, 2] (x, y) of each kind, which fill the square from -1 to 1."""
    turn = torch.arange(32) * (2 * math.pi / 32)
    points = torch.arange(10) * (2 * math.pi / 10)
    radius = torch.tensor([1.0, 0.45]).repeat(5)
    star = torch.stack([radius * points.sin(), -radius * points.cos()], 1)
    low, high = star.amin(0), star.amax(0)
    return [
        torch.stack([turn.cos(), turn.sin()], 1),
        torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]),
        torch.tensor([[-1.0, 1], [0, -1], [1, 1]]),
        (star - low) / (high - low) * 2 - 1,
    ]


OUTLINES = outlines()


def coverage(corners: Tensor, height: int, width: int) -> Tensor:
    """[H, W]: the part of each pixel inside the polygon `corners` [V, 2] (even-odd rule)."""
    cover = torch.zeros(height, width)
    x0, y0 = (max(int(v), 0) for v in corners.amin(0).floor().tolist())
    x1, y1 = corners.amax(0).ceil().int().tolist()
    x1, y1 = min(x1, width), min(y1, height)
    if x0 >= x1 or y0 >= y1:
        return cover
    y = y0 + (torch.arange((y1 - y0) * SAMPLES) + 0.5) / SAMPLES
    x = x0 + (torch.arange((x1 - x0) * SAMPLES) + 0.5) / SAMPLES
    (xa, ya), (xb, yb) = (c.T[..., None] for c in (corners, corners.roll(-1, 0)))
    at = xa + (y - ya) * (xb - xa) / (yb - ya)  # where an edge crosses a row
    at = at.where((ya > y) != (yb > y), torch.inf)
    inside = (at[:, :, None] < x).sum(0) % 2
    tiles = inside.float().view(y1 - y0, SAMPLES, x1 - x0, SAMPLES)
    cover[y0:y1, x0:x1] = tiles.mean((1, 3))
    return cover


def load_picture(path: Path) -> Tensor:
    """[3, H, W], 0 to 1. Any format that Pillow reads."""
    picture = Image.open(path).convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1).float() / 255


def save_picture(image: Tensor, path: Path, colours: int | None = None) -> None:
    """Any format that Pillow writes, .ppm included. With few colours, the file is small."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    size = (image.shape[2], image.shape[1])
    picture = Image.frombytes("RGB", size, bytes(pixels.flatten().tolist()))
    (picture if colours is None else picture.quantize(colours)).save(path, optimize=True)


def backgrounds(folder: Path | None, held_out: bool) -> list[Tensor]:
    """Photographs of a folder, or this repository's; every third, by name, is held out."""
    folder = folder or PHOTOGRAPHS
    files = [f for f in folder.iterdir() if f.suffix.lower() in (".jpg", ".jpeg", ".png", ".ppm")]
    if len(files) < 3:
        raise SystemExit(f"{folder} must have three .jpg, .png or .ppm files, but got {len(files)}")
    chosen = [f for i, f in enumerate(sorted(files)) if (i % 3 == 2) == held_out]
    return [load_picture(file) for file in chosen]


class Shapes:
    """Pictures by number. With `rotated`, boxes have angles; else they are upright."""

    def __init__(
        self, photographs: list[Tensor], seed: int, rotated: bool,
        size: tuple[int, int] = (128, 128), most: int = 6,
    ) -> None:  # fmt: skip
        self.photographs, self.seed, self.rotated = photographs, seed, rotated
        self.height, self.width = size
        self.most = most

    def __getitem__(self, index: int) -> Sample:
        random = Random(self.seed * 2**32 + index)
        image = self.background(random)
        boxes, labels, corners = self.place(random)
        masks = torch.zeros(len(boxes), self.height, self.width)
        for i, points in enumerate(corners):
            cover = coverage(points, self.height, self.width)
            image = image + (self.paint(random) - image) * cover * random.between(0.85, 1)
            masks[:i] *= 1 - cover  # what lies below is hidden
            masks[i] = cover
        if not self.rotated:
            boxes = torch.stack([torch.cat([c.amin(0), c.amax(0)]) for c in corners])
        return Sample(image.clamp(0, 1), boxes, labels, masks)

    def background(self, random: "Random") -> Tensor:
        """A part of a photograph, at some scale."""
        photograph = self.photographs[random.below(len(self.photographs))]
        _, height, width = photograph.shape
        largest = min(height / self.height, width / self.width)
        zoom = random.between(min(0.75, largest), largest)
        h, w = int(self.height * zoom), int(self.width * zoom)
        y, x = random.below(height - h + 1), random.below(width - w + 1)
        part = photograph[None, :, y : y + h, x : x + w]
        size = (self.height, self.width)
        part = interpolate(part, size, mode="bilinear", antialias=True, align_corners=False)[0]
        return (part.flip(2) if random.below(2) else part) * random.between(0.6, 1.2)

    def place(self, random: "Random") -> tuple[Tensor, Tensor, list[Tensor]]:
        """Boxes with angles, labels and corners of one or more shapes that hardly overlap."""
        boxes, labels, corners = [], [], []
        wanted, tries = 1 + random.below(self.most), 0
        while len(boxes) < wanted and (not boxes or tries < 20 * wanted):
            tries += 1
            kind, angle = random.below(len(KINDS)), random.between(-math.pi / 2, math.pi / 2)
            w = random.between(20, 60)
            h = w * random.between(0.5, 0.8)
            reach = math.hypot(w, h) / 2
            cx = random.between(0.8 * reach, self.width - 0.8 * reach)
            cy = random.between(0.8 * reach, self.height - 0.8 * reach)
            if all(math.hypot(cx - b[0], cy - b[1]) > 0.4 * (w + b[2]) for b in boxes):
                u = torch.tensor([math.cos(angle), -math.sin(angle)]) * w / 2
                v = torch.tensor([math.sin(angle), math.cos(angle)]) * h / 2
                points = OUTLINES[kind] @ torch.stack([u, v]) + torch.tensor([cx, cy])
                limits = torch.tensor([self.width, self.height])
                if (points >= 0).all() and (points <= limits).all():
                    boxes.append((cx, cy, w, h, angle))
                    labels.append(kind)
                    corners.append(points)
        return torch.tensor(boxes).view(-1, 5), torch.tensor(labels, dtype=torch.int64), corners

    def paint(self, random: "Random") -> Tensor:
        """[3, H, W]: from one colour to another, in some direction."""
        first, second = random.colour(), random.colour()
        angle = random.between(0, 2 * math.pi)
        y = torch.linspace(-1, 1, self.height)[:, None] * math.sin(angle)
        x = torch.linspace(-1, 1, self.width)[None, :] * math.cos(angle)
        return first + (second - first) * (x + y + 1.5) / 3


class Random:
    """Numbers that a seed determines."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.generator))

    def colour(self) -> Tensor:
        return torch.rand(3, 1, 1, generator=self.generator)
