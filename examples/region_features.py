"""A small model around roi_align: a fixed filter bank, features of boxes, crops of boxes."""

import math

import torch
from torch import Tensor, nn

import roiops

STRIDE = 4  # picture pixels per feature-map pixel
KERNEL = 8
WAVELENGTHS = (4.0, 8.0, 16.0)  # picture pixels
DIRECTIONS = 8
HUES = ("red", "orange", "yellow", "green", "cyan", "azure", "blue", "magenta")
CHANNELS = len(WAVELENGTHS) * DIRECTIONS + len(HUES)


def filter_bank() -> Tensor:
    """Weights [CHANNELS, 3, KERNEL, KERNEL]: odd Gabor filters on brightness, then one per hue.

    Each filter has unit L1 norm, so that a picture in [0, 1] gives features in [0, 1].
    """
    axis = torch.arange(KERNEL) - (KERNEL - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    envelope = torch.exp(-(x.square() + y.square()) / (2 * (KERNEL / 4) ** 2))
    brightness = torch.tensor([0.299, 0.587, 0.114])
    red_cyan = torch.tensor([1.0, -0.5, -0.5])
    green_magenta = torch.tensor([0.0, math.sqrt(0.75), -math.sqrt(0.75)])

    filters = []
    for wavelength in WAVELENGTHS:
        for k in range(DIRECTIONS):
            angle = 2 * math.pi * k / DIRECTIONS
            across = x * math.cos(angle) + y * math.sin(angle)
            wave = torch.sin(2 * math.pi * across / wavelength) * envelope
            filters.append(brightness[:, None, None] * wave)
    for k in range(len(HUES)):
        angle = 2 * math.pi * k / len(HUES)
        color = red_cyan * math.cos(angle) + green_magenta * math.sin(angle)
        filters.append(color[:, None, None] * envelope)
    return torch.stack([f / f.abs().sum() for f in filters])


class RegionFeatures(nn.Module):
    """Features and crops of boxes in a picture."""

    def __init__(self, feature_size: int = 7, crop_size: int = 96) -> None:
        super().__init__()
        # Both layers keep a feature pixel centered on the picture pixels it stands for, which is
        # what `aligned=True` assumes.
        conv = nn.Conv2d(
            3, CHANNELS, KERNEL, stride=2, padding=3, bias=False, padding_mode="replicate"
        )
        conv.weight = nn.Parameter(filter_bank(), requires_grad=False)
        self.backbone = nn.Sequential(conv, nn.ReLU(), nn.AvgPool2d(2))
        self.pool = roiops.RoIAlign(feature_size, 1 / STRIDE, sampling_ratio=2, aligned=True)
        self.crop = roiops.RoIAlign(crop_size, 1.0, sampling_ratio=-1, aligned=True)

    def forward(self, image: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """image [N, 3, H, W] in [0, 1], rois [K, 5] in its pixels -> features, crops."""
        return self.pool(self.backbone(image), rois), self.crop(image, rois)
