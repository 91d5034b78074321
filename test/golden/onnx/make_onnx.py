"""Writes python-made.onnx and its expectations: python make_onnx.py OUT (onnx 1.23, numpy; same bytes every run).

One small model with what a foreign writer uses: a model-local function with a referenced attribute and a default, a Loop
and an If (graphs in attributes), every typed data field, external data, metadata on model, graph, node and function,
sequence values, symbolic and unknown dimensions.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

T = TensorProto
VALUES = {
    "f32": (T.FLOAT, [2, 2], [1.5, -2.25, 0.0, 3e38]),
    "f64": (T.DOUBLE, [2], [0.1, -1e300]),
    "i64": (T.INT64, [3], [-(2**63), 2**63 - 1, -5]),
    "i32": (T.INT32, [2], [-(2**31), 7]),
    "i16": (T.INT16, [2], [-32768, 9]),
    "i8": (T.INT8, [2], [-128, 9]),
    "u8": (T.UINT8, [2], [255, 1]),
    "u16": (T.UINT16, [2], [65535, 1]),
    "u32": (T.UINT32, [2], [2**32 - 1, 1]),
    "u64": (T.UINT64, [2], [2**64 - 1, 1]),
    "bool": (T.BOOL, [3], [True, False, True]),
    "f16": (T.FLOAT16, [2], [0.333, -65504.0]),
    "bf16": (T.BFLOAT16, [2], [0.333, -3e38]),
    "u4": (T.UINT4, [3], [15, 1, 8]),
    "i4": (T.INT4, [3], [-8, 7, -1]),
}


def graph_of(nodes, name, inputs, outputs, **kw):
    return helper.make_graph(nodes, name, inputs, outputs, **kw)


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def main(out: Path) -> None:
    typed = [helper.make_tensor(name, kind, dims, vals) for name, (kind, dims, vals) in VALUES.items()]
    raw = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "raw")
    weight = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
    external = T(name="w", data_type=T.FLOAT, dims=[3, 4], data_location=T.EXTERNAL)
    for key, text in (("location", "python-made.bin"), ("offset", "64"), ("length", "48")):
        external.external_data.add(key=key, value=text)
    (out / "python-made.bin").write_bytes(bytes(64) + weight.tobytes())

    scale = helper.make_node("Constant", [], ["k"])
    scale.attribute.add(name="value_float", type=onnx.AttributeProto.FLOAT, ref_attr_name="factor")
    function = helper.make_function(
        "local", "Scale", ["x"], ["y"], [scale, helper.make_node("Mul", ["x", "k"], ["y"])],
        [helper.make_opsetid("", 21)], attributes=["factor"],
        attribute_protos=[helper.make_attribute("unused", 3)], doc_string="y = factor x",
    )
    function.metadata_props.add(key="made", value="by hand")

    body = graph_of(
        [helper.make_node("Identity", ["cond"], ["cond_out"]), helper.make_node("Add", ["acc", "h"], ["acc_out"])],
        "body",
        [value("i", T.INT64, []), value("cond", T.BOOL, []), value("acc", T.FLOAT, ["n", 4])],
        [value("cond_out", T.BOOL, []), value("acc_out", T.FLOAT, None)],
    )
    branch = [graph_of([helper.make_node(op, ["acc1"], [f"out_{op}"])], op, [], [onnx.ValueInfoProto(name=f"out_{op}")])
              for op in ("Neg", "Identity")]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="/mm"),
        helper.make_node("Loop", ["trips", "yes", "h"], ["acc1"], name="/loop", body=body),
        helper.make_node("If", ["no"], ["z"], name="/if", then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Scale", ["z"], ["y"], name="/scale", domain="local", factor=0.5),
        helper.make_node("SequenceConstruct", ["y"], ["s"], name="/seq"),
    ]
    nodes[0].metadata_props.add(key="spexpand.layer", value="0")
    model = helper.make_model(
        graph_of(
            nodes, "main", [value("x", T.FLOAT, ["n", 3])], [value("y", T.FLOAT, ["n", 4])],
            initializer=[
                external, raw, *typed,
                helper.make_tensor("trips", T.INT64, [], [3]), helper.make_tensor("yes", T.BOOL, [], [True]),
                helper.make_tensor("no", T.BOOL, [], [False]),
            ],
            value_info=[helper.make_tensor_sequence_value_info("s", T.FLOAT, ["n", 4]), value("h", T.FLOAT, [None, 4])],
        ),
        functions=[function], opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1)],
        ir_version=10, producer_name="make_onnx", producer_version="1", model_version=7, doc_string="golden",
    )
    model.metadata_props.add(key="note", value="λ")
    model.graph.metadata_props.add(key="place", value="graph")
    path = out / "python-made.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)

    bits = {t.name: numpy_helper.to_array(t).tobytes().hex() for t in typed if t.data_type not in (T.UINT4, T.INT4)}
    bits |= {"u4": "1f08", "i4": "780f"}  # two to a byte, the first in the low half
    (out / "python-made.json").write_text(json.dumps(bits, indent=2) + "\n")


main(Path(sys.argv[1]))
