"""A two-stage detector, whole: backbone, feature pyramid, proposals, box head, mask head.

    mode "align"    Mask R-CNN with a pyramid (arXiv:1703.06870, arXiv:1612.03144)
    mode "psroi"    R-FCN's position-sensitive box head (arXiv:1605.06409, arXiv:1711.07264)
    mode "rotated"  boxes with angles from proposals with angles (RRPN, arXiv:1703.01086)

Pictures of any size from 64 x 64 go in. What comes out has a fixed size, with scores of 0 in rows that
are not used, so that forward is scripted, exported and compiled. loss.py trains the modules.
"""

from pathlib import Path

import torch
from data import KINDS
from geometry import STRIDES, Rotated, Upright
from torch import Tensor, nn
from torch.nn.functional import interpolate

import roiops

MODES = ("align", "psroi", "rotated")
CHANNELS = 48  # of each map of the pyramid


class Detector(nn.Module):
    """Pictures in, objects out.

    images [N, 3, H, W], 0 to 1, at least 64 x 64 -> the D = 30 best objects of each, best first:
    boxes [N, D, 4 or 5] (geometry.py), scores [N, D], labels [N, D] (of data.KINDS) and
    masks [N, D, 28, 28]: how likely the object covers each place of its box.
    """

    def __init__(self, mode: str = "align") -> None:
        super().__init__()
        self.mode = mode
        # Attributes, since TorchScript does not see a module's constants.
        self.detections = 30  # of an image
        self.least_score = 0.05
        self.boxes = Rotated() if mode == "rotated" else Upright()
        self.pyramid = Pyramid()
        self.proposer = Proposer(self.boxes)
        self.box_head = PositionSensitiveHead() if mode == "psroi" else BoxHead(self.boxes)
        self.mask_head = MaskHead(self.boxes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, _, height, width = images.shape
        maps = self.pyramid(images)
        scores, deltas, anchors = self.proposer(maps)
        proposals, valid = self.proposer.choose(scores, deltas, anchors, height, width)

        logits, deltas = self.box_head(maps, proposals.flatten(0, 1), images_of(proposals))
        boxes = self.boxes.decode(deltas.view(proposals.shape), proposals)
        boxes = self.boxes.clip(boxes, height, width)
        probabilities = logits.view(count, proposals.shape[1], -1).softmax(2) * valid[:, :, None]
        boxes, scores, labels = self.best(boxes, probabilities[:, :, :-1])

        masks = self.mask_head(maps, boxes.flatten(0, 1), images_of(boxes)).sigmoid()
        return boxes, scores, labels, masks.unflatten(0, (count, self.detections))

    def best(self, boxes: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A box may be found as several classes; each class suppresses its own overlaps."""
        classes = probabilities.shape[2]
        scores, which = probabilities.flatten(1).topk(4 * self.detections)
        boxes, labels = pick(boxes, which // classes), which % classes
        keep, _ = roiops.nms_padded(boxes, scores, 0.5, self.detections, labels, self.least_score)
        keep, valid = keep.clamp(min=0), keep >= 0
        return pick(boxes, keep), scores.gather(1, keep) * valid, labels.gather(1, keep)


def pick(boxes: Tensor, which: Tensor) -> Tensor:
    """The boxes [N, K, 4 or 5] with numbers [N, L]."""
    return boxes.gather(1, which[:, :, None].expand(-1, -1, boxes.shape[2]))


def images_of(boxes: Tensor) -> Tensor:
    """[N * K]: of boxes [N, K, 4 or 5], the number of each one's image, in front of a RoI."""
    count, each, _ = boxes.shape
    return torch.arange(count, device=boxes.device, dtype=boxes.dtype).repeat_interleave(each)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(channels, channels), conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Pyramid(nn.Module):
    """images [N, 3, H, W] -> a map [N, CHANNELS, H / s, W / s] for each s of STRIDES."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 96)
        self.stem = conv(3, 24, 2)
        stages, inputs = [], 24
        for width in widths:
            stages.append(nn.Sequential(conv(inputs, width, 2), Residual(width), Residual(width)))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList([nn.Conv2d(width, CHANNELS, 1) for width in widths])
        self.smooth = nn.ModuleList([conv(CHANNELS, CHANNELS) for _ in widths])

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images * 2 - 1)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for i, lateral in enumerate(self.lateral):
            maps[i] = lateral(maps[i])
        for i in (1, 0):  # from coarse to fine
            size = maps[i].shape[2:]
            maps[i] = maps[i] + interpolate(maps[i + 1], size=size, mode="nearest")
        for i, smooth in enumerate(self.smooth):
            maps[i] = smooth(maps[i])
        return maps


class Proposer(nn.Module):
    """RPN: boxes that may hold an object, of whatever class."""

    def __init__(self, boxes: nn.Module) -> None:
        super().__init__()
        self.boxes = boxes
        self.each = 1 + boxes.SIZE  # a score and the deltas of a box
        self.strides = list(STRIDES)
        self.anchor = 4.0  # its side, in strides
        self.candidates = 256  # anchors of an image whose boxes are compared with each other
        self.proposals = 64  # what is left of them
        self.hidden = conv(CHANNELS, CHANNELS)
        self.output = nn.Conv2d(CHANNELS, len(boxes.shapes) * self.each, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)
        self.output.bias.data[:: self.each] = -4.0  # at first, nothing is an object

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of all A anchors of all levels: scores [N, A] (logits), deltas [N, A, 4 or 5], and the
        anchors [A, 4 or 5]."""
        outputs: list[Tensor] = []
        anchors: list[Tensor] = []
        for i, x in enumerate(maps):
            output = self.output(self.hidden(x)).permute(0, 2, 3, 1)
            outputs.append(output.reshape(x.shape[0], -1, self.each))
            anchors.append(self.anchors(x, self.strides[i]))
        output = torch.cat(outputs, 1)
        return output[:, :, 0], output[:, :, 1:], torch.cat(anchors)

    def anchors(self, map: Tensor, stride: int) -> Tensor:
        """Around the middle of every pixel of a map, row by row."""
        height, width = map.shape[2], map.shape[3]
        across = (torch.arange(width, device=map.device, dtype=map.dtype) + 0.5) * stride
        down = (torch.arange(height, device=map.device, dtype=map.dtype) + 0.5) * stride
        y, x = down[:, None].expand(-1, width), across[None, :].expand(height, -1)
        return self.boxes.anchors(x.reshape(-1), y.reshape(-1), self.anchor * stride)

    def choose(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """The best boxes [N, self.proposals, 4 or 5], and which of them are any."""
        scores, which = scores.topk(self.candidates)
        deltas = pick(deltas, which)
        boxes = self.boxes.clip(self.boxes.decode(deltas, anchors[which]), height, width)
        keep, _ = roiops.nms_padded(boxes, scores, 0.7, self.proposals)
        return pick(boxes, keep.clamp(min=0)), keep >= 0


class BoxHead(nn.Module):
    """Pools each box, and says its class and where it should rather lie."""

    def __init__(self, boxes: nn.Module, size: int = 7, width: int = 192) -> None:
        super().__init__()
        self.boxes, self.size = boxes, size
        inputs = CHANNELS * size * size
        self.hidden = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.classes = nn.Linear(width, len(KINDS) + 1)
        self.deltas = nn.Linear(width, boxes.SIZE)

    def forward(self, maps: list[Tensor], boxes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """boxes [K, 4 or 5] of images [K] -> logits [K, classes + 1], deltas like boxes."""
        hidden = self.hidden(self.boxes.pool(maps, boxes, images, self.size).flatten(1))
        return self.classes(hidden), self.deltas(hidden)


class PositionSensitiveHead(nn.Module):
    """The same by votes: every bin has score maps of its own, and nothing comes after pooling."""

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.size = size
        self.hidden = conv(CHANNELS, 2 * CHANNELS)
        self.each = [len(KINDS) + 1, Upright.SIZE]
        self.votes = nn.Conv2d(2 * CHANNELS, sum(self.each) * size * size, 1)

    def forward(self, maps: list[Tensor], boxes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        rois = torch.cat([images[:, None], boxes], 1)
        votes = self.votes(self.hidden(maps[0]))
        votes = roiops.ps_roi_align(votes, rois, self.size, 1 / 4, 2).mean((2, 3))
        logits, deltas = votes.split(self.each, 1)
        return logits, deltas


class MaskHead(nn.Module):
    """Which part of a box the object covers; one mask, whatever the class."""

    def __init__(self, boxes: nn.Module) -> None:
        super().__init__()
        self.boxes = boxes
        self.layers = nn.Sequential(
            conv(CHANNELS, CHANNELS),
            conv(CHANNELS, CHANNELS),
            nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, 2),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, 1, 1),
        )

    def forward(self, maps: list[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
        """[K, 28, 28]: logits."""
        return self.layers(self.boxes.pool(maps, boxes, images, 14))[:, 0]


def save(model: Detector, path: Path) -> None:
    torch.save({"mode": model.mode, "weights": model.state_dict()}, path)


def load(path: Path) -> Detector:
    saved = torch.load(path)
    model = Detector(saved["mode"])
    model.load_state_dict(saved["weights"])
    return model.eval()
