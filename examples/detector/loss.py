"""What the detector should say, and how far it is from that."""

from typing import NamedTuple

import torch
from data import Sample
from model import Detector
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    smooth_l1_loss,
)

NOTHING, IGNORED = -1, -2  # instead of the number of an object
MOST_MASKS = 48  # of a batch


class Batch(NamedTuple):
    """Pictures, and the objects of all of them one after the other."""

    images: Tensor  # [N, 3, H, W]
    counts: Tensor  # [N]
    boxes: Tensor  # [sum of counts, 4 or 5]
    labels: Tensor
    masks: Tensor  # [sum of counts, H, W]


def collate(samples: list[Sample]) -> Batch:
    return Batch(
        torch.stack([s.image for s in samples]),
        torch.tensor([len(s.boxes) for s in samples]),
        torch.cat([s.boxes for s in samples]),
        torch.cat([s.labels for s in samples]),
        torch.cat([s.masks for s in samples]),
    )


def match(iou: Tensor, positive: float, negative: float, every_truth: bool = False) -> Tensor:
    """[K]: which of the G objects each box stands for, of their overlap [K, G].

    NOTHING below `negative`, IGNORED from there to `positive`. With `every_truth` the box that fits
    an object best stands for it in any case.
    """
    if iou.shape[1] == 0:
        return torch.full((len(iou),), NOTHING, device=iou.device)
    best, which = iou.nan_to_num(0.0).max(1)
    which = torch.where(best < positive, IGNORED, which)
    which = torch.where(best < negative, NOTHING, which)
    if every_truth:
        which[iou.nan_to_num(0.0).argmax(0)] = torch.arange(iou.shape[1], device=iou.device)
    return which


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Easy ones count less (arXiv:1708.02002), since nearly all anchors are background."""
    each = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (each * (targets - logits.sigmoid()).square()).sum()


class Loss(nn.Module):
    """The detector with its losses, as one module: what DistributedDataParallel wraps.

    A batch, with one object at least -> [5]: proposals' scores and boxes, classes, boxes, masks.
    """

    NAMES = ("objects", "proposals", "classes", "boxes", "masks")

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Tensor, counts: Tensor, boxes: Tensor, labels: Tensor, masks: Tensor
    ) -> Tensor:
        maps = self.detector.pyramid(images)
        scores, deltas, anchors = self.detector.proposer(maps)
        truths = boxes.split(counts.tolist())
        first = self.first_stage(scores, deltas, anchors, truths)
        with torch.no_grad():
            proposals, image, which = self.proposals(scores, deltas, anchors, truths, images.shape)
        second = self.second_stage(maps, proposals, image, which, boxes, labels)
        mask = self.mask_loss(maps, proposals, image, which, masks)
        return torch.stack([*first, *second, mask])

    def first_stage(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, truths: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        kind = self.detector.boxes
        objects, moves, count = [], [], 0
        for n, truth in enumerate(truths):
            which = match(kind.iou(anchors, truth), 0.5, 0.35, every_truth=True)
            chosen = which >= 0
            decided = which != IGNORED
            objects.append(focal_loss(scores[n][decided], chosen[decided].float()))
            wanted = kind.encode(truth[which[chosen]], anchors[chosen])
            moves.append(smooth_l1_loss(deltas[n][chosen], wanted, reduction="sum"))
            count += len(wanted)
        return torch.stack(objects).sum() / count, torch.stack(moves).sum() / count

    def proposals(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor, truths: tuple[Tensor, ...],
        shape: torch.Size,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Boxes [K, 4 or 5] of all images, whose image each is, and whose object."""
        boxes, images, objects, before = [], [], [], 0
        best, valid = self.detector.proposer.choose(scores, deltas, anchors, shape[2], shape[3])
        for n, truth in enumerate(truths):
            box = torch.cat([best[n][valid[n]], truth])  # so that no object is without
            which = match(self.detector.boxes.iou(box, truth), 0.5, 0.5)
            boxes.append(box)
            images.append(torch.full_like(box[:, 0], n))
            objects.append(torch.where(which >= 0, which + before, which))
            before += len(truth)
        return torch.cat(boxes), torch.cat(images), torch.cat(objects)

    def second_stage(
        self, maps: list[Tensor], proposals: Tensor, image: Tensor, which: Tensor, boxes: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        logits, deltas = self.detector.box_head(maps, proposals, image)
        background = labels.new_tensor([logits.shape[1] - 1])
        wanted = torch.cat([labels, background])[which]  # NOTHING, -1, is the last
        chosen = which >= 0
        moves = self.detector.boxes.encode(boxes[which[chosen]], proposals[chosen])
        move = smooth_l1_loss(deltas[chosen], moves, reduction="sum") / len(moves)
        return cross_entropy(logits, wanted), move

    def mask_loss(
        self, maps: list[Tensor], proposals: Tensor, image: Tensor, which: Tensor, masks: Tensor
    ) -> Tensor:
        chosen = (which >= 0).nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), device=chosen.device)[:MOST_MASKS]]
        logits = self.detector.mask_head(maps, proposals[chosen], image[chosen])
        wanted = self.detector.boxes.crop(masks[which[chosen]], proposals[chosen], logits.shape[2])
        return binary_cross_entropy_with_logits(logits, (wanted > 0.5).float())
