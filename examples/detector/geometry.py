"""Boxes of two kinds with the same functions: all that differs between upright and rotated mode.

Upright: (x1, y1, x2, y2). Rotated: (cx, cy, w, h, angle), in radians, counter-clockwise as seen.
Coordinates are pixels; pixel k reaches from k to k + 1. They are modules for TorchScript's sake.
"""

import math

import torch
from torch import Tensor, nn

import roiops

STRIDES = (4, 8, 16)  # of the pyramid's maps


class Upright(nn.Module):
    SIZE = 4  # numbers of a box

    def __init__(self) -> None:
        super().__init__()
        self.most = 2.0  # a box grows to exp(2) times its anchor's size at most
        ratios = torch.tensor([0.5, 1.0, 2.0])  # height / width
        half = torch.stack([ratios.rsqrt(), ratios.sqrt()], 1) / 2
        self.register_buffer("shapes", torch.cat([-half, half], 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.1, 0.1, 0.2, 0.2]), persistent=False)

    def anchors(self, x: Tensor, y: Tensor, side: float) -> Tensor:
        """[P * A, 4]: A boxes around each of the points x, y [P]."""
        centres = torch.stack([x, y, x, y], 1)
        return (centres[:, None] + self.shapes * side).flatten(0, 1)

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """What a head should predict for `boxes` [K, 4], given the boxes it starts from."""
        size = anchors[:, 2:] - anchors[:, :2]
        move = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2 / size
        growth = ((boxes[:, 2:] - boxes[:, :2]) / size).log()
        return torch.cat([move, growth], 1) / self.std

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """The inverse of `encode`, of tensors [..., 4]."""
        deltas = deltas * self.std
        size = anchors[..., 2:] - anchors[..., :2]
        centre = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2] * size
        half = size * deltas[..., 2:].clamp(max=self.most).exp() / 2
        return torch.cat([centre - half, centre + half], -1)

    def clip(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """The part of boxes [..., 4] that lies in the image."""
        x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
        return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)

    def pool(self, maps: list[Tensor], boxes: Tensor, images: Tensor, size: int) -> Tensor:
        """[K, C, size, size] from the pyramid's maps; `images` [K] says whose box it is."""
        rois = torch.cat([images[:, None], boxes], 1)
        scales = [1 / 4, 1 / 8, 1 / 16]
        # A box of 40 pixels belongs to level 3, of stride 8.
        return roiops.multiscale_roi_align(maps, rois, size, scales, 2, True, 40, 3)

    def crop(self, masks: Tensor, boxes: Tensor, size: int) -> Tensor:
        """[K, size, size]: the part of each of the masks [K, H, W] in its box."""
        rois = torch.cat([torch.arange(len(boxes), device=boxes.device)[:, None], boxes], 1)
        return roiops.roi_align(masks[:, None], rois, size, 1.0, 2, True)[:, 0]

    def within(self, boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """[K, H, W, 2]: where the points x [W], y [H] lie in each box, from -1 to 1."""
        half = (boxes[:, 2:] - boxes[:, :2])[:, None, None].clamp(min=1e-3) / 2
        centre = (boxes[:, 2:] + boxes[:, :2])[:, None, None] / 2
        return (grid(x, y) - centre) / half

    def corners(self, boxes: Tensor) -> Tensor:
        """[K, 4, 2] (x, y), in order around each box."""
        return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 4, 2)

    def iou(self, a: Tensor, b: Tensor) -> Tensor:
        """[K, L]: the overlap of each box of `a` with each of `b`."""
        return roiops.box_iou(a, b)


class Rotated(nn.Module):
    SIZE = 5

    def __init__(self) -> None:
        super().__init__()
        self.most = 2.0
        shapes = [[0, 0, 1.25, 0.8, k * math.pi / 4] for k in range(4)]
        std = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.2])
        self.register_buffer("shapes", torch.tensor(shapes), persistent=False)
        self.register_buffer("std", std, persistent=False)

    def anchors(self, x: Tensor, y: Tensor, side: float) -> Tensor:
        zero = torch.zeros_like(x)
        centres = torch.stack([x, y, zero, zero, zero], 1)
        shapes = torch.cat([self.shapes[:, :4] * side, self.shapes[:, 4:]], 1)
        return (centres[:, None] + shapes).flatten(0, 1)

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        u, v = axes(anchors)
        move = boxes[:, :2] - anchors[:, :2]
        move = torch.stack([(move * u).sum(1), (move * v).sum(1)], 1) / anchors[:, 2:4]
        growth = (boxes[:, 2:4] / anchors[:, 2:4]).log()
        # A box turned by half a turn is the same box.
        turn = (boxes[:, 4:] - anchors[:, 4:] + math.pi / 2).remainder(math.pi) - math.pi / 2
        return torch.cat([move, growth, turn], 1) / self.std

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        deltas = deltas * self.std
        u, v = axes(anchors)
        move = deltas[..., :2] * anchors[..., 2:4]
        centre = anchors[..., :2] + move[..., :1] * u + move[..., 1:] * v
        size = anchors[..., 2:4] * deltas[..., 2:4].clamp(max=self.most).exp()
        return torch.cat([centre, size, anchors[..., 4:] + deltas[..., 4:]], -1)

    def clip(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """A rotated box may reach outside: cut, it would be no rectangle."""
        return boxes

    def pool(self, maps: list[Tensor], boxes: Tensor, images: Tensor, size: int) -> Tensor:
        """From the finest map: there is no rotated operator for a pyramid."""
        rois = torch.cat([images[:, None], boxes], 1)
        return roiops.roi_align_rotated(maps[0], rois, size, 1 / 4, 2)

    def crop(self, masks: Tensor, boxes: Tensor, size: int) -> Tensor:
        rois = torch.cat([torch.arange(len(boxes), device=boxes.device)[:, None], boxes], 1)
        return roiops.roi_align_rotated(masks[:, None], rois, size, 1.0, 2)[:, 0]

    def within(self, boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
        u, v = axes(boxes)
        from_centre = grid(x, y) - boxes[:, None, None, :2]
        across = torch.stack([u, v], 2)[:, None] / (boxes[:, None, None, 2:4].clamp(min=1e-3) / 2)
        return from_centre @ across

    def corners(self, boxes: Tensor) -> Tensor:
        u, v = axes(boxes)
        u, v = u * boxes[:, 2:3] / 2, v * boxes[:, 3:4] / 2
        return boxes[:, None, :2] + torch.stack([-u - v, u - v, u + v, v - u], 1)

    def iou(self, a: Tensor, b: Tensor) -> Tensor:
        return roiops.box_iou_rotated(a, b)


def grid(x: Tensor, y: Tensor) -> Tensor:
    """[H, W, 2] (x, y)."""
    return torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x))], 2)


def axes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """[..., 2] (x, y) each: the directions of a rotated box's width and height."""
    c, s = boxes[..., 4].cos(), boxes[..., 4].sin()
    return torch.stack([c, -s], -1), torch.stack([s, c], -1)
