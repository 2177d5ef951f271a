"""roi_align beside ONNX Runtime and OpenVINO, where installed: forward, float32, on the CPU.

python benchmark/peers.py --only fpn_p2 --threads 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from problems import Call, Variant, boxes_of, build
from report import RESULTS, Progress, Row, describe_run, number, save, spread, table
from timing import cpu_clock, quartiles, take_turns
from torch import Tensor
from verify import TOLERANCES, Agreement
from workloads import WORKLOADS, Workload, shrink

NAMES = [name for name, w in WORKLOADS.items() if w.op == "roi_align" and w.has_peer]


def onnxruntime_call(workload: Workload, x: Tensor, boxes: Tensor, threads: int) -> Call:
    import onnxruntime
    from onnx import TensorProto, helper

    types = {"X": TensorProto.FLOAT, "rois": TensorProto.FLOAT, "batch": TensorProto.INT64}
    inputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    node = helper.make_node(
        "RoiAlign", list(types), ["Y"], spatial_scale=workload.scales[0],
        output_height=workload.bins[0], output_width=workload.bins[1],
        sampling_ratio=max(workload.options["sampling_ratio"], 0),
        coordinate_transformation_mode="output_half_pixel",
    )  # fmt: skip
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "roi_align", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = (x, boxes[:, 1:].contiguous(), boxes[:, 0].long())
    feeds = {name: value.numpy() for name, value in zip(types, values, strict=True)}
    return lambda: (torch.from_numpy(session.run(None, feeds)[0]),)


def openvino_call(workload: Workload, x: Tensor, boxes: Tensor, threads: int) -> Call:
    import openvino

    arrays = [t.numpy() for t in (x, boxes[:, 1:].contiguous(), boxes[:, 0].int())]
    nodes = [openvino.opset1.parameter(list(a.shape), dtype=a.dtype) for a in arrays]
    result = openvino.opset9.roi_align(
        *nodes, *workload.bins, max(workload.options["sampling_ratio"], 0), workload.scales[0],
        "avg", "asymmetric",
    )  # fmt: skip
    # On a processor that has bfloat16 that would be the default.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.compile_model(openvino.Model([result], nodes), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: (torch.from_numpy(request.infer(arrays, share_inputs=True)[0]),)


# By package, all of which a peer needs.
PEERS: dict[str, tuple[tuple[str, ...], Callable[..., Call]]] = {
    "onnxruntime": (("onnx", "onnxruntime"), onnxruntime_call),
    "openvino": (("openvino",), openvino_call),
}


def installed() -> dict[str, Callable[..., Call]]:
    return {name: call for name, (needs, call) in PEERS.items() if all(map(find_spec, needs))}


def time_row(name: str, threads: int, options: argparse.Namespace) -> Row:
    """Quartiles by library, after a check that each gives our result."""
    torch.set_num_threads(threads)
    workload = shrink(WORKLOADS[name]) if options.shrink else WORKLOADS[name]
    problem = build(workload, "roiops", Variant())
    boxes, features = boxes_of(workload), problem.by[0].detach()
    calls = {
        "roiops": problem.prepare("forward"),
        "torchvision": build(workload, "torchvision", Variant()).prepare("forward"),
    }
    for peer, call_of in installed().items():
        calls[peer] = call_of(workload, features, boxes, threads)
    expected = calls["roiops"]()[0]
    for library, call in calls.items():
        agreement = Agreement(f"{name}, {library}", TOLERANCES["float32"], workload.flips)
        agreement.check("the output", call()[0], expected)
    # One after the other: threads of one library that still wait in a loop would slow the next.
    share = options.seconds / len(calls)
    times = {
        library: quartiles(take_turns([call], cpu_clock, share)[0])
        for library, call in calls.items()
    }
    return {"workload": name, "threads": threads} | times


def shown(rows: Sequence[Row]) -> str:
    libraries = ["roiops", "torchvision", *installed()]
    lines = []
    for row in rows:
        times = [spread(row[library]) for library in libraries]
        ratios = [number(row[library][1] / row["roiops"][1]) for library in libraries[1:]]
        lines.append((row["workload"], str(row["threads"]), *times, *ratios))
    header = ("workload", "threads", *(f"{x} ms" for x in libraries),
              *(f"{x} / roiops" for x in libraries[1:]))  # fmt: skip
    return table(header, lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=NAMES, default=NAMES, metavar="WORKLOAD")
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--seconds", type=float, default=4.0, help="for the repeats of a row (default: 4)")
    add("--shrink", action="store_true", help="tiny maps: tries the script, measures nothing")
    add("--name", default="peers", help="of the result file (default: peers)")
    add("--results", type=Path, default=RESULTS, help="its folder (default: build/benchmark)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    progress = Progress(len(options.only) * len(options.threads))
    rows = []
    for name in options.only:
        for threads in options.threads:
            rows.append(time_row(name, threads, options))
            progress.step(f"{name} {threads} thr", f"{spread(rows[-1]['roiops'])} ms")
    versions = {peer: import_module(peer).__version__ for peer in installed()}
    description = describe_run("cpu", options.shrink) | versions
    save(options.results / f"{options.name}.json", description | {"rows": rows})
    print(shown(rows))


if __name__ == "__main__":
    main()
