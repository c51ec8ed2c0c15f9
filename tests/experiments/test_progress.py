"""What a command prints while it trains, and to whom."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from experiments.progress import ProgressBar

ROWS = [
    (epoch, split, loss)
    for epoch in (0.5, 1.0, 1.5, 2.0)
    for split, loss in (("train", 10 * epoch), ("test", epoch))
    if split == "train" or epoch % 1 == 0
]


def test_a_line_names_the_train_and_the_test_loss_of_one_epoch():
    console = Console(file=io.StringIO(), width=100)
    with ProgressBar(2, console) as progress:
        for epoch, split, loss in ROWS:
            row = {"epoch": epoch, "split": split, "loss": loss, "images_per_second": 7.0}
            progress(None, row)
    speed = "  7 images/s"
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if line] == [  # some versions of rich end with an empty one
        "epoch 0.5/2  train 5.0000" + speed,
        "epoch 1/2  train 10.0000  test 1.0000" + speed,
        "epoch 1.5/2  train 15.0000  test 1.0000 (epoch 1)" + speed,
        "epoch 2/2  train 20.0000  test 2.0000" + speed,
    ]


PRINTS = """if True:
    import sys
    from pathlib import Path
    from rich.console import Console
    from experiments.printing import survive_lost_readers
    survive_lost_readers()
    for i in range(3):
        Console().print("line", i)
        print("and", i, flush=True)
        print("error", i, file=sys.stderr)
        if i == 0:
            sys.stdin.readline()
    Path(sys.argv[1]).touch()
"""


def test_the_loss_of_a_reader_ends_the_printing_and_not_the_work(tmp_path):
    """As ``python -m experiments.train 2>&1 | head -1``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-c", PRINTS, str(tmp_path / "done")]
    with subprocess.Popen(command, **options, text=True, env=environment) as process:
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0
    assert (tmp_path / "done").exists()


def test_the_bar_of_a_terminal_shows_the_last_row():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with ProgressBar(2, console) as progress:
        for epoch, split, loss in ROWS[:2]:
            row = {"epoch": epoch, "split": split, "loss": loss, "images_per_second": 7.0}
            progress(None, row)
        (task,) = progress.bar.tasks
        assert task.completed == pytest.approx(1.0) and task.fields["loss"] == "train 10.0000"
