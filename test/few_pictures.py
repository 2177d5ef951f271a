"""A data set that is learned in seconds: a few pictures of examples/detector, again and again."""

from __future__ import annotations

import sys

from build_tree import ROOT

sys.path.insert(0, str(ROOT / "examples" / "detector"))

from data import Sample, Shapes, backgrounds


class Few(Shapes):
    def __init__(self, rotated: bool, count: int) -> None:
        super().__init__(backgrounds(None, held_out=False), 0, rotated)
        self.samples = [super(Few, self).__getitem__(i) for i in range(count)]

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index % len(self.samples)]
