"""What an operator reads, as numbers and as a picture: weights of pixels, samples, bins.

Each function takes an operator and then the arguments of a call of it::

    roiops.visualize.draw(roiops.roi_align, features, boxes, 7, spatial_scale=1 / 16, bin=(2, 3))

Positions are in pixels of the feature map, whose centres lie at whole numbers, y before x. Nothing
is derived a second time: the operators themselves are asked (``roiops/_probe.py``), so that a
picture shows what they do. ``draw`` needs matplotlib, the others need torch alone.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from roiops._probe import WHOLE_PIXELS, Call, pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BIN_COLOR, MARK_COLOR, WEIGHT_COLOR = "#1f4e9c", "#d1495b", (0.96, 0.62, 0.04)
MOST_NUMBERS = 40


def weights(
    op: Callable[..., Tensor], *args: Any, channel: int = 0, **kwargs: Any
) -> Tensor | list[Tensor]:
    """How much each pixel counts in each bin.

    Args:
        op: an operator of roiops, for example ``roiops.roi_align``.
        args, kwargs: the arguments of a call of ``op``, features first.
        channel (int): of the output. It matters to maxima only, whose winners depend on it; a
            position-sensitive operator's weights are those of the channel that the bin reads.

    Returns:
        Tensor[K, PH, PW, H, W], float64 for float64 features, else float32; of a pyramid a list,
        one for each map. The weights times the features of the box's image, summed, are the
        result; only crop_and_resize adds its extrapolation value where a bin has no weights.

    The weights are the operator's gradient by its features. The errors are those of ``op``;
    TypeError if ``op`` is none of roiops; IndexError if there is no such ``channel``.
    """
    # Also under no_grad and in inference mode, whose tensors autograd does not take: hence copies.
    with torch.inference_mode(False), torch.enable_grad():
        call = channel_of(Call.of(op, args, kwargs), channel)
        maps = [m.clone().requires_grad_() for m in call.maps]
        call, count, (height, width) = call.with_maps(maps), len(call.boxes), call.size
        bins = torch.eye(height * width, dtype=maps[0].dtype, device=maps[0].device)
        every = [m.new_zeros((count, height * width, *m.shape[2:])) for m in maps]
        for k in range(count):  # a call for each box: backward then costs and holds one alone
            values = call.row(k)()[0, 0]
            gradients = torch.autograd.grad(values.flatten(), maps, bins, is_grads_batched=True)
            for result, gradient in zip(every, gradients, strict=True):
                result[k] = gradient.sum((1, 2))  # the bin reads one image and one channel
    results = [e.unflatten(1, (height, width)) for e in every]
    return results if call.is_pyramid else results[0]


def bins(op: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """The corners of each bin.

    Args: as in :func:`weights`.

    Returns:
        Tensor[K, PH, PW, 4, 2]: the corners' (y, x), in order around the bin. Bins of roi_pool and
        ps_roi_pool cover whole pixels, after clipping; a bin of crop_and_resize is a single
        point. NaN where a bin reads nothing, or is further outside than the map is wide. Of a
        pyramid, in pixels of the map that the box is read from.
    """
    return corners_of(Call.of(op, args, kwargs))


def samples(op: Callable[..., Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    """The positions at which each bin reads the features.

    Args: as in :func:`weights`.

    Returns:
        list of K Tensor[PH, PW, S, 2]: (y, x) of a bin's S samples, row by row, before they are
        clamped to the map or rejected. S is 0 for operators without samples (roi_pool,
        ps_roi_pool, prroi_pool), and for boxes that have none or are further outside than the map
        is wide. For crop_and_resize with ``method="nearest"`` it is the position before rounding.
    """
    call = Call.of(op, args, kwargs)
    return [samples_of(call.row(k)) for k in range(len(call.boxes))]


def draw(
    op: Callable[..., Tensor],
    *args: Any,
    box: int = 0,
    bin: tuple[int, int] = (0, 0),
    channel: int = 0,
    ax: "Axes | None" = None,
    **kwargs: Any,
) -> "Axes":
    """Draws a box's bins and samples on the features, and the weights of one bin's pixels.

    Args:
        op, args, kwargs: as in :func:`weights`.
        box (int): which of the boxes.
        bin (int, int): which of its bins, row and column, is marked and shows its weights.
        channel (int): of the output.
        ax (matplotlib.axes.Axes): where to draw; without one, a new figure of pyplot.

    Returns:
        matplotlib.axes.Axes: the box and its surroundings, with the features in grey, the weights
        in orange (with per cents, if they are few), the bins in blue, the marked one and its
        samples in red.

    Raises: IndexError if there is no such ``box``, ``bin`` or ``channel``; ImportError without
        matplotlib; else the errors of ``op``.
    """
    PolyCollection, new_axes = matplotlib_parts()
    call = Call.of(op, args, kwargs)
    count, (height, width) = len(call.boxes), call.size
    check_index("box", box, count)
    check_bin(bin)
    check_index("bin", bin[0], height)
    check_index("bin", bin[1], width)
    one = channel_of(call, channel).row(box)
    _, levels = one.middles() if one.op not in WHOLE_PIXELS else (None, [0])
    level, at = int(levels[0]), bin[0] * width + bin[1]

    ax = new_axes() if ax is None else ax
    features = one.maps[level][one.images[0]]
    features = features[at if len(features) > 1 else 0].cpu()
    ax.imshow(features.tolist(), cmap="Greys", alpha=0.3)
    draw_weights(ax, one, bin, level)
    corners = corners_of(one)[0].flip(-1).flatten(0, 1).cpu()
    edges = PolyCollection(corners.tolist(), facecolor="none", edgecolor=BIN_COLOR, linewidth=1.2)
    marked = PolyCollection([corners[at].tolist()], facecolor="none", edgecolor=MARK_COLOR,
                            linewidth=2.2, zorder=3)  # fmt: skip
    for kind, artist in (("bins", edges), ("bin", marked)):
        artist.set_gid(kind)
        ax.add_collection(artist)
    points = samples_of(one).flatten(0, 1).cpu()
    y, x = points.flatten(0, 1).unbind(-1)
    ax.scatter(x.tolist(), y.tolist(), s=9, color=BIN_COLOR, zorder=4, gid="samples")
    y, x = points[at].unbind(-1)
    ax.scatter(x.tolist(), y.tolist(), s=26, color=MARK_COLOR, edgecolor="white", linewidth=0.6,
               zorder=5, gid="samples of bin")  # fmt: skip
    columns, rows = (shown(corners[..., i], features.shape[1 - i]) for i in (0, 1))
    ax.set(xlim=columns, ylim=rows[::-1])
    return ax


def shown(corners: Tensor, size: int) -> tuple[float, float]:
    """Along an axis: the box with some pixels around it, as far as there are any."""
    around = 3.0
    known = corners[~corners.isnan()].tolist() or [-0.5, size - 0.5]
    low, high = min(known), max(known)
    return min(max(low - around, -0.5), low), max(min(high + around, size - 0.5), high)


def draw_weights(ax: "Axes", one: Call, bin: tuple[int, int], level: int) -> None:
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=1.4, foreground="white", alpha=0.6)
    of_bins = weights(one.op, **one.arguments)
    of_bin = (of_bins[level] if isinstance(of_bins, list) else of_bins)[0, bin[0], bin[1]].cpu()
    largest = max(float(of_bin.max()), 1e-30)
    shades = [
        [(*WEIGHT_COLOR, 0.9 * max(w, 0.0) / largest) for w in row] for row in of_bin.tolist()
    ]
    ax.imshow(shades, gid="weights")
    read = (of_bin >= 0.005).nonzero().tolist()  # others would be 0 %
    if len(read) <= MOST_NUMBERS:
        for y, x in read:
            text = f"{100 * float(of_bin[y, x]):.0f}"
            # At the pixel's lower edge, where fewer samples lie than in its middle.
            label = ax.text(x, y + 0.44, text, ha="center", va="bottom", fontsize=7, gid="weight")
            label.set(zorder=6, path_effects=[halo])


def corners_of(call: Call) -> Tensor:
    if call.op in WHOLE_PIXELS:
        (top, bottom), (left, right) = (edges(seen) for seen in pixels(call))
        at = [(top, left), (top, right), (bottom, right), (bottom, left)]
        return torch.stack([torch.stack(corner, -1) for corner in at], -2)
    if call.is_crop:
        return call.middles()[0][..., None, :].expand(-1, -1, -1, 4, -1)
    quarters = call.cut((2, 2)).middles()[0]
    first, below = quarters[:, ::2, ::2], quarters[:, 1::2, ::2]
    beside = quarters[:, ::2, 1::2]
    down, across = below - first, beside - first  # half a bin each
    start = first - (down + across) / 2
    around = [start, start + 2 * across, start + 2 * across + 2 * down, start + 2 * down]
    return torch.stack(around, -2)


def edges(seen: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last pixel of each row of `seen`, half a pixel further out; NaN if none."""
    seen = torch.nn.functional.pad(seen, (0, 1))  # a minimum also of a map without pixels
    position = torch.arange(seen.shape[-1], dtype=torch.float64, device=seen.device)
    low = position.where(seen, torch.inf).amin(-1) - 0.5
    high = position.where(seen, -torch.inf).amax(-1) + 0.5
    return low.where(low <= high, torch.nan), high.where(low <= high, torch.nan)


def samples_of(one: Call) -> Tensor:
    """[PH, PW, S, 2], for a call with one box."""
    if one.is_crop:
        return one.middles()[0][0, :, :, None]
    height, width = one.size
    none = torch.empty(height, width, 0, 2, dtype=torch.float64, device=one.maps[0].device)
    if not one.has_grid:
        return none
    corners = corners_of(one)[0]
    down, across = ((corners[..., i, :] - corners[..., 0, :]).norm(dim=-1) for i in (3, 1))
    known = ~down.isnan()  # all bins have one size
    if not known.any():
        return none
    rows, columns = one.grid((float(down[known].max()), float(across[known].max())))
    if rows * columns == 0:
        return none
    positions = one.cut((rows, columns)).middles()[0][0]
    parts = positions.view(height, rows, width, columns, 2)
    return parts.transpose(1, 2).flatten(2, 3)


def channel_of(call: Call, channel: int) -> Call:
    check_index("channel", channel, call.maps[0].shape[1] // call.channels_per_output)
    return call.channel(channel)


def check_bin(bin: Any) -> None:
    if (
        not isinstance(bin, (list, tuple))
        or len(bin) != 2
        or not all(hasattr(i, "__index__") for i in bin)
    ):
        raise TypeError(f"visualize: `bin` must be two integers (row, column), but got {bin!r}.")


def check_index(name: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise IndexError(f"visualize: `{name}` must be in [0, {count}), but got {index}.")


def matplotlib_parts() -> tuple[Any, Callable[[], "Axes"]]:
    """What is drawn with, and what makes axes; pyplot only if it must."""
    try:
        from matplotlib.collections import PolyCollection
    except ImportError as error:
        raise ImportError(
            "visualize: `draw` needs matplotlib: install it with `pip install matplotlib`."
        ) from error

    def new_axes() -> "Axes":
        from matplotlib import pyplot

        return pyplot.subplots()[1]

    return PolyCollection, new_axes
