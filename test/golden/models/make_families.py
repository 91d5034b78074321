"""Tiny random-weight models of more families, made like those of ../make_goldens.py (see ../README.md).

    python make_families.py OUT        # writes OUT/models/NAME and OUT/config-v4/NAME.json

torch 2.13.0, transformers 5.23.0, safetensors 0.8.0, numpy 2.4.6; weights from the seed of each model.
"""
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import make_goldens as g  # noqa: E402

g.MAX_FOLDER = 400_000


def cfg(hidden=32, ff=72, vocab=96, **more):
    return g.cfg(hidden, ff, vocab, **{"tie_word_embeddings": False, **more})


FALCON = dict(ffn_hidden_size=72, alibi=False)
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.05, 1.1], "long_factor": [1.0, 1.5, 4.0]}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "beta_fast": 4.0, "beta_slow": 0.5}

MODELS = [
    {"name": "gemma", "type": "gemma", "seed": 201,
     "cfg": cfg(kv=1, head_dim=16, pad_token_id=0, tie_word_embeddings=True)},
    {"name": "gemma3_text", "type": "gemma3_text", "seed": 202,
     "cfg": cfg(layers=3, kv=2, head_dim=8, pad_token_id=0, tie_word_embeddings=True, sliding_window=8,
                query_pre_attn_scalar=24, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                rope_parameters={"full_attention": g.rope(1e6), "sliding_attention": g.rope(1e4)}),
     "matters": [{"sliding_window": 64}, {"query_pre_attn_scalar": 8},
                 {"rope_parameters": {"full_attention": g.rope(1e6), "sliding_attention": g.rope(1e6)}}]},
    {"name": "phi", "type": "phi", "seed": 203, "cfg": cfg(kv=2, rope_parameters=g.rope(partial_rotary_factor=0.5)),
     "matters": [{"rope_parameters": g.rope(partial_rotary_factor=1.0)}]},
    {"name": "olmo2", "type": "olmo2", "seed": 204, "cfg": cfg(kv=2, pad_token_id=0)},
    {"name": "stablelm", "type": "stablelm", "seed": 205,
     "cfg": cfg(kv=2, use_qkv_bias=True, rope_parameters=g.rope(partial_rotary_factor=0.5))},
    {"name": "stablelm-parallel", "type": "stablelm", "seed": 206,
     "cfg": cfg(hidden=64, vocab=64, kv=2, use_parallel_residual=True, rope_parameters=g.rope(partial_rotary_factor=0.25))},
    {"name": "granite", "type": "granite", "seed": 207,
     "cfg": cfg(kv=2, attention_bias=True, mlp_bias=True, embedding_multiplier=3.0, logits_scaling=1.25,
                residual_multiplier=0.6, attention_multiplier=0.2),
     "matters": [{"embedding_multiplier": 1.0}, {"residual_multiplier": 1.0}, {"attention_multiplier": 0.35}]},
    {"name": "falcon", "type": "falcon", "seed": 208, "cfg": cfg(**FALCON, tie_word_embeddings=True)},
    {"name": "falcon-new", "type": "falcon", "seed": 209,
     "cfg": cfg(**FALCON, new_decoder_architecture=True, num_kv_heads=2)},
    {"name": "falcon-heads", "type": "falcon", "seed": 210,
     "cfg": cfg(**FALCON, multi_query=False, parallel_attn=False, bias=True)},
    {"name": "smollm3", "type": "smollm3", "seed": 211,
     "cfg": cfg(layers=3, kv=2, pad_token_id=0, no_rope_layer_interval=2, tie_word_embeddings=True),
     "matters": [{"no_rope_layer_interval": 3}]},
    {"name": "mistral-window", "type": "mistral", "seed": 212, "cfg": cfg(kv=2, sliding_window=8),
     "matters": [{"sliding_window": None}]},
    {"name": "qwen2-window", "type": "qwen2", "seed": 213,
     "cfg": cfg(kv=2, use_sliding_window=True, sliding_window=8, max_window_layers=1)},
    {"name": "llama-linear", "type": "llama", "seed": 214,
     "cfg": cfg(kv=2, rope_parameters=g.rope(rope_type="linear", factor=4.0)), "matters": [{"rope_parameters": g.rope()}]},
    {"name": "llama-dynamic", "type": "llama", "seed": 215,
     "cfg": cfg(kv=2, max_position_embeddings=16, rope_parameters=g.rope(rope_type="dynamic", factor=4.0)),
     "matters": [{"rope_parameters": g.rope()}]},
    {"name": "llama-yarn", "type": "llama", "seed": 216,
     "cfg": cfg(kv=2, max_position_embeddings=64, rope_parameters=YARN), "matters": [{"rope_parameters": g.rope()}]},
    {"name": "phi3-longrope", "type": "phi3", "seed": 217,
     "cfg": cfg(kv=2, pad_token_id=0, original_max_position_embeddings=16, rope_parameters=LONG),
     "matters": [{"rope_parameters": g.rope(partial_rotary_factor=0.75)}]},
]


def fresh_padded(folder):
    """Dynamic embeddings remember the longest sequence seen: the padded run starts from a model that has seen none."""
    path = folder / "golden.safetensors"
    with safe_open(path, "pt") as f:
        tensors, meta = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    m = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tensors["logits_padded"] = g.run_model(m, tensors["input_ids_padded"], tensors["attention_mask"], tensors["position_ids_padded"])[0]
    g.save(path, {k: v.numpy() for k, v in tensors.items()}, meta)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[1])
    for spec in MODELS:
        if len(sys.argv) > 2 and spec["name"] not in sys.argv[2:]:
            continue
        g.make_model(spec, out)
        if spec["cfg"].get("rope_parameters", {}).get("rope_type") == "dynamic":
            fresh_padded(out / "models" / spec["name"])
