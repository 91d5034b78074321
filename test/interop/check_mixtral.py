"""Logits of a Mixtral folder by transformers against expected ones.

usage: check_mixtral.py [FOLDER EXPECTED.safetensors]...   (input_ids I64 (B, T), logits F32 (B, T, V))
Prints OK or SKIP, or ends with an error.
"""

import importlib.util
import sys

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    print("SKIP no torch or no transformers")
    sys.exit(0)

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

largest = 0.0
for folder, expected_path in zip(sys.argv[1::2], sys.argv[2::2]):
    expected = load_file(expected_path)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == "MixtralForCausalLM", (folder, type(model))
    assert model.dtype == torch.float32, (folder, model.dtype)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (folder, kind, info[kind])
    with torch.no_grad():
        logits = model.eval()(expected["input_ids"]).logits
    difference = (logits - expected["logits"]).abs().max().item()
    assert difference < 1e-3, f"{folder}: logits differ by {difference}"
    largest = max(largest, difference)
print(f"OK transformers {transformers.__version__}: logits differ by {largest:.1e} at most")
