"""The words that examples stand for, in a file beside theirs: only pages show them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.sources import load, located
from ae_jax.data.splits import hold_out
from ae_jax.files import read_json

ENDING = ".words.json"


def load_words(name: str | os.PathLike[str], split: str) -> np.ndarray | None:
    """The word of each row of ``load(name, split)``: strings [N], or None where no file has them.

    ``tokens.words.json`` beside ``tokens.npy`` (or .npz, .csv, ...) holds a JSON list of strings,
    one for each row of the file in its order. Of a file that has both splits, it holds
    ``{"train": [...], "test": [...]}``.

    Raises:
      ValueError: the file holds something else, or another number of words than there are rows.
      OSError: the file cannot be read.
    """
    path = Path(located(str(name)))
    file = path.with_name(Path(path.name.removesuffix(".gz")).stem + ENDING)
    if not path.is_file() or not file.exists():
        return None
    content = read_json(file, links=True)
    rows = {each: len(load(path, each)["x"]) for each in ("train", "test")}
    if isinstance(content, dict):
        if content.keys() != rows.keys():
            keys = ", ".join(map(str, content)) or "nothing"
            raise ValueError(f"{file} has {keys}: give a list, or train and test")
        for each, words in content.items():
            _require_words(file, words, rows[each], f" of {each}")
        return np.array(content[split], dtype=object)
    _require_words(file, content, sum(rows.values()), "")
    chosen: np.ndarray = hold_out({"x": np.array(content, dtype=object)}, split)["x"]
    if len(chosen) != rows[split]:
        raise ValueError(f"{file} is a list, and {path.name} has two splits: give train and test")
    return chosen


def _require_words(file: Path, words: Any, rows: int, of: str) -> None:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{file} is no list of strings: write one with json.dump(words, file)")
    if len(words) != rows:
        raise ValueError(f"{file} has {len(words)} words{of}, and the data has {rows} rows{of}")
