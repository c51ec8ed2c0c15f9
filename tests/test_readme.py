"""The README's Python runs as it stands there, from the first block to the last."""

import re
from pathlib import Path

import pytest

from experiments.export import main as export
from experiments.train import main as train

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_every_block_of_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(["--train.epochs", "1", "--run-dir", "runs/vae2"])  # what the blocks load
    export(["runs/vae2", "shared/vae2"])
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    names = {}
    for block in blocks:
        exec(compile(block, block.partition("\n")[0], "exec"), names)
