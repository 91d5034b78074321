"""One gated FFN, one token, cold weights: the native operators against dense onnxruntime, in one run.

    python native_ffn.py LIBRARY [--rounds 15] [--threads 1 2] [--shapes 576x1536x24 2048x5632x4 4096x11008x1]

Every engine runs a chain of `count` different FFNs; engines take turns, so that each finds its weights out of the cache
(together they read more than 1 GB between two turns). Prints milliseconds per FFN, best of the rounds, the ratio to
onnxruntime f32 and to dense 4-bit (MatMulNBits, block 32, accuracy level 4), and the bytes read per second beside what
memchr reads. Ratios within a run are what counts: times depend on the machine and on what else it does.
"""

import argparse
import ctypes
import threading
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

SPARSITY = 0.7
rng = np.random.default_rng(0)


class Graph:
    """Nodes and initializers of a chain; `bytes` counts what a token reads."""

    def __init__(self, name):
        self.name, self.nodes, self.tensors, self.bytes = name, [], [], 0

    def constant(self, name, array):
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.tensors.append(helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True))
        self.bytes += array.nbytes
        return name

    def node(self, op, inputs, output, domain="", **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def serialized(self, hidden, last):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [value("x", TensorProto.FLOAT, [1, hidden]), value("expert", TensorProto.INT64, [1])],
            [value(last, TensorProto.FLOAT, [1, hidden])],
            self.tensors,
        )
        domains = [("", 21), ("com.microsoft", 1), ("spexpand", 1)]
        opsets = [helper.make_opsetid(*domain) for domain in domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def dense_f32(graph, name, x, inputs, outputs):
    weights = graph.constant(f"{name}.w", rng.random((inputs, outputs), dtype=np.float32) - 0.5)
    return graph.node("MatMul", [x, weights], f"{name}.y")


def dense_4bit(graph, name, x, inputs, outputs):
    blocks = -(-inputs // 32)
    packed = graph.constant(f"{name}.w", rng.integers(0, 256, (outputs, blocks, 16), dtype=np.uint8))
    scales = graph.constant(f"{name}.s", np.full(outputs * blocks, 0.01, np.float32))
    shape = {"K": inputs, "N": outputs, "bits": 4, "block_size": 32, "accuracy_level": 4}
    return graph.node("MatMulNBits", [x, packed, scales], f"{name}.y", "com.microsoft", **shape)


def sparse(kind, group=0):
    def product(graph, name, x, inputs, outputs):
        kept = rng.random((outputs, inputs), dtype=np.float32) >= SPARSITY
        counts = kept.sum(axis=1)
        offsets = (np.cumsum(counts) - counts).reshape(1, outputs)
        total = 1 + int(counts.sum())
        mask = graph.constant(f"{name}.mask", np.packbits(kept, axis=1, bitorder="little")[None])
        if kind == "f16":
            values = np.append(0, rng.random(total - 1, dtype=np.float32) - 0.5).astype(np.float16)
        elif kind == "int8":
            values = np.append(0, rng.integers(-127, 128, total - 1)).astype(np.int8)
        else:
            values = np.append(0x10, rng.integers(0, 256, (total + 1) // 2 - 1)).astype(np.uint8)
            values[-1] &= 0x0F if total % 2 else 0xFF
        names = [x, "expert", mask, graph.constant(f"{name}.values", values)]
        attributes = {}
        if kind != "f16":
            groups = -(-inputs // group) if group else 1
            names.append(graph.constant(f"{name}.scales", np.full((1, outputs, groups), 0.01, np.float16)))
            attributes = {"bits": 8 if kind == "int8" else 4, "group_size": group, "accuracy_level": 4}
        names.append(graph.constant(f"{name}.offsets", offsets.astype(np.int64)))
        op = "SparseExpertMatMul" if kind == "f16" else "SparseExpertMatMulInteger"
        return graph.node(op, names, f"{name}.y", "spexpand", **attributes)

    return product


ENGINES = {
    "onnxruntime f32": dense_f32,
    "onnxruntime 4-bit": dense_4bit,
    "spexpand f16 70 %": sparse("f16"),
    "spexpand int8 70 %": sparse("int8"),
    "spexpand int4 70 %": sparse("int4", 128),
}


def chain(product, hidden, ff, count):
    """`count` FFNs one after the other, x + down(silu(gate x) · up x)."""
    graph, x = Graph("chain"), "x"
    for i in range(count):
        gate, up = (product(graph, f"{i}.{matrix}", x, hidden, ff) for matrix in ("gate", "up"))
        sigmoid = graph.node("Sigmoid", [gate], f"{i}.sigmoid")
        silu = graph.node("Mul", [gate, sigmoid], f"{i}.silu")
        h = graph.node("Mul", [silu, up], f"{i}.h")
        x = graph.node("Add", [x, product(graph, f"{i}.down", h, ff, hidden)], f"{i}.x")
    return graph, x


def session_of(model, library, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The threads of an engine that is not on turn must not spin on the cores of the one that is.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.register_custom_ops_library(library)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_bandwidth(threads, megabytes=768):
    """Bytes per second that memchr of the C library looks through on so many threads, best of 7."""
    find = ctypes.CDLL(None).memchr
    find.argtypes, find.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    parts = [np.ones(megabytes * 2**20 // threads, np.uint8) for _ in range(threads)]
    best = np.inf
    for _ in range(7):
        workers = [threading.Thread(target=find, args=(part.ctypes.data, 0, part.nbytes)) for part in parts]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / best


def measure(library, shape, threads, rounds):
    hidden, ff, count = (int(part) for part in shape.split("x"))
    sessions, sizes = {}, {}
    for name, product in ENGINES.items():
        graph, last = chain(product, hidden, ff, count)
        sizes[name] = graph.bytes
        sessions[name] = session_of(graph.serialized(hidden, last), library, threads)
        del graph
    # Small inputs: the chain has no norms. Infinities and subnormal numbers would take other times.
    feeds = {"x": np.full((1, hidden), 1e-4, np.float32), "expert": np.zeros(1, np.int64)}
    times = {name: [] for name in sessions}
    for _ in range(rounds + 1):
        for name, one in sessions.items():
            start = time.perf_counter()
            one.run(None, feeds)
            times[name].append((time.perf_counter() - start) / count)
    best = {name: min(each[1:]) for name, each in times.items()}  # the first run warms up
    roof = read_bandwidth(threads)
    print(f"{hidden} -> {ff}, {count} in a chain, {threads} threads; memchr reads {roof / 1e9:.1f} GB/s")
    for name, seconds in best.items():
        rate = sizes[name] / count / seconds
        ratios = [best[other] / seconds for other in ("onnxruntime f32", "onnxruntime 4-bit")]
        print(f"  {name:20s} {seconds * 1e3:8.3f} ms  {ratios[0]:5.2f} x f32  {ratios[1]:5.2f} x 4-bit"
              f"  {rate / 1e9:5.1f} GB/s ({100 * rate / roof:.0f} %)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", default=["576x1536x24", "2048x5632x4", "4096x11008x1"])
    arguments = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, {SPARSITY:.0%} zeros, one token, best of {arguments.rounds}")
    for shape in arguments.shapes:
        for threads in arguments.threads:
            measure(arguments.library, shape, threads, arguments.rounds)


if __name__ == "__main__":
    main()
