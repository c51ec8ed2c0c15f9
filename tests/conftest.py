"""Shared set-up: four CPU devices (for the parallel tests), and where the real data is."""

import gc
import os
import re
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ae_jax.core import TrainState, init_state, whole_optimizer

# In the background of a script, a shell starts the tests so that they ignore Ctrl-C: some send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update("jax_num_cpu_devices", 4)
# The suite compiles some thousand small programs and runs each once: it saves half of that time to
# leave out LLVM's most expensive passes, which change speed and not what is computed.
FLAGS = ["--xla_llvm_disable_expensive_passes=true", "--xla_backend_optimization_level=0"]
if jax.__version_info__ < (0, 11):  # later ones have no other emitter, nor the flag
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # leaves the user's alone
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])


def pytest_collection_finish():
    """Every module is loaded and stays: the garbage collector need not visit them again."""
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of prepared TFDS data sets (MNIST, CIFAR-10); skips where there is none."""
    default = Path(__file__).parents[2] / "shared" / "data" / "tfds"
    folder = Path(os.environ.get("AE_JAX_DATA", default))
    if not (folder / "mnist").is_dir():
        pytest.skip("no real data: set AE_JAX_DATA to a folder with TFDS's mnist")
    return folder


@pytest.fixture(scope="session")
def loops_that_sum_over_devices():
    """``compiled program -> names`` of its loops with an all-reduce: one at every turn."""

    def find(program) -> list[str]:
        text = program.as_text()
        parts = dict(re.findall(r"^%?([\w.-]+) \(.*\{\n((?:  .*\n)*)", text, re.MULTILINE))
        bodies = re.findall(r" while\(.*body=%?([\w.-]+)", text)
        assert parts and set(bodies) <= set(parts)
        return [body for body in bodies if "all-reduce(" in parts[body]]

    return find


@pytest.fixture(scope="session")
def numpy_state():
    """``(ae, tx, seed=0) -> TrainState`` with parameters drawn by NumPy.

    As good as `init_state` for most tests, and it compiles nothing: on a CPU each random draw of
    jax takes XLA longer to compile than the rest of a small model.
    """

    def make(ae, tx, seed=0) -> TrainState:
        rng = np.random.default_rng(seed)
        key = jax.random.key(seed)
        shapes = jax.eval_shape(lambda: init_state(ae, tx, key))

        def draw(shape):
            if len(shape) > 1:
                return rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
            return rng.uniform(0.0, 0.5, size=shape)  # positive biases: few dead units

        params = jax.tree.map(lambda s: jax.numpy.float32(draw(s.shape)), shapes.params)
        model_state = jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), shapes.model_state)
        step = jax.numpy.int32(0)
        return TrainState(step, key, params, model_state, whole_optimizer(ae, tx).init(params))

    return make


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """A compilation cache of the module's own: the same run, started again, compiles nothing."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for settings in (names, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is names:
            yield


@pytest.fixture
def largest_file():
    """``with largest_file(size)``: no file may grow beyond it, as on a disk that is full."""

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
