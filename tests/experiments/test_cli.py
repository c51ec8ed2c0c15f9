"""What a script answers to a command line that it cannot take."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro

from experiments.cli import as_flags, parse_options


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str, tyro.conf.Positional]
    step: int | None = None
    every: bool = False


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "b"], "Unrecognized options: b.*: see --help"),
        (["a", "--stp", "3"], "Unrecognized options: --stp.*: did you mean --step"),
        (["a", "--step", "x"], "--step.*x"),
        ([], "Missing from test: STR run"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(args, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_options(args, Options, prog="test", about="")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("batch_size=64: larger than the data", "--train.batch-size 64: larger than the data"),
        (
            "use batch_size=8, or accumulate= to",
            "use --train.batch-size 8, or --train.accumulate to",
        ),
        ("continue it with resume=True", "continue it with --resume RUN"),
        ("(allow_changes=True resumes anyway)", "(--allow-changes resumes anyway)"),
        ("decode='always' of a set", "--data.decode always of a set"),
        ("train.epochs=0: must be", "train.epochs=0: must be"),
        ("the batches of the data", "the batches of the data"),
    ],
)
def test_messages_of_the_library_name_flags(library, command):
    assert as_flags(library) == command
