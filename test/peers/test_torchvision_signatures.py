"""Calls that work with torchvision's functions and modules work here."""

from __future__ import annotations

import inspect

import pytest

import roiops

torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")

FUNCTIONS = ["roi_pool", "ps_roi_align", "ps_roi_pool"]
MODULES = ["RoIPool", "PSRoIAlign", "PSRoIPool"]


@pytest.mark.parametrize("name", [*FUNCTIONS, *MODULES])
def test_same_signature(name) -> None:
    own = inspect.signature(getattr(roiops, name)).parameters.values()
    their = inspect.signature(getattr(torchvision.ops, name)).parameters.values()
    assert [p.name for p in own] == [p.name for p in their]
    assert [p.kind for p in own] == [p.kind for p in their]
    for a, b in zip(own, their, strict=True):
        assert b.default in (inspect.Parameter.empty, a.default)  # modules have fewer there
