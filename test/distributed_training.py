"""Training steps by several processes against the same step by one: see process_group.py."""

from __future__ import annotations

from collections.abc import Callable

import torch
from process_group import Check, Group
from tolerance import assert_close, assert_same_bits
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.experimental import local_map
from torch.nn.parallel import DistributedDataParallel

import roiops

IMAGES = 2  # of each process
SIZE = (16, 20)


class Head(nn.Module):
    """A detection head in small: features, RoIs of three kinds, gradients by offsets and boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.align = roiops.MultiScaleRoIAlign(3, [1.0, 0.5], 2, True, 4, 1)
        self.largest = roiops.RoIPool(3)
        self.deform = roiops.DeformRoIPool(3, sampling_ratio=2)
        self.offset = nn.Linear(8 * 9, 2 * 9)
        self.shift = nn.Parameter(torch.tensor([0.3, -0.2, 0.1, 0.4]))
        self.score = nn.Linear(3 * 8 * 9, 4)

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        fine = self.body(images).relu()
        moved = torch.cat([boxes[:, :1], boxes[:, 1:] + self.shift], 1)
        aligned = self.align([fine, self.coarse(fine)], moved)
        offset = self.offset(aligned.flatten(1)).view(-1, 2, 3, 3)
        parts = [aligned, self.largest(fine, moved), self.deform(fine, moved, offset)]
        return self.score(torch.cat([p.flatten(1) for p in parts], 1))


def new_head() -> Head:
    torch.manual_seed(7)
    return Head().double()


def batch(process: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, boxes and labels of one process; each has another number of boxes."""
    generator = torch.Generator().manual_seed(100 + process)
    count = 5 + 3 * process
    images = torch.randn(IMAGES, 3, *SIZE, generator=generator, dtype=torch.float64)
    corners = torch.rand(count, 4, generator=generator, dtype=torch.float64) * 8
    corners[:, 2:] += corners[:, :2] + 1
    number = torch.arange(count) % IMAGES
    labels = torch.randint(4, (count,), generator=generator)
    return images, torch.cat([number[:, None], corners], 1), labels


def loss_of(model: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    *tensors, labels = inputs
    return nn.functional.cross_entropy(model(*tensors), labels)


def step(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss().backward()
    optimizer.step()


def step_of_all(world: int) -> Head:
    """One process, one batch of everything: the mean of the processes' losses."""
    model, batches = new_head(), [batch(i) for i in range(world)]
    counts = [len(labels) for *_, labels in batches]
    images = torch.cat([images for images, _, _ in batches])
    boxes = torch.cat([boxes for _, boxes, _ in batches])
    boxes[:, 0] += torch.repeat_interleave(torch.arange(world) * IMAGES, torch.tensor(counts))

    def loss() -> Tensor:
        scores = model(images, boxes).split(counts)
        labels = [labels for *_, labels in batches]
        each = [nn.functional.cross_entropy(s, t) for s, t in zip(scores, labels, strict=True)]
        return torch.stack(each).mean()

    step(model, loss)
    return model


def check_parameters(actual: dict[str, Tensor], world: int) -> None:
    before, expected = new_head().state_dict(), step_of_all(world).state_dict()
    assert actual.keys() == expected.keys()
    for name, parameter in actual.items():
        assert_close(parameter, expected[name], 4 * float(expected[name].abs().max()))
        assert not torch.equal(parameter, before[name]), f"{name} was not trained"


def check_data_parallel(group: Group) -> None:
    model = DistributedDataParallel(new_head())
    step(model, lambda: loss_of(model, *batch(group.rank)))
    check_parameters(model.module.state_dict(), group.world)


def check_fully_sharded(group: Group) -> None:
    model = new_head()
    for part in (model.body, model.coarse, model.offset, model.score):
        fully_shard(part, mesh=group.mesh)
    fully_shard(model, mesh=group.mesh)
    assert all(p.placements == (Shard(0),) for p in model.parameters())
    step(model, lambda: loss_of(model, *batch(group.rank)))
    check_parameters({k: v.full_tensor() for k, v in model.state_dict().items()}, group.world)


def check_images_by_local_map(group: Group) -> None:
    """Images sharded, and boxes that name the images of their own shard."""
    sharded = [Shard(0)]
    pooled = local_map(
        roiops.roi_align, out_placements=sharded, in_placements=(sharded, sharded, None)
    )
    per_process = [batch(i)[:2] for i in range(group.world)]
    count = 5  # of every process: local_map takes shards to be equal
    images = torch.cat([images for images, _ in per_process])
    boxes = torch.cat([boxes[:count] for _, boxes in per_process])
    whole = images.clone().requires_grad_()
    numbers = torch.arange(group.world).repeat_interleave(count) * IMAGES
    everywhere = torch.cat([boxes[:, :1] + numbers[:, None], boxes[:, 1:]], 1)
    expected = roiops.roi_align(whole, everywhere, 3)
    expected.square().sum().backward()

    mine = distribute_tensor(images, group.mesh, sharded).requires_grad_()
    output = pooled(mine, distribute_tensor(boxes, group.mesh, sharded), 3)
    assert isinstance(output, DTensor)
    assert_same_bits(output.full_tensor(), expected)
    output.square().sum().backward()
    assert list(mine.grad.placements) == sharded
    assert_same_bits(mine.grad.full_tensor(), whole.grad)


def checks(world: int) -> dict[str, Check]:
    return {
        "data_parallel": check_data_parallel,
        "fully_sharded": check_fully_sharded,
        "images_by_local_map": check_images_by_local_map,
    }
