"""What the functions do with their arguments before the one call."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.jit.annotations import BroadcastingList2
from torch.nn.modules.utils import _pair
from torch.overrides import handle_torch_function

from roiops import _library  # noqa: F401 (loads the operators)


def to_size(op: str, name: str, size: BroadcastingList2[int]) -> tuple[int, int]:
    """(height, width) of one size for both, or of two."""
    if not torch.jit.is_scripting():
        return size_of(op, name, size)
    pair = _pair(size)
    return pair[0], pair[1]


def size_of(op: str, name: str, size: Any) -> tuple[int, int]:
    """Sizes may be symbols; torch.compile traces neither _pair nor hasattr of one."""
    whole = (int, torch.SymInt)
    if isinstance(size, whole):
        return cast(int, size), cast(int, size)
    try:
        pair = _pair(size)
    except TypeError:  # a tensor or an array without dimensions
        pair = ()
    if len(pair) != 2 or not all(isinstance(s, whole) or hasattr(s, "__index__") for s in pair):
        raise TypeError(
            f"{op}: `{name}` must be an integer or two integers (height, width), but got {size!r}."
        )
    return pair[0], pair[1]


def show_sizes(functions: Iterable[Any]) -> None:
    """BroadcastingList2, which TorchScript reads in the source, is None to everyone else: help() is
    told what may be given."""
    for public in functions:
        function = getattr(public, "__init__", public) if isinstance(public, type) else public
        annotations = getattr(function, "__annotations__", {})
        for name in {"output_size", "crop_size"} & annotations.keys():
            annotations[name] = int | tuple[int, int]


def check_tensors(op: str, **tensors: Any) -> None:
    """What TorchScript knows by type; without it the error would be some attribute's."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: `{name}` must be a Tensor, but got {type(tensor).__name__}.")


def type_of(value: Any) -> str:
    """In words, for an error: also of what a list holds."""
    if not isinstance(value, (list, tuple)):
        return type(value).__name__
    return f"a list of {', '.join(sorted({type(v).__name__ for v in value}))}"


def check_maps(op: str, name: str, maps: Any) -> None:
    if not isinstance(maps, (list, tuple)) or not all(isinstance(m, Tensor) for m in maps):
        raise TypeError(f"{op}: `{name}` must be a list of Tensor, but got {type_of(maps)}.")
    if len(maps) == 0:
        raise RuntimeError(f"{op}: `{name}` must have a map, but got none.")


def check_scales(op: str, scales: Any) -> None:
    numbers = isinstance(scales, (list, tuple)) and all(
        isinstance(scale, (float, int, torch.SymFloat)) or hasattr(scale, "__float__")
        for scale in scales
    )
    if not numbers:
        raise TypeError(
            f"{op}: `spatial_scales` must be a list of numbers, one for each map, but got {scales!r}."
        )


def check_box_list(op: str, input: Tensor, boxes: Any) -> None:
    if not isinstance(boxes, (list, tuple)) or not all(isinstance(b, Tensor) for b in boxes):
        rule = "must be a Tensor[K, 5] or a list of Tensor[L, 4]"
        raise TypeError(f"{op}: `boxes` {rule}, but got {type_of(boxes)}.")
    if len({box.device for box in boxes}) > 1:
        devices = ", ".join(str(box.device) for box in boxes)
        raise RuntimeError(f"{op}: `boxes` must be on one device, but got {devices}.")
    # Compiled code leaves it to the kernel: asking here would bind the batch's size to the list's.
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or input.dim() != 4:
        return
    if len(boxes) > input.size(0):
        raise RuntimeError(
            f"{op}: `boxes` must have at most one tensor per image ({input.size(0)}), "
            f"but got {len(boxes)}."
        )


def to_rois(op: str, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
    """Boxes [K, 5] as they are; per-image boxes [L, 4] with their image's number in front."""
    if not torch.jit.is_scripting():
        check_tensors(op, input=input)
    if isinstance(boxes, Tensor):
        return boxes
    if not torch.jit.is_scripting():
        check_box_list(op, input, boxes)
    rois = torch.jit.annotate(list[Tensor], [])
    for image, box in enumerate(boxes):
        if box.dim() != 2 or box.size(1) != 4:
            raise RuntimeError(
                f"{op}: each tensor of `boxes` must have shape [L, 4] (x1, y1, x2, y2), "
                f"but got {list(box.size())} for image {image}."
            )
        if box.dtype == torch.float16 or box.dtype == torch.bfloat16:
            box = box.to(torch.float32)  # 16-bit floats cannot number the images of a large batch
        rois.append(torch.cat([torch.full_like(box[:, :1], image), box], dim=1))
    if len(rois) == 0:
        return torch.zeros([0, 5], dtype=torch.float32, device=input.device)
    return torch.cat(rois, dim=0)


def flat(*arguments: Any) -> tuple[Any, ...]:
    """The arguments, and the elements of those that are lists."""
    each = [a if isinstance(a, (list, tuple)) else [a] for a in arguments]
    return tuple(element for elements in each for element in elements)


def as_one_call(function: Any, tensors: tuple[Any, ...], *args: Any) -> Tensor:
    """For proxies of symbolic traces and tensor subclasses, which see the function as one call."""
    output: Tensor = handle_torch_function(function, tensors, *args)
    return output
