"""Named hard boxes for a map of `height` x `width` pixels: (x1, y1, x2, y2) in feature pixels."""

from __future__ import annotations

from math import inf, nan

import torch
from torch import Tensor

Box = tuple[float, float, float, float]


def inside_boxes(height: int, width: int) -> dict[str, Box]:
    h, w = float(height), float(width)
    return {
        "inside": (2.25, 1.5, 6.75, 5.125),
        "inside_on_integers": (1, 2, 5, 6),
        "whole_map": (0, 0, w, h),
        "whole_map_less_one": (0, 0, w - 1, h - 1),
        "sub_pixel": (3.3125, 2.4375, 3.5625, 2.5),
        "exactly_one_pixel": (3.25, 2.5, 4.25, 3.5),
        "no_dyadic_number": (1.1, 2.3, 5.7, 7.9),
    }


def edge_boxes(height: int, width: int) -> dict[str, Box]:
    h, w = float(height), float(width)
    return {
        "touches_first_row": (2, 0, 6, 3),
        "touches_last_row": (2, h - 4, 6, h),
        "touches_first_column": (0, 2, 3, 6),
        "touches_last_column": (w - 4, 2, w, 6),
        "ends_on_last_row": (2, h - 4, 6, h - 1),
        "ends_on_last_column": (w - 4, 2, w - 1, 6),
        "corner_top_left": (0, 0, 2, 2),
        "corner_top_right": (w - 2, 0, w, 2),
        "corner_bottom_left": (0, h - 2, 2, h),
        "corner_bottom_right": (w - 2, h - 2, w, h),
        "straddles_top": (2, -3, 6, 3),
        "straddles_bottom": (2, h - 3, 6, h + 3),
        "straddles_left": (-3, 2, 3, 6),
        "straddles_right": (w - 3, 2, w + 3, 6),
        "straddles_all_sides": (-2.5, -3.5, w + 3.5, h + 2.5),
        # Edges at -1 and n, and shifted so that samples of unit spacing fall on the limits.
        "starts_at_minus_one": (-1, -1, 3, 3),
        "ends_at_size_plus_one": (w - 3, h - 3, w + 1, h + 1),
        "samples_at_minus_one": (-1.5, -1.5, 2.5, 2.5),
        "samples_at_size": (w - 2.5, h - 2.5, w + 1.5, h + 1.5),
        "samples_at_size_aligned": (w - 2, h - 2, w + 2, h + 2),
        "point_at_minus_one": (-1, -1, -1, -1),
        "point_at_minus_one_aligned": (-0.5, -0.5, -0.5, -0.5),
        "point_at_size": (w, h, w, h),
        "point_at_size_aligned": (w + 0.5, h + 0.5, w + 0.5, h + 0.5),
        "point_past_size_aligned": (w + 0.75, h + 0.75, w + 0.75, h + 0.75),
    }


def outside_boxes(height: int, width: int) -> dict[str, Box]:
    h, w = float(height), float(width)
    return {
        "outside_top": (2, -9, 6, -4),
        "outside_bottom": (2, h + 4, 6, h + 9),
        "outside_left": (-9, 2, -4, 6),
        "outside_right": (w + 4, 2, w + 9, 6),
        "outside_corner": (w + 4, h + 4, w + 9, h + 9),
        "far_away": (1e6, 1e6, 1e6 + 8, 1e6 + 8),
    }


def degenerate_boxes(height: int, width: int) -> dict[str, Box]:
    return {
        "zero_area": (3.25, 2.75, 3.25, 2.75),
        "zero_area_on_integer": (3, 2, 3, 2),
        "zero_width": (3.25, 2, 3.25, 6),
        "zero_height": (2, 3.25, 6, 3.25),
        "reversed_x": (6, 1, 2, 5.5),
        "reversed_y": (2, 5.5, 6, 1),
        "reversed_both": (6.25, 5.5, 2, 1),
        "slightly_reversed": (4, 4, 3.75, 3.5),
        "reversed_whole_map": (float(width), float(height), 0, 0),
    }


def huge_boxes(height: int, width: int) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    for size in (1e4, 1e9, 1e30):
        boxes[f"huge_{size:.0e}"] = (-size, -size, size, size)
        boxes[f"huge_{size:.0e}_one_sided"] = (0, 0, size, size)
        boxes[f"huge_{size:.0e}_reversed"] = (size, size, -size, -size)
    boxes["huge_1e+09_wide"] = (-1e9, 2, 1e9, 6)
    boxes["huge_1e+09_tall"] = (2, -1e9, 6, 1e9)
    return boxes


def non_finite_boxes(height: int, width: int) -> dict[str, Box]:
    whole = (1.0, 2.0, 5.0, 6.0)
    boxes: dict[str, Box] = {}
    for name, value in (("nan", nan), ("inf", inf), ("minus_inf", -inf)):
        for i, coordinate in enumerate(("x1", "y1", "x2", "y2")):
            box = list(whole)
            box[i] = value
            boxes[f"{name}_in_{coordinate}"] = (box[0], box[1], box[2], box[3])
    boxes["all_nan"] = (nan, nan, nan, nan)
    boxes["all_inf"] = (inf, inf, inf, inf)
    boxes["minus_inf_to_inf"] = (-inf, -inf, inf, inf)
    return boxes


def finite_boxes(height: int, width: int) -> dict[str, Box]:
    groups = (inside_boxes, edge_boxes, outside_boxes, degenerate_boxes, huge_boxes)
    return {name: box for group in groups for name, box in group(height, width).items()}


def hard_boxes(height: int, width: int) -> dict[str, Box]:
    return finite_boxes(height, width) | non_finite_boxes(height, width)


def as_rois(
    boxes: dict[str, Box], scale: float = 1.0, images: int = 2, dtype: torch.dtype = torch.float64
) -> Tensor:
    """[K, 5] in image coordinates, the images taken in turn."""
    rows = torch.tensor(list(boxes.values()), dtype=torch.float64).view(-1, 4) / scale
    image = torch.arange(len(rows), dtype=torch.float64).remainder(images)
    return torch.cat([image[:, None], rows], 1).to(dtype)
