"""Checks an artifact of spexpand with nothing but onnx, onnxruntime, safetensors and numpy.

    python check_artifact.py ARTIFACT [EXPECTED.safetensors]

Full onnx.checker check by path; every tensor loads; expert stacks decode (popcounts, offsets, padding, finite values,
scales of whole numbers, two 4-bit numbers a byte; bf16 values, which numpy lacks, only by shape);
greedy generation of 16 tokens with the key/value cache agrees with one run over the whole text to 1e-3 of the largest
logit; with EXPECTED (`input_ids` (B, T), `logits` (B, T, vocab)) the logits of that prompt agree to 1e-3 absolute.
Prints one line; exit code 1 when something differs.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open

TOLERANCE = 1e-3
BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.int64)


def load_tensors(folder):
    """Every tensor that safetensors can give as numpy; bf16, which numpy lacks, only by shape."""
    tensors, untyped = {}, 0
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            assert file.metadata()["format"] == "pt", path
            for name in file.keys():
                part = file.get_slice(name)
                if part.get_dtype() == "BF16":
                    untyped += 1
                    assert np.prod(part.get_shape()) > 0, name
                else:
                    tensors[name] = file.get_tensor(name)
    return tensors, untyped


def nibbles(values):
    """Two signed 4-bit numbers a byte, low half first."""
    pairs = np.stack([values & 15, values >> 4], axis=1).ravel().astype(np.int8)
    return np.where(pairs < 8, pairs, pairs - 16)


def check_stacks(tensors, config, mixture):
    """Decodes every expert; returns the names of the stacks and the number of kept weights."""
    kind, group = mixture["values"], mixture.get("groupSize")
    dtype = {"f16": np.float16, "int8": np.int8, "int4": np.uint8}.get(kind)
    hidden, ff = config["hidden_size"], config["intermediate_size"]
    width = {"gate_proj": hidden, "up_proj": hidden, "down_proj": ff}
    bases = sorted(name[: -len(".mask")] for name in tensors if name.endswith(".experts.mask"))
    kept = 0
    for base in bases:
        mask, offsets = (tensors[f"{base}.{part}"] for part in ("mask", "row_offsets"))
        experts, outputs, row_bytes = mask.shape
        counts = BITS[mask].sum(axis=2)
        assert mask.dtype == np.uint8 and offsets.dtype == np.int64, base
        assert offsets.shape == (experts, outputs), base
        assert (offsets.ravel() == np.cumsum(counts.ravel()) - counts.ravel()).all(), f"{base}: row_offsets"
        inputs = width[base.rsplit(".", 2)[-2]]
        assert row_bytes == -(-inputs // 8), f"{base}: {row_bytes} bytes a row for {inputs} inputs"
        bits = np.unpackbits(mask, axis=2, bitorder="little").astype(bool)
        assert not bits[:, :, inputs:].any(), f"{base}: padding bits"
        kept += int(counts.sum())
        if kind == "bf16":
            continue
        values = tensors[f"{base}.values"]
        assert values.dtype == dtype, f"{base}: values are {values.dtype}"
        if kind == "int4":
            assert values.shape == (-(-(1 + counts.sum()) // 2),), f"{base}: values"
            values = nibbles(values)
            assert (values[1 + counts.sum() :] == 0).all(), f"{base}: the spare half is not 0"
            values = values[: 1 + counts.sum()]
        assert values.shape == (1 + counts.sum(),) and values[0] == 0, f"{base}: values"
        assert np.isfinite(values).all(), f"{base}: values are not finite"
        dense = np.zeros(bits.shape, dtype=np.float32)
        dense[bits] = values[1:]
        if group is not None:
            scales = tensors[f"{base}.scales"]
            groups = 1 if group == 0 else -(-inputs // group)
            assert scales.dtype == np.float16 and scales.shape == (experts, outputs, groups), f"{base}: scales"
            assert np.isfinite(scales).all() and (scales >= 0).all(), f"{base}: scales"
            dense *= np.repeat(scales, group or bits.shape[2], axis=2)[:, :, : bits.shape[2]].astype(np.float32)
        assert dense.any(), f"{base}: nothing but zeros"
    return bases, kept


def empty_cache(session, batch):
    return {
        i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32)
        for i in session.get_inputs()
        if i.name.startswith("past_key_values.")
    }


def run(session, ids, cache, past):
    mask = np.ones((ids.shape[0], past + ids.shape[1]), np.int64)
    outputs = session.run(None, {"input_ids": ids, "attention_mask": mask, **cache})
    named = dict(zip([o.name for o in session.get_outputs()], outputs))
    logits = named.pop("logits")
    return logits, {name.replace("present", "past_key_values"): value for name, value in named.items()}


def check_generation(session, vocab, steps=16):
    """Greedy generation with the cache, then the whole text at once: their difference, as a share of the largest logit."""
    ids = np.array([[1, 2, 3, 5, 8, 13, 21, 34]], np.int64) % vocab
    logits, cache = run(session, ids, empty_cache(session, 1), 0)
    seen = [logits[0, -1]]
    for _ in range(steps - 1):
        ids = np.concatenate([ids, [[int(seen[-1].argmax())]]], axis=1)
        logits, cache = run(session, ids[:, -1:], cache, ids.shape[1] - 1)
        seen.append(logits[0, -1])
    whole, _ = run(session, ids, empty_cache(session, 1), 0)
    largest = max(1.0, float(np.abs(whole).max()))
    return float(np.abs(whole[0, -steps:] - np.stack(seen)).max()) / largest, ids[0, -steps + 1 :].tolist()


def main(folder, expected=None):
    folder = pathlib.Path(folder)
    path = str(folder / "model.onnx")
    onnx.checker.check_model(path, full_check=True)
    manifest = json.loads((folder / "spexpand.json").read_text())
    tensors, untyped = load_tensors(folder)
    config = json.loads((folder / "config.json").read_text())
    stacks, kept = check_stacks(tensors, config, manifest["mixture"])
    assert len(stacks) == 3 * manifest["mixture"]["layers"], stacks

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    vocab = session.get_outputs()[0].shape[-1]
    difference, tokens = check_generation(session, vocab)
    assert difference <= TOLERANCE, f"cache and whole text differ by {difference} of the largest logit"
    told = ""
    if expected:
        with safe_open(expected, framework="numpy") as file:
            ids, wanted = file.get_tensor("input_ids"), file.get_tensor("logits")
        logits, _ = run(session, ids, empty_cache(session, ids.shape[0]), 0)
        worst = float(np.abs(logits - wanted).max())
        assert worst <= TOLERANCE, f"logits differ from {expected} by {worst}"
        told = f", logits of the prompt within {worst:.1e}"
    print(
        f"OK onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: {len(tensors) + untyped} tensors, "
        f"{len(stacks)} expert stacks, {kept} weights kept, generated {tokens}, "
        f"cache within {difference:.1e}{told}"
    )


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
