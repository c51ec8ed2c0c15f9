"""The promises about survival, a few times each; `python -m experiments.stress` has them all."""

import itertools
import random

import pytest

from experiments.stress.__main__ import PROMISES, attempt, main
from experiments.stress.configurations import WRONG
from experiments.stress.leaks import measure


@pytest.mark.parametrize(
    ("promise", "times"),
    [
        ("corruption", 3),
        ("data", 200),
        *(
            pytest.param(name, times, marks=pytest.mark.slow)
            for name, times in (
                ("hostile", 15),
                ("resume", 3),
                ("kill", 4),
                ("signals", 2),
                ("twice", 2),
                ("determinism", 3),
                ("configurations", len(WRONG)),
            )
        ),
    ],
)
def test_kept(promise, times, tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "trials"
    folder.mkdir()
    trials = PROMISES[promise][0](folder, random.Random(1))
    assert [problem for problem in itertools.islice(trials, times) if problem] == []


@pytest.mark.slow
def test_memory_is_measured_where_things_are_saved(tmp_path):
    memory, arrays, compiled = measure(tmp_path / "run", steps=80, saves=8)
    assert len(memory) == len(arrays) == 8 and min(memory) > 10**7
    assert len({*arrays[1:4], *arrays[5:]}) == 1
    assert compiled == 4  # the loops of training and evaluation, in each half


def test_a_broken_promise_is_counted_and_ends_with_its_name(monkeypatch, capsys):
    def broken(folder, rng):
        yield from (None, "it broke", None, None)

    monkeypatch.setitem(PROMISES, "broken", (broken, 3))
    with pytest.raises(SystemExit, match="broken: broken"):
        main(["broken"])
    printed = capsys.readouterr().out
    assert "broken 2: it broke" in printed
    with pytest.raises(ValueError, match="no promise 'kil': did you mean 'kill'"):
        main(["kil"])


def test_time_is_shared(monkeypatch):
    from rich.console import Console

    def endless(folder, rng):
        while True:
            yield None

    monkeypatch.setitem(PROMISES, "endless", (endless, 10**12))
    counts = attempt("endless", 0, 0.05, Console(quiet=True))
    assert counts["kept"] == counts["trials"] > 10
