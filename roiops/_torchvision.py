"""torchvision's operators on the kernels of roiops: see docs/torchvision.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock

import torch

_lock = Lock()
_by_call = False  # patch_torchvision() was the last word
_contexts = 0  # open ones


def _set(by_call: bool, contexts: int) -> None:
    """The kernels follow the state, or, after an error, neither changes. Under the lock."""
    global _by_call, _contexts
    switch = torch.ops.roiops_torchvision
    if by_call or contexts > 0:
        try:
            import_module("torchvision")  # its operators must come first
        except ImportError as error:
            raise ImportError(
                "patch_torchvision: torchvision must be installed, but it cannot be imported "
                f"({error}). Install the torchvision that belongs to torch {torch.__version__}."
            ) from error
        switch.patch()
    else:
        switch.unpatch()
    _by_call, _contexts = by_call, contexts


def patch_torchvision() -> None:
    """Run torchvision's RoI operators on the kernels of roiops, until :func:`unpatch_torchvision`.

    Replaced are ``torchvision::roi_align``, ``roi_pool`` and ``ps_roi_align``, forward and backward,
    and ``nms``, on the CPU and, if roiops was built with CUDA kernels, on CUDA; for the whole
    process. Whatever calls them follows, no matter when it was made: functions and modules of ``torchvision.ops``,
    detection models, scripted, traced, exported and compiled ones. ``torchvision.ops.ps_roi_pool``
    computes something else than :func:`roiops.ps_roi_pool` and is left alone.

    Results are torchvision's up to rounding; docs/torchvision.md names the exceptions (boxes that
    are not finite, 16-bit features, ...). The rest stays torchvision's: dtypes of features and boxes
    must be equal, results are contiguous, there are no gradients by boxes.

    Imports torchvision. A second call changes nothing. Do not call it while another thread runs
    these operators.

    Raises:
        ImportError: torchvision cannot be imported.
        RuntimeError: torchvision has not the operators that roiops knows; nothing is replaced.
    """
    with _lock:
        _set(True, _contexts)


def unpatch_torchvision() -> None:
    """Run torchvision's RoI operators on torchvision's own kernels again.

    Undoes :func:`patch_torchvision`, however often that was called. Inside
    ``with torchvision_patched()`` the kernels come back at the end of the block.
    """
    with _lock:
        _set(False, _contexts)


@contextmanager
def torchvision_patched() -> Iterator[None]:
    """A ``with`` block, or a decorator, under :func:`patch_torchvision`.

    Blocks may be nested and overlap in threads: torchvision's own kernels are back after the last
    one, unless :func:`patch_torchvision` was called. The patch holds for the whole process, not only
    for the thread that is in the block.
    """
    with _lock:
        _set(_by_call, _contexts + 1)
    try:
        yield
    finally:
        with _lock:
            _set(_by_call, _contexts - 1)
