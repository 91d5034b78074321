"""Token ids of awkward texts by the Python tokenizers library, as a reference for src/model/tokenizer.ts.

Usage: make_ids.py MODEL_FOLDER OUT.json      (made with tokenizers 0.23 from calibration/demo-model)
"""
import json
import sys

from tokenizers import Tokenizer

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces   and\ttabs\t\tand\n\nlines \n \n  x",
    "trailing space ",
    "trailing lines\n\n\n",
    "don't we'll I'd they've you're I'm it's DON'T 'tis ''s !'s",
    "1234567890 12,345.67 3rd x2 2x ²½Ⅷ",
    "naïve café Ünïcödé Ελληνικά русский 中文字符 日本語 한국어 العربية עברית ไทย",
    "e\u0301 combining n\u0303",
    "👩‍👩‍👧‍👦 emoji 🇩🇪 👍🏽",
    "control \u0000 \u0007 \u001b chars",
    "no-break\u00a0space \u2003em space \u3000wide \u200bzero width",
    "before<|endoftext|>after <|endoftext|> <|endoftext|>",
    "<|endoftext|>",
    "<|endoftext|",
    "x" * 300,
    "ab " * 200,
    "word" + " " * 80 + "word",
    "https://example.org/path?query=1&other=%20#frag",
    "def f(x):\n    return x ** 2  # comment\n",
    "{\"json\": [1, 2, {\"a\": null}]}",
    "\u00a0\u00a0x",
    " 'quoted' \"double\" -- dash — em… ellipsis",
]

tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
cases = [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False).ids} for t in TEXTS]
with open(sys.argv[2], "w") as out:
    json.dump(cases, out, indent=0)
    out.write("\n")
