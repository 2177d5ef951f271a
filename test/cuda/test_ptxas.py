"""The reader of ptxas logs, on a log of nvcc 13.0."""

from ptxas import Kernel, kernels

LOG = """\
ptxas info    : 296 bytes gmem
ptxas info    : Compiling entry function '_ZN6roiops4pool6gatherIfEEvPKT_PS2_' for 'sm_80'
ptxas info    : Function properties for _ZN6roiops4pool6gatherIfEEvPKT_PS2_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 124 registers, used 1 barriers, 400 bytes cmem[0]
ptxas info    : Compile time = 1214.971 ms
ptxas info    : Function properties for __internal_trig_reduction_slowpathd
    40 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Compiling entry function '_ZN6roiops4pool6gatherIdEEvPKT_PS2_' for 'sm_90'
ptxas info    : Function properties for _ZN6roiops4pool6gatherIdEEvPKT_PS2_
    2480 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 2480 bytes cumulative stack size
"""


def test_kernels_of_a_log() -> None:
    assert list(kernels(LOG)) == [
        Kernel("void roiops::pool::gather<float>(float const*, float*)", "sm_80", 124, 0),
        Kernel("void roiops::pool::gather<double>(double const*, double*)", "sm_90", 255, 40),
    ]


def test_a_log_without_kernels_has_none() -> None:
    assert list(kernels("ptxas info    : 296 bytes gmem\n")) == []
