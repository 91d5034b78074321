"""GRIFFIN (arXiv 2404.01365) on a dense Llama folder, with numpy alone: greedy continuation of a prompt.

  python griffin.py MODEL --ids 12 7 431 --new 16 [--density 0.5 | --griffin griffin.json]

Prints the new token ids, those of `spexpand generate MODEL --griffin … --json` for the same prompt. Weights F32, F16 or BF16 in
one model.safetensors. Written to be read: every step recomputes the whole text.
"""
import argparse, json, struct
from pathlib import Path
import numpy as np


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop('__metadata__', None)
    out = {}
    for name, info in header.items():
        start, end = (8 + size + offset for offset in info['data_offsets'])
        raw = data[start:end]
        if info['dtype'] == 'BF16':
            values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {'F32': np.float32, 'F16': np.float16}[info['dtype']]).astype(np.float32)
        out[name] = values.reshape(info['shape'])
    return out


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, theta):
    """x (T, heads, dim): positions 0 … T − 1, halves rotated against each other."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] / theta ** (np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(np.float32)


class Model:
    def __init__(self, folder):
        self.config = json.loads((folder / 'config.json').read_text())
        self.w = read_safetensors(folder / 'model.safetensors')
        self.layers = self.config['num_hidden_layers']

    def attention(self, p, x):
        c, w = self.config, self.w
        heads, kv = c['num_attention_heads'], c['num_key_value_heads']
        dim = c.get('head_dim') or c['hidden_size'] // heads
        q, k, v = (x @ w[f'{p}.self_attn.{n}_proj.weight'].T for n in 'qkv')
        q = rotate(q.reshape(len(x), heads, dim), c.get('rope_theta', 10000.0))
        k = rotate(k.reshape(len(x), kv, dim), c.get('rope_theta', 10000.0)).repeat(heads // kv, 1)
        v = v.reshape(len(x), kv, dim).repeat(heads // kv, 1)
        scores = np.einsum('thd,shd->hts', q, k) / np.sqrt(dim)
        scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        return np.einsum('hts,shd->thd', share, v).reshape(len(x), -1) @ w[f'{p}.self_attn.o_proj.weight'].T

    def run(self, ids, on_ff):
        """Logits after the last token; on_ff(layer, z) may return other intermediates z (T, ff)."""
        w, eps = self.w, self.config['rms_norm_eps']
        h = w['model.embed_tokens.weight'][ids]
        for layer in range(self.layers):
            p = f'model.layers.{layer}'
            h = h + self.attention(p, norm(h, w[f'{p}.input_layernorm.weight'], eps))
            x = norm(h, w[f'{p}.post_attention_layernorm.weight'], eps)
            gate = x @ w[f'{p}.mlp.gate_proj.weight'].T
            z = gate / (1 + np.exp(-gate)) * (x @ w[f'{p}.mlp.up_proj.weight'].T)
            h = h + on_ff(layer, z) @ w[f'{p}.mlp.down_proj.weight'].T
        head = w.get('lm_head.weight', w['model.embed_tokens.weight'])
        return norm(h[-1], w['model.norm.weight'], eps) @ head.T


def select(model, layer, z, density, scores):
    """The neurons that a prompt with intermediates z (T, ff) keeps: a mask (ff)."""
    s = np.linalg.norm(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-30), axis=0)
    p = f'model.layers.{layer}.mlp'
    if scores == 'statistic-down':
        s = s * np.linalg.norm(model.w[f'{p}.down_proj.weight'], axis=0)
    elif scores == 'magnitude':
        s = np.linalg.norm(model.w[f'{p}.gate_proj.weight'], axis=1) * np.linalg.norm(model.w[f'{p}.up_proj.weight'], axis=1)
    keep = np.zeros(len(s), np.float32)
    keep[np.argsort(-s, kind='stable')[:max(1, int(len(s) * density + 1e-9))]] = 1
    return keep


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', type=Path)
    parser.add_argument('--ids', type=int, nargs='+', required=True)
    parser.add_argument('--new', type=int, default=16)
    parser.add_argument('--density', type=float, default=0.5)
    parser.add_argument('--griffin', type=Path, help='griffin.json of spexpand predict')
    a = parser.parse_args()
    model = Model(a.model)
    densities, scores = [a.density] * model.layers, 'statistic'
    if a.griffin:
        metadata = json.loads(a.griffin.read_text())
        assert metadata['formatVersion'] == 1, 'a later version of griffin.json'
        densities, scores = metadata['densities'], metadata['scores']
    prompt, kept = len(a.ids), {}

    def first(layer, z):
        kept[layer] = select(model, layer, z, densities[layer], scores)
        return z

    def later(layer, z):
        return np.concatenate([z[:prompt], z[prompt:] * kept[layer]])

    ids = list(a.ids)
    for i in range(a.new):
        ids.append(int(model.run(ids, later if i else first).argmax()))
    print(json.dumps(ids[prompt:]))


if __name__ == '__main__':
    main()
