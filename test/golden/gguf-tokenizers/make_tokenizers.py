"""Token ids that src/model/gguf-tokenizer.ts is compared with, from the libraries that the models were trained with.

Usage: make_tokenizers.py REPOSITORY OUT      (sentencepiece 0.2.3, tokenizers 0.23)

sentencepiece.json  a vocabulary trained on the bundled calibration text, its scores and kinds as GGUF files hold them,
                    and the ids of SentencePiece itself, with and without a space in front of a text
words.json          ids of the demo model's vocabulary under the patterns that published models cut text with
"""
import json
import pathlib
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, pre_tokenizers

repository, out = map(pathlib.Path, sys.argv[1:3])

TEXTS = [
    "Hello, world!",
    "  two spaces in front",
    " one in front and behind ",
    "a\n\n\n b\t\tc   d\n1. first\n\n2. second \n \n x",
    "don't we'll I'd they've DON'T WE'LL I'D 'tis ''s",
    "1 22 333 4444 55555 3rd x2 2x 1,234.56 \u00bd \u00b2 \u0e54\u0e55",
    "na\u00efve caf\u00e9 \u00dcn\u00efc\u00f6d\u00e9 \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac "
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u4e2d\u6587\u5b57\u7b26 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0939\u093f\u0928\u094d\u0926\u0940",
    "e\u0301 combining n\u0303, \U0001f469\u200d\U0001f467 emoji \U0001f44d\U0001f3fd",
    "no-break\u00a0space \u3000wide \u200bzero width",
    "CamelCaseWords HTTPServer iPhone McDonald's USA's x'Y",
    "def f(x):\n    return x**2  # ok //path/to\n\n\nclass A_b: pass\r\n\r\n",
    "https://example.org/path?query=1&other=%20#frag -- (see [1], [2]) ...!?",
    "x" * 60,
]


def documents(limit):
    with open(repository / "calibration/corpora/calibration.jsonl") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    return [text[:400] for text in texts][:limit]


def sentencepiece_ids():
    folder = pathlib.Path(tempfile.mkdtemp())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in documents(400) for line in text.split("\n")),
        model_prefix=str(folder / "m"), model_type="bpe", vocab_size=900, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        num_threads=1, minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((folder / "m.model").read_bytes())
    texts = TEXTS + documents(60)[40:]
    result = {
        "tokens": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "types": [piece.type for piece in proto.pieces],
        "texts": texts,
    }
    for key, prefix in (("ids", True), ("idsWithoutPrefix", False)):
        proto.normalizer_spec.add_dummy_prefix = prefix
        model = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        result[key] = [model.encode(text) for text in texts]
    return result


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
# As in the tokenizer.json of Llama 3, Qwen 2.5, Mistral Nemo and GPT-4o's open siblings.
PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def word_ids():
    kinds = {"gpt-2": GPT2, "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2])}
    for name, pattern in PATTERNS.items():
        kinds[name] = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])
    result = {"texts": TEXTS, "ids": {}}
    for name, kind in kinds.items():
        model = json.loads((repository / "calibration/demo-model/tokenizer.json").read_text())
        model["model"]["ignore_merges"] = name in ("llama-bpe", "tekken")
        tokenizer = Tokenizer.from_str(json.dumps(model))
        tokenizer.pre_tokenizer = kind
        result["ids"][name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return result


out.mkdir(parents=True, exist_ok=True)
for name, value in (("sentencepiece", sentencepiece_ids()), ("words", word_ids())):
    (out / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
