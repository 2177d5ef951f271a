"""A small two-stage detector: backbone, feature pyramid, proposals, RoIs, box head. The number of
RoIs depends on the data: every anchor whose score passes its level's threshold becomes one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import roiops

STRIDES = (4, 8, 16)
CHANNELS = 4
ANCHOR = 6.0  # side of an anchor, in strides


def down(channels: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(channels, CHANNELS, 3, stride, padding=1)
    return nn.Sequential(conv, nn.ReLU())


class Detector(nn.Module):
    """image [N, 3, H, W], thresholds [levels] -> rois [K, 5], class scores [K, 3], boxes [K, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = down(3, 4)
        self.stages = nn.ModuleList([down(CHANNELS, 2) for _ in STRIDES[1:]])
        self.lateral = nn.ModuleList([nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in STRIDES])
        self.proposals = nn.Conv2d(CHANNELS, 5, 1)  # a score and four corrections per pixel
        self.pool = roiops.MultiScaleRoIAlign(
            3, [1 / s for s in STRIDES], 2, True, canonical_scale=32, canonical_level=3
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 9, 16), nn.ReLU())
        self.classes = nn.Linear(16, 3)
        self.corrections = nn.Linear(16, 4)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.kaiming_normal_(weight)  # scores that differ

    def pyramid(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for fine in range(len(maps) - 2, -1, -1):
            size = maps[fine].shape[2:]
            maps[fine] = maps[fine] + interpolate(maps[fine + 1], size=size, mode="nearest")
        return maps

    def propose(self, features: Tensor, stride: int, threshold: Tensor) -> Tensor:
        """[L, 5]: boxes around the pixels whose score passes."""
        score, corrections = self.proposals(features).split((1, 4), 1)
        image, y, x = (score[:, 0] > threshold).nonzero().unbind(1)
        dx, dy, dw, dh = corrections[image, :, y, x].tanh().unbind(1)
        width, height = ANCHOR * stride * dw.exp(), ANCHOR * stride * dh.exp()
        cx, cy = (x + 0.5 + dx) * stride, (y + 0.5 + dy) * stride
        corners = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return torch.stack([image.to(cx.dtype), *corners], 1)

    def forward(self, image: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.pyramid(image)
        levels = zip(maps, STRIDES, thresholds.unbind(), strict=True)
        rois = torch.cat([self.propose(*level) for level in levels])
        hidden = self.head(self.pool(maps, rois))
        size = (rois[:, 3:] - rois[:, 1:3]).repeat(1, 2)
        return rois, self.classes(hidden), rois[:, 1:] + self.corrections(hidden) * size
