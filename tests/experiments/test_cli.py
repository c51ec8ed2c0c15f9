"""What a script answers to a command line that it does not take."""

import argparse

import pytest

from experiments.cli import parse_all


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "b"], "unexpected argument b: see --help"),
        (["a", "--stp", "3"], "unrecognized option --stp: did you mean '--step'?"),
        (["a", "--stp=3"], "unrecognized option --stp: did you mean '--step'?"),
        (["a", "--x"], "unrecognized option --x: known: --all, --step"),
        (["a", "--step", "x"], "argument --step: invalid int value: 'x'"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(args, message):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("run")
    parser.add_argument("--step", type=int)
    parser.add_argument("--all", action="store_true")
    with pytest.raises(ValueError) as caught:
        parse_all(parser, args)
    assert str(caught.value) == message
