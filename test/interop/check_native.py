"""Runs the operator library in stock onnxruntime and compares it with numpy and with the portable form.

    python check_native.py LIBRARY [ARTIFACT...]

Every operator, every element type: one-node models against float64 in numpy, on shapes with remainders, none and many
tokens, 1 and 3 threads. Wrong shapes and contents must be errors that name the operator. Of every
ARTIFACT, each sparse node of block 0 runs alone with the library and without it (the function in the model), and, unless
its inputs are rounded (accuracy level 4), so does the whole model, to 1e-3 of the largest logit.
Prints one line; exit code 1 when something differs.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

DOMAIN = "spexpand"
X_TYPES = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
rng = np.random.default_rng(0)


def session(model, library, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def tensor(name, array, data_type=None):
    """`array` as an initializer; bf16 as the upper halves of f32."""
    kind = data_type or helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)


def bf16(array):
    return (np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def widen_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def model(op, x_type, inputs, attributes=(), free=()):
    """One node; the inputs named in `free` are fed, the others are initializers. `inputs`: name, array, type."""
    kinds = [(name, kind or helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array, kind in inputs]
    fed = {"x", "expert", "idx", *free}
    node = helper.make_node(op, [name for name, _ in kinds], ["y"], domain=DOMAIN, **dict(attributes))
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds if name in fed],
        [helper.make_tensor_value_info("y", x_type, None)],
        [tensor(name, array, kind) for name, array, kind in inputs if name not in fed],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def pack_nibbles(values):
    even = np.append(values, 0)[: (len(values) + 1) // 2 * 2].astype(np.uint8) & 15
    return (even[0::2] | even[1::2] << 4).astype(np.uint8)


def sparse(kind, experts, outputs, inputs, group, density):
    """Tensors of a stack after x and expert: [(name, array, type)], and the decoded weights (E, N, K)."""
    kept = rng.random((experts, outputs, inputs)) < density
    width = -(-inputs // 8) * 8
    padded = np.zeros((experts, outputs, width), bool)
    padded[:, :, :inputs] = kept
    mask = np.packbits(padded, axis=2, bitorder="little")
    counts = kept.sum(axis=2).ravel()
    offsets = (np.cumsum(counts) - counts).reshape(experts, outputs).astype(np.int64)
    total = int(counts.sum())
    scales, data_type = None, None
    if kind == "f16":
        values = np.append(0, rng.standard_normal(total)).astype(np.float16)
        decoded = values.astype(np.float64)
    elif kind == "bf16":
        values, data_type = bf16(np.append(0, rng.standard_normal(total))), TensorProto.BFLOAT16
        decoded = widen_bf16(values).astype(np.float64)
    else:
        most = 127 if kind == "int8" else 7
        integers = np.append(0, rng.integers(-most, most + 1, total)).astype(np.int8)
        values = integers if kind == "int8" else pack_nibbles(integers)
        decoded = integers.astype(np.float64)
        scales = rng.uniform(0.001, 0.01, (experts, outputs, -(-inputs // group) if group else 1)).astype(np.float16)
    dense = np.zeros(kept.shape)
    dense[kept] = decoded[1:]
    tensors = [("mask", mask, None), ("values", values, data_type)]
    if scales is not None:
        dense *= np.repeat(scales.astype(np.float64), group or inputs, axis=2)[:, :, :inputs]
        tensors.append(("scales", scales, None))
    return tensors + [("row_offsets", offsets, None)], dense


def compare(what, got, wanted, tolerance):
    error = np.abs(got.astype(np.float64) - wanted)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, expected {wanted.shape}"
    assert (error <= tolerance).all(), f"{what}: off by {error.max():.3g}, allowed {tolerance.min():.3g}"


def check_sparse(library, x_dtype, kind, group, accuracy, shape, leading):
    experts, outputs, inputs = shape
    tensors, dense = sparse(kind, experts, outputs, inputs, group, 0.3)
    integer = kind in ("int8", "int4")
    op = "SparseExpertMatMulInteger" if integer else "SparseExpertMatMul"
    attributes = {"bits": 8 if kind == "int8" else 4, "group_size": group, "accuracy_level": accuracy} if integer else {}
    x = rng.standard_normal((*leading, inputs)).astype(x_dtype)
    expert = rng.integers(0, experts, leading)
    wanted = np.einsum("tnk,tk->tn", dense[expert.ravel()], x.reshape(-1, inputs).astype(np.float64))
    tolerance = 1e-5 * np.einsum("tnk,tk->tn", np.abs(dense[expert.ravel()]), np.abs(x.reshape(-1, inputs))) + 1e-6
    if accuracy == 4:
        tolerance += np.abs(dense[expert.ravel()]).sum(axis=2) * np.abs(x).max(initial=0) / 254
    if x_dtype == np.float16:
        tolerance += np.abs(wanted) * 2.0**-10 + 2.0**-24
    wanted, tolerance = wanted.reshape(*leading, outputs), tolerance.reshape(*leading, outputs)
    declared = [("x", x, None), ("expert", expert, None), *tensors]
    results = []
    for threads, free in ((1, ()), (3, ()), (1, ("mask", "values", "row_offsets"))):
        if free and kind == "bf16":
            continue  # numpy has no bf16 to feed
        one = session(model(op, X_TYPES[x_dtype], declared, attributes, free), library, threads)
        feeds = {name: array for name, array, _ in declared if name in ("x", "expert", *free)}
        results.append(one.run(None, feeds)[0])
        compare(f"{op} {kind} group {group} accuracy {accuracy} {x_dtype.__name__} {shape} {leading}", results[-1], wanted, tolerance)
    assert all(np.array_equal(results[0], other) for other in results), f"{op} {kind}: threads change the result"
    return len(results)


def check_neurons(library, x_dtype, kind, leading):
    neurons, inputs, outputs = 50, 70, 33
    weights = [rng.standard_normal(s).astype(np.float32) / 8 for s in ((neurons, inputs), (neurons, inputs), (neurons, outputs))]
    if kind == "bf16":
        stored = [bf16(w) for w in weights]
        exact = [widen_bf16(w).astype(np.float64) for w in stored]
        data_type = TensorProto.BFLOAT16
    else:
        stored = [w.astype(kind) for w in weights]
        exact, data_type = [w.astype(np.float64) for w in stored], None
    idx = rng.permutation(neurons)[:20]
    x = rng.standard_normal((*leading, inputs)).astype(x_dtype)
    a, b = (x.astype(np.float64) @ w[idx].T for w in exact[:2])
    wanted = (a / (1 + np.exp(-a)) * b) @ exact[2][idx]
    tolerance = 1e-4 * np.ones(wanted.shape) + (np.abs(wanted) * 2.0**-10 if x_dtype == np.float16 else 0)
    declared = [("x", x, None), ("idx", idx, None)]
    declared += [(name, w, data_type) for name, w in zip(("gate", "up", "down"), stored)]
    one = session(model("NeuronSubsetFFN", X_TYPES[x_dtype], declared, {"activation": "silu"}), library, 2)
    compare(f"NeuronSubsetFFN {kind} {leading}", one.run(None, {"x": x, "idx": idx})[0], wanted, tolerance)
    return 1


def check_refusals(library):
    """Each change must be an error that names the operator, at load or when it runs."""
    tensors, _ = sparse("int4", 2, 5, 70, 32, 0.5)
    good = {name: array for name, array, _ in tensors}
    good.update(x=np.ones((3, 70), np.float32), expert=np.array([0, 1, 0]))
    attributes = {"bits": 4, "group_size": 32, "accuracy_level": 4}
    bad = {
        "x": np.ones((3, 90), np.float32),
        "expert": [np.array([0, 2, 0]), np.array([0, -1, 0]), np.array([0, 1]), np.array([[0, 1, 0]])],
        "mask": [good["mask"][:, :, :8], good["mask"] ^ 1, good["mask"] | 128, good["mask"][0]],
        "values": [good["values"][:-1], np.append(good["values"], 0).astype(np.uint8), good["values"][:0]],
        "scales": [good["scales"][:, :, :1], good["scales"] * np.float16(np.nan), good["scales"][0]],
        "row_offsets": [good["row_offsets"][:1], good["row_offsets"] + 1, -good["row_offsets"], good["row_offsets"] * 2**60],
        "bits": 8,
        "group_size": [33, -32, 64],
        "accuracy_level": 3,
    }
    names = ["x", "expert", "mask", "values", "scales", "row_offsets"]
    tried = 0
    for key, changes in bad.items():
        for change in changes if isinstance(changes, list) else [changes]:
            for free in ((), ("mask", "values", "scales", "row_offsets")):
                now = {**good, **({key: change} if key in names else {})}
                marks = {**attributes, **({key: change} if key not in names else {})}
                declared = [(name, np.ascontiguousarray(now[name]), None) for name in names]
                try:
                    one = session(model("SparseExpertMatMulInteger", TensorProto.FLOAT, declared, marks, free), library)
                    one.run(None, {name: array for name, array, _ in declared if name in ("x", "expert", *free)})
                except Exception as error:
                    assert "SparseExpertMatMulInteger: " in str(error), f"{key}: {error}"
                    tried += 1
                else:
                    raise AssertionError(f"{key} {np.shape(change)} {marks} was accepted")
    return tried


def feeds_of(one, tokens):
    feeds = {}
    for value in one.get_inputs():
        if value.name == "input_ids":
            feeds[value.name] = rng.integers(0, 64, (1, tokens))
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones((1, tokens), np.int64)
        else:
            feeds[value.name] = np.zeros([1, value.shape[1], 0, value.shape[3]], np.float32)
    return feeds


def stock_session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_bodies(library, folder):
    """The kernel against the function body of the artifact, node by node; returns the number of comparisons."""
    whole = onnx.load(str(pathlib.Path(folder) / "model.onnx"))
    initializers = {one.name: one for one in whole.graph.initializer}
    nodes = [node for node in whole.graph.node if node.domain == DOMAIN and "layers.0." in " ".join(node.input)]
    assert nodes, f"{folder}: no sparse node in block 0"
    count = 0
    for node in nodes:
        experts, outputs, width = initializers[node.input[2]].dims
        for x_dtype in X_TYPES:
            for tokens, inputs in ((1, width * 8), (7, width * 8), (30, width * 8)):
                x = rng.standard_normal((tokens, inputs)).astype(x_dtype)
                expert = rng.integers(0, experts, (tokens,))
                alone = {}
                for accuracy in (0, 4):
                    copy = onnx.NodeProto()
                    copy.CopyFrom(node)
                    for attribute in copy.attribute:
                        attribute.i = accuracy if attribute.name == "accuracy_level" else attribute.i
                    feeds = {node.input[0]: x, node.input[1]: expert}
                    graph = helper.make_graph(
                        [copy],
                        "one",
                        [
                            helper.make_tensor_value_info(node.input[0], X_TYPES[x_dtype], [tokens, inputs]),
                            helper.make_tensor_value_info(node.input[1], TensorProto.INT64, [tokens]),
                        ],
                        [helper.make_tensor_value_info(node.output[0], X_TYPES[x_dtype], [tokens, outputs])],
                        [initializers[name] for name in node.input[2:]],
                    )
                    made = helper.make_model(
                        graph, functions=whole.functions, opset_imports=whole.opset_import, ir_version=whole.ir_version
                    ).SerializeToString()
                    if accuracy == 0:
                        alone["body"] = stock_session(made).run(None, feeds)[0].astype(np.float64)
                    alone[accuracy] = session(made, library, 2).run(None, feeds)[0].astype(np.float64)
                largest = np.abs(alone["body"]).max()
                bound = (1e-5 if x_dtype == np.float32 else 1e-3) * largest
                assert np.abs(alone[0] - alone["body"]).max() <= bound, f"{node.name}: kernel and body differ"
                # Rounding x to int8 is an error of about 1 % of the largest output for inputs like these.
                assert np.abs(alone[4] - alone["body"]).max() <= 0.03 * largest, f"{node.name}: accuracy level 4"
                count += 2
    return count


def check_artifact(library, folder):
    """Largest difference of logits, of the largest logit."""
    path = str(pathlib.Path(folder) / "model.onnx")
    stock, native = stock_session(path), session(path, library, 2)
    worst = 0.0
    for tokens in (1, 5, 48):
        feeds = feeds_of(stock, tokens)
        wanted, got = (one.run(["logits"], feeds)[0] for one in (stock, native))
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return worst


def rounds_inputs(folder):
    nodes = onnx.load(str(pathlib.Path(folder) / "model.onnx"), load_external_data=False).graph.node
    return any(a.name == "accuracy_level" and a.i == 4 for node in nodes for a in node.attribute)


def main():
    library = str(pathlib.Path(sys.argv[1]).resolve())
    runs = 0
    for x_dtype in X_TYPES:
        for shape in ((1, 5, 7), (3, 20, 130), (2, 33, 576)):
            for leading in ((), (1,), (0,), (2, 3), (90,)):
                for kind in ("f16", "bf16"):
                    runs += check_sparse(library, x_dtype, kind, 0, 0, shape, leading)
                for kind, group, accuracy in (("int8", 0, 4), ("int8", 32, 0), ("int4", 32, 4), ("int4", 128, 4), ("int4", 0, 0)):
                    runs += check_sparse(library, x_dtype, kind, group, accuracy, shape, leading)
        for kind in (np.float32, np.float16, "bf16"):
            for leading in ((1,), (0,), (2, 3)):
                runs += check_neurons(library, x_dtype, kind, leading)
    refused = check_refusals(library)
    line = f"OK onnxruntime {onnxruntime.__version__}: {runs} runs, {refused} refusals"
    for folder in sys.argv[2:]:
        line += f", {check_bodies(library, folder)} bodies"
        if rounds_inputs(folder):
            continue
        worst = check_artifact(library, folder)
        assert worst <= 1e-3, f"{folder}: logits differ by {worst:.3g} of the largest"
        line += f" and logits to {worst:.1e}"
    print(line)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(f"FAILED {error}")
        sys.exit(1)
