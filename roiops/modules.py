"""The operators as modules that hold their options."""

from torch import Tensor, nn
from torch.jit.annotations import BroadcastingList2

from roiops import more_ops, ops
from roiops._boxes import check_scales


def _repr(module: nn.Module, *names: str) -> str:
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in names)


class RoIAlign(nn.Module):
    """:func:`roiops.roi_align` with its options held; call with ``(input, boxes)``."""

    def __init__(
        self,
        output_size: BroadcastingList2[int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = -1,
        aligned: bool = False,
        mode: str = "avg",
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.mode = mode

    def forward(self, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        return ops.roi_align(
            input,
            boxes,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
            self.mode,
        )

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale", "sampling_ratio", "aligned", "mode")


class RoIPool(nn.Module):
    """:func:`roiops.roi_pool` with its options held; call with ``(input, boxes)``."""

    def __init__(self, output_size: BroadcastingList2[int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        return ops.roi_pool(input, boxes, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale")


class PSRoIAlign(nn.Module):
    """:func:`roiops.ps_roi_align` with its options held; call with ``(input, boxes)``."""

    def __init__(
        self,
        output_size: BroadcastingList2[int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = -1,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        return ops.ps_roi_align(
            input, boxes, self.output_size, self.spatial_scale, self.sampling_ratio
        )

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale", "sampling_ratio")


class PSRoIPool(nn.Module):
    """:func:`roiops.ps_roi_pool` with its options held; call with ``(input, boxes)``."""

    def __init__(self, output_size: BroadcastingList2[int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        return ops.ps_roi_pool(input, boxes, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale")


class PrRoIPool(nn.Module):
    """:func:`roiops.prroi_pool` with its options held; call with ``(input, boxes)``."""

    def __init__(self, output_size: BroadcastingList2[int], spatial_scale: float = 1.0) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def forward(self, input: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        return ops.prroi_pool(input, boxes, self.output_size, self.spatial_scale)

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale")


class CropAndResize(nn.Module):
    """:func:`roiops.crop_and_resize` with its options held; call with
    ``(image, boxes, box_indices)``."""

    def __init__(
        self,
        crop_size: BroadcastingList2[int],
        method: str = "bilinear",
        extrapolation_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.crop_size = crop_size
        self.method = method
        self.extrapolation_value = extrapolation_value

    def forward(self, image: Tensor, boxes: Tensor, box_indices: Tensor) -> Tensor:
        return more_ops.crop_and_resize(
            image, boxes, box_indices, self.crop_size, self.method, self.extrapolation_value
        )

    def extra_repr(self) -> str:
        return _repr(self, "crop_size", "method", "extrapolation_value")


class RoIAlignRotated(nn.Module):
    """:func:`roiops.roi_align_rotated` with its options held; call with ``(input, rois)``."""

    def __init__(
        self,
        output_size: BroadcastingList2[int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = -1,
        aligned: bool = True,
        clockwise: bool = False,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.clockwise = clockwise

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        return more_ops.roi_align_rotated(
            input,
            rois,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
            self.clockwise,
        )

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale", "sampling_ratio", "aligned", "clockwise")


class DeformRoIPool(nn.Module):
    """:func:`roiops.deform_roi_pool` with its options held; call with
    ``(input, boxes, offset)``."""

    def __init__(
        self,
        output_size: BroadcastingList2[int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = 0,
        gamma: float = 0.1,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.gamma = gamma

    def forward(
        self, input: Tensor, boxes: Tensor | list[Tensor], offset: Tensor | None = None
    ) -> Tensor:
        return more_ops.deform_roi_pool(
            input,
            boxes,
            offset,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.gamma,
        )

    def extra_repr(self) -> str:
        return _repr(self, "output_size", "spatial_scale", "sampling_ratio", "gamma")


class MultiScaleRoIAlign(nn.Module):
    """:func:`roiops.multiscale_roi_align` with its options held; call with
    ``(features, boxes)``."""

    def __init__(
        self,
        output_size: BroadcastingList2[int],
        spatial_scales: list[float],
        sampling_ratio: int = -1,
        aligned: bool = False,
        canonical_scale: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        check_scales("MultiScaleRoIAlign", spatial_scales)  # torchvision's takes other arguments
        self.spatial_scales = list(spatial_scales)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    def forward(self, features: list[Tensor], boxes: Tensor | list[Tensor]) -> Tensor:
        return more_ops.multiscale_roi_align(
            features,
            boxes,
            self.output_size,
            self.spatial_scales,
            self.sampling_ratio,
            self.aligned,
            self.canonical_scale,
            self.canonical_level,
        )

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scales", "sampling_ratio", "aligned")
        return _repr(self, *names, "canonical_scale", "canonical_level")
