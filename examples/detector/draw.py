"""Draws what the detector finds in a picture, or in held-out ones.

Usage: python examples/detector/draw.py build/detector/align.pt [PICTURE] OUTPUT
"""

import argparse
from pathlib import Path

import torch
from data import KINDS, Shapes, backgrounds, load_picture, save_picture
from model import Detector, load
from torch import Tensor, nn
from torch.nn.functional import grid_sample

# As in cpp/detect.cpp. A colour for each class.
COLOURS = torch.tensor([[255, 214, 10], [0, 229, 255], [124, 255, 107], [255, 95, 210]]) / 255


def paste(kind: nn.Module, boxes: Tensor, masks: Tensor, height: int, width: int) -> Tensor:
    """[D, H, W] bool: the pixels whose middle a detection's mask [D, 28, 28] covers."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    points = kind.within(boxes, x, y)
    probability = grid_sample(masks[:, None], points, padding_mode="border", align_corners=False)
    return (probability[:, 0] > 0.5) & (points.abs() <= 1).all(3)


def outline(image: Tensor, corners: Tensor, labels: Tensor) -> Tensor:
    """A copy of the image [3, H, W] with quadrangles [D, 4, 2] around what was found, best on top.

    cpp/detect.cpp draws the same: steps of half a pixel along each edge, two pixels wide.
    """
    image = image.clone()
    _, height, width = image.shape
    for quadrangle, label in zip(corners.flip(0), labels.flip(0).tolist(), strict=True):
        for start, end in zip(quadrangle, quadrangle.roll(-1, 0), strict=True):
            steps = int((end - start).abs().max().item() * 2) + 1
            points = start + (end - start) * torch.arange(steps + 1)[:, None] / steps
            x, y = points.round().long().unbind(1)
            for dx in (-1, 0):
                for dy in (-1, 0):
                    at_x, at_y = x + dx, y + dy
                    seen = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
                    image[:, at_y[seen], at_x[seen]] = COLOURS[label][:, None]
    return image


@torch.no_grad()
def detect(model: Detector, image: Tensor, least_score: float, zoom: int = 1) -> Tensor:
    """The image [3, H, W], `zoom` times as large, with what the model finds in it: objects tinted,
    boxes drawn. Prints a line for each object."""
    boxes, scores, labels, masks = (part[0] for part in model(image[None]))
    meant = scores >= least_score
    boxes, scores, labels = boxes[meant], scores[meant], labels[meant]
    for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
        print(f"{KINDS[label]:<10}{score:6.2f} ", *(f"{v:8.2f}" for v in box))
    covered = paste(model.boxes, boxes, masks[meant], *image.shape[1:])
    for pixels, label in zip(covered, labels.tolist(), strict=True):
        image = torch.where(pixels, (image + COLOURS[label][:, None, None]) / 2, image)
    image = image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    return outline(image, model.boxes.corners(boxes) * zoom, labels)


def sheet(model: Detector, least_score: float, rows: int = 2, columns: int = 5) -> Tensor:
    """Held-out pictures side by side."""
    shapes = Shapes(backgrounds(None, held_out=True), 2, model.mode == "rotated")
    pictures = [detect(model, shapes[i].image, least_score, 2) for i in range(rows * columns)]
    return torch.cat([torch.cat(pictures[r::rows], 2) for r in range(rows)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="what train.py has written")
    parser.add_argument("picture", type=Path, nargs="?", help="without it: held-out pictures")
    parser.add_argument("output", type=Path)
    parser.add_argument("--least-score", type=float, default=0.7)
    options = parser.parse_args()
    model = load(options.model)
    if options.picture is None:
        save_picture(sheet(model, options.least_score), options.output, colours=192)
    else:
        image = detect(model, load_picture(options.picture), options.least_score)
        save_picture(image, options.output)


if __name__ == "__main__":
    main()
