"""Programs for devices that are not there: their bytes and what the devices exchange."""

import importlib.util
import io
import json
from dataclasses import replace

import jax
import pytest
from rich.console import Console

from ae_jax.devices.targets import Target, find_target
from ae_jax.models import Dictionary
from ae_jax.sparsifiers import TopK
from experiments.benchmarks.collectives import Collective, collectives
from experiments.compile import Compiled, Options, compiled, exchanges, main, show
from experiments.config import Config, Train

COMPILER = importlib.util.find_spec("libtpu") is not None
MODEL = Dictionary(width=64, sparsifier=TopK(active=4))
CONFIG = Config(model=MODEL, train=Train(batch_size=6))
OPTIONS = Options(model=MODEL, model_devices=2, event_shape=(16,))


@pytest.fixture(scope="module")
def here():
    return Target("cpu:4", jax.devices()[:4], 10**9)


def test_bytes_are_those_of_a_device(here):
    program = compiled(CONFIG, (16,), here, OPTIONS)
    assert (program.data, program.model, program.error) == (2, 2, "")
    by_latent = 64 * (3 * (2 * 16 + 1) + 1)  # tables and their moments; ages
    elsewhere = 3 * 16 + 2  # the bias; Adam's count and the step
    chunk = 4 * 2**20 // (3 * 16 * 4) * 3 * 16  # 3 rows on each device
    arrays = 4 * (by_latent // 2 + elsewhere + chunk)
    assert program.arguments == pytest.approx(arrays, abs=200)  # keys and sums
    assert max(one.bytes for one in program.collectives) < 4 * 64 * 16 * 2
    candidates = [one for one in program.collectives if one.kind == "all-gather"]
    assert {one.shapes for one in candidates} >= {"f32[3,8]", "s32[3,8]"}  # 4 of each device
    assert all(one.loops == 1 for one in program.collectives)


def test_collectives_are_read_from_a_program():
    text = """
%add.1 (x: f32[], y: f32[]) -> f32[] {
  ROOT %s = f32[] add(%x, %y)
}
%scan (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %r = f32[8]{0} all-reduce(%v), channel_id=1, to_apply=%add.1
}
%branch (p: f32[8]) -> f32[8] {
  %g = (f32[4,2]{1,0}, f32[16,2]{1,0}) all-gather-start(%v), channel_id=2
}
%step (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%scan
  %b = f32[8] conditional(%i, %x), branch_computations={%branch, %other}
  %m = (pred[64]{0}, bf16[3]{0}) all-reduce(%a, %b), channel_id=3, to_apply=%add.1
}
%other (p: f32[8]) -> f32[8] {
}
%c (p: (s32[], f32[8])) -> pred[] {
}
%unused (p: f32[8]) -> f32[8] {
  %u = f32[9]{0} all-reduce(%v), channel_id=4, to_apply=%add.1
}
ENTRY %main (p: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%step
  %z = f32[2]{0} collective-permute(%v), channel_id=5
}
"""
    assert collectives(text) == [
        Collective("all-reduce", "f32[8]", 32, 2),
        Collective("all-gather", "f32[16,2]", 128, 1),
        Collective("all-reduce", "pred[64], bf16[3]", 70, 1),
        Collective("collective-permute", "f32[2]", 8, 0),
    ]


def test_the_tables():
    large = Collective("all-reduce", "f32[65536,4096]", 4 * 65536 * 4096, 1)
    inner = Collective("all-reduce", "f32[]", 4, 2)
    common = {"target": "v5e:2x2", "data": 2, "model": 2, "memory": 16 * 2**30, "seconds": 1.0}
    fits = Compiled(arguments=10**9, temporary=2, collectives=(large, inner, large), **common)
    assert exchanges(fits) == [
        ("all-reduce", "f32[65536,4096]", "1.07 GB", "2"),
        ("smaller ones", "", "4 B", "1, 1 at each turn of a loop"),
    ]
    console = Console(width=150, file=io.StringIO())
    show([fits, Compiled(error="Ran out of memory", **common)], console)
    text = console.file.getvalue()
    assert "17.2 GB" in text and "does not fit" in text and "Ran out of memory" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--event-shape", "0"], r"event_shape=\(0,\): each must be at least 1"),
        (["--run-dir", "x"], "--run-dir='x': nothing is run: remove it"),
        (["--output", "x.txt"], "output='x.txt': must end in .json"),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(ValueError, match=message):
        main(["digits", *argv])


@pytest.mark.parametrize("name", ["v4:2x2", "v5e", "v5e:", "v5e:axb"])
def test_an_unknown_target_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}': must be v5e or v6e, and a slice of it: 'v5e:"):
        find_target(name)


def test_a_slice_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="'v5e:32x32': the largest slice has 256 devices"):
        find_target("v5e:32x32")


def test_a_mesh_that_does_not_divide_is_refused(here):
    with pytest.raises(ValueError, match="model_devices=3: must divide 4, the number of devices"):
        compiled(CONFIG, (16,), here, replace(OPTIONS, model_devices=3))
    odd = replace(CONFIG, model=replace(MODEL, width=63))
    with pytest.raises(ValueError, match="model_devices=2: must divide 63, the length of decoder"):
        compiled(odd, (16,), here, OPTIONS)


@pytest.mark.skipif(COMPILER, reason="the compiler of TPUs is installed")
def test_a_missing_compiler_is_named():
    with pytest.raises(ValueError, match=r"is not installed: pip install 'jax\[tpu\]=="):
        find_target("v5e:2x2")


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="needs the compiler of TPUs: pip install jax[tpu]")
def test_a_dictionary_is_compiled_for_tpus(tmp_path, capsys):
    output = tmp_path / "programs.json"
    argv = ["digits", "--model.kind", "dictionary", "--model.width", "4096", "--event-shape", "64"]
    argv += ["--for", "v5e:2x2", "v5e:2x3", "--model-devices", "2", "--output", str(output)]
    with pytest.raises(ValueError, match="'v5e:2x3': INVALID_ARGUMENT"):
        main(argv)
    main([argument for argument in argv if argument != "v5e:2x3"])
    assert "v5e:2x2" in capsys.readouterr().out
    (program,) = json.loads(output.read_text())
    assert program["arguments"] > 4 * 3 * 4096 * 64 and not program["error"]
    tables = [one for one in program["collectives"] if one["kind"] == "all-gather"]
    assert all("[4096,64]" not in one["shapes"] for one in tables)
