"""What programs are compiled with."""

import platform
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.devices import compilation
from ae_jax.devices import names as device
from ae_jax.devices.compilation import compiler_options
from ae_jax.models import Convolutional
from ae_jax.networks import ConvNet
from ae_jax.ops.convolution import conv
from ae_jax.training import make_plan

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="about programs for the CPU")


def handed_over(program):
    """Whether a convolution of the program is in a fusion that YNNPACK runs."""
    text = program.as_text()
    names = [line.split("calls=")[1].split(",")[0] for line in text.splitlines() if "__ynn" in line]
    bodies = {part.strip().split(" ", 1)[0]: part for part in text.split("\n\n")}
    return any("convolution(" in bodies[name] for name in names)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="seen to be handed over on x86-64 only")
def test_convolutions_stay_with_xla_and_are_the_same():
    x, kernel = jnp.ones((32, 14, 14, 16)), jnp.full((3, 3, 16, 32), 0.01)
    plain = jax.jit(conv).lower(x, kernel).compile()
    ours = jax.jit(conv, compiler_options=compiler_options()).lower(x, kernel).compile()
    assert handed_over(plain)  # once XLA keeps them by itself, the option can go
    assert not handed_over(ours)
    np.testing.assert_allclose(ours(x, kernel), plain(x, kernel), rtol=1e-5)


def test_the_program_of_fit_is_compiled_with_them():
    ae = Convolutional(network=ConvNet(filters=(16, 16))).build((8, 8, 1))
    data = {"x": np.zeros((16, 8, 8, 1), np.uint8)}
    program = make_plan(ae, data, epochs=1, optimizer=optax.sgd(0.1), batch_size=8)
    assert "convolution(" in program.loop.as_text()
    assert not handed_over(program.loop)


def test_convolutions_in_bfloat16_are_those_of_onednn():
    """Those of a whole training step: one by way of float32 takes 6 times as long."""
    narrow = "avx2" in device.cpu_flags() and "avx512f" not in device.cpu_flags()
    if narrow or compilation.ONEDNN not in compiler_options(half_convolutions=True):
        pytest.skip("this XLA, or this CPU, has no convolution in bfloat16")
    ae = replace(
        Convolutional(network=ConvNet(filters=(16, 32))).build((16, 16, 1)), dtype=jnp.bfloat16
    )
    data = {"x": np.zeros((16, 16, 16, 1), np.uint8)}
    program = make_plan(ae, data, epochs=1, optimizer=optax.sgd(0.1), batch_size=8)
    text = program.loop.as_text()
    calls = [line for line in text.splitlines() if 'target="__onednn$convolution"' in line]
    assert calls and all("= (bf16[" in line for line in calls)
    assert " convolution(" not in text


def test_only_convolutions_in_bfloat16_call_for_them(monkeypatch):
    asked, convolves = [], []
    monkeypatch.setattr(compilation, "compiler_options", lambda **given: asked.append(given) or {})
    image, kernel = jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 8, 16))
    for fn, args in ((jnp.matmul, (kernel[0, 0].T, kernel[0, 0])), (conv, (image, kernel))):
        for dtype in (jnp.float32, jnp.bfloat16):
            lowered = jax.jit(fn).lower(*(a.astype(dtype) for a in args))
            compilation.compile_program(lowered)
            convolves.append("stablehlo.convolution" in lowered.as_text())
    assert convolves == [False, False, True, True]
    assert [given["half_convolutions"] for given in asked] == [False, False, False, True]


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    known = compiler_options()
    monkeypatch.setattr(compilation, "YNNPACK", "xla_cpu_of_another_version")
    assert compiler_options() == {k: v for k, v in known.items() if "ynn" not in k}


def test_the_users_own_flags_come_first(monkeypatch):
    ours = compiler_options()
    monkeypatch.setenv("XLA_FLAGS", f"--{compilation.YNNPACK}=individual_dot")
    assert compiler_options() == {k: v for k, v in ours.items() if k != compilation.YNNPACK}


def test_each_kind_of_cpu_has_a_cache(tmp_path, monkeypatch):
    monkeypatch.delenv(compilation.VARIABLE, raising=False)
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")

    def folder(told):
        (tmp_path / "cpuinfo").write_text(told)
        return compilation.compilation_cache_dir()

    one = folder("processor: 0\nflags : avx2\n")
    assert one == folder("processor: 1\nflags : avx2\n") != folder("flags : avx2 avx512f\n")
    assert folder("Features : asimd\n") not in (one, folder(""))
    nameless = folder("")
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert folder("") != nameless and one == folder("flags : avx2\n")
    monkeypatch.setenv(compilation.VARIABLE, "gs://bucket/cache")
    assert folder("") == "gs://bucket/cache"


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc keeps")
def test_freed_memory_goes_back_to_the_system():
    """It keeps every hundredth piece, so that free memory is not at the end of the heap."""
    script = """
import os
from pathlib import Path
from ae_jax.devices.compilation import release_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
pieces = [bytes(1000) for _ in range(100_000)]
held = pieces[::100]
full = resident()
del pieces
freed = full - resident()
release_freed_memory()
print(freed, full - resident())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    freed, released = map(int, done.stdout.split())
    assert freed < 20e6 and released > 80e6
