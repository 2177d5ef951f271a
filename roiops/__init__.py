"""Region-of-interest operators for PyTorch.

Importing the package loads ``libroiops.so``, which registers ``torch.ops.roiops.*`` for eager
mode, autograd, TorchScript, ``torch.export`` and ``torch.compile``.
"""

from importlib.metadata import version as _version

from roiops import _vmap  # noqa: F401 (registers the batching rules)
from roiops._library import cmake_prefix_path, library_path
from roiops.modules import RoIAlign
from roiops.ops import roi_align

__version__ = _version("roiops")
__all__ = ["RoIAlign", "cmake_prefix_path", "library_path", "roi_align"]
