"""GRIFFIN (arXiv 2404.01365) with numpy alone, on a dense Llama folder or on an artifact made from one (values f16 or bf16): greedy
continuation of a prompt.

  python griffin.py MODEL --ids 12 7 431 --new 16 [--density 0.5 | --griffin griffin.json]

Densities of an artifact that `spexpand predict --griffin` has amended are read from `spexpand.griffin` in the metadata of its weight
file. Prints the new token ids, those of `spexpand generate MODEL --griffin … --json` for the same prompt. Weights in one
model.safetensors. Written to be read: every step recomputes the whole text.
"""
import argparse, json, struct
from pathlib import Path
import numpy as np


TYPES = {'F32': np.float32, 'F16': np.float16, 'U8': np.uint8, 'I64': np.int64, 'I32': np.int32}


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop('__metadata__', {})
    out = {}
    for name, info in header.items():
        start, end = (8 + size + offset for offset in info['data_offsets'])
        raw = data[start:end]
        if info['dtype'] == 'BF16':
            values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, TYPES[info['dtype']])
        if info['dtype'] == 'F16':
            values = values.astype(np.float32)
        out[name] = values.reshape(info['shape'])
    return out, metadata


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
        self.w, self.metadata = read_safetensors(folder / 'model.safetensors')
        self.layers = self.config['num_hidden_layers']
        self.decoded = {}

    def matrices(self, name):
        """The matrix (out, in) of a dense model, or those of all experts."""
        w = self.w
        if f'{name}.weight' in w:
            return [w[f'{name}.weight']]
        if name not in self.decoded:
            base, inputs = f'{name}.experts', self.config['intermediate_size' if 'down' in name else 'hidden_size']
            assert f'{base}.scales' not in w, 'values int8 and int4 are not read here'
            kept = np.unpackbits(w[f'{base}.mask'], axis=-1, bitorder='little')[..., :inputs].astype(bool)
            dense = np.zeros(kept.shape, np.float32)
            dense[kept] = w[f'{base}.values'][1:]  # experts, rows, inputs in order; the first value is the 0 in front
            self.decoded[name] = list(dense)
        return self.decoded[name]

    def experts(self, router, x):
        """The expert of every token; 0 where there is no router."""
        if f'{router}.weight' not in self.w:
            return np.zeros(len(x), int)
        return (x @ self.w[f'{router}.weight'].T + self.w[f'{router}.bias']).argmax(1)

    def product(self, name, x, experts):
        matrices = self.matrices(name)
        y = np.empty((len(x), len(matrices[0])), np.float32)
        for e in set(experts.tolist()):
            y[experts == e] = x[experts == e] @ matrices[e].T
        return y

    def norms(self, name, axis):
        """L2 norms of rows (1) or columns (0), over all experts."""
        return np.sqrt(sum((matrix ** 2).sum(axis) for matrix in self.matrices(name)))

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
            experts = self.experts(f'{p}.mlp.router', x)
            gate = self.product(f'{p}.mlp.gate_proj', x, experts)
            z = on_ff(layer, gate / (1 + np.exp(-gate)) * self.product(f'{p}.mlp.up_proj', x, experts))
            if f'{p}.mlp.down_proj.router.weight' in w:
                experts = self.experts(f'{p}.mlp.down_proj.router', z)
            h = h + self.product(f'{p}.mlp.down_proj', z, experts)
        head = w.get('lm_head.weight', w['model.embed_tokens.weight'])
        return norm(h[-1], w['model.norm.weight'], eps) @ head.T


def select(model, layer, z, density, scores):
    """The neurons that a prompt with intermediates z (T, ff) keeps: a mask (ff)."""
    s = np.linalg.norm(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-30), axis=0)
    p = f'model.layers.{layer}.mlp'
    if scores == 'statistic-down':
        s = s * model.norms(f'{p}.down_proj', 0)
    elif scores == 'magnitude':
        s = model.norms(f'{p}.gate_proj', 1) * model.norms(f'{p}.up_proj', 1)
    elif scores == 'count':  # tokens that have a neuron among the quarter with the largest |z|
        largest = np.argsort(-np.abs(z), axis=1, kind='stable')[:, :max(1, z.shape[1] // 4)]
        s = np.zeros(z.shape[1])
        np.add.at(s, largest, np.take_along_axis(z, largest, 1) != 0)
    keep = np.zeros(len(s), np.float32)
    keep[np.argsort(-s, kind='stable')[:max(1, int(len(s) * density + 1e-9))]] = 1
    return keep


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', type=Path)
    parser.add_argument('--ids', type=int, nargs='+', required=True)
    parser.add_argument('--new', type=int, default=16)
    parser.add_argument('--density', type=float)
    parser.add_argument('--griffin', type=Path, help='griffin.json of spexpand predict')
    a = parser.parse_args()
    model = Model(a.model)
    densities, scores = [a.density or 0.5] * model.layers, 'statistic'
    written = a.griffin.read_text() if a.griffin else model.metadata.get('spexpand.griffin')
    if written and a.density is None:
        metadata = json.loads(written)
        assert metadata['formatVersion'] == 1, 'a later version of griffin.json'
        densities, scores = metadata['densities'], metadata['scores']
        assert metadata['select'] == 'top-k', 'neurons that are drawn are not implemented here'
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
