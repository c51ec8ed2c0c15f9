"""Every variant keeps every promise: each property for every row of the table.

The mathematics that sets the families apart is in `test_families`.
"""

import json
from functools import cache, cached_property, partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.bottlenecks import Bottleneck
from ae_jax.core import by_path, init_state, reconstruction
from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.likelihoods import Error, Likelihood
from ae_jax.likelihoods.error import Loss
from ae_jax.models import Dictionary, Ladder, Model
from ae_jax.models.corruption import NoiseKind
from ae_jax.models.penalties import Penalty
from ae_jax.networks import MLP, Network
from ae_jax.priors import Prior, StandardNormal
from ae_jax.sparsifiers import AnySparsifier
from ae_jax.spec import from_dict, to_dict
from ae_jax.storage.export import export, load_exported
from ae_jax.storage.runs import Run, load_run
from ae_jax.training import make_train_step
from tests.models.table import ONLY, SHAPES, VARIANTS, network_of

IDEAS = {"vanilla-deep", "sparse-kl", "vae-free-bits", "ae-denoising-vae"}  # each once
IDEAS |= {"ladder-batch-norm", "conditional", "m2", "dictionary-matryoshka"}
NETWORKS = {"conv", "vanilla-gru", "dictionary", "crosscoder", "transcoder"}  # likewise
LONG = {
    name for name, spec in VARIANTS.items() if network_of(spec) not in (MLP, Ladder, Dictionary)
}
LONG -= NETWORKS | {"ae-recurrent-denoising-vae"}
LONG |= {"vae-continuous", "vae-beta-binomial", "iwae-categorical", "ae-full-kl", "ae-radial"}
LONG |= {"ae-maf-maf", "ae-planar", "vae-gaussian", "ae-denoising-vae"}
LONG |= {"vanilla", "vanilla-mae", "vanilla-huber", "ae-contractive-vae", "vae-gaussian"}
LONG |= {"svae-stl", "poincare-dreg", "ladder", "ladder-skip", "conditional-learned"}
LONG |= {"ae-hamiltonian-iwae", "ae-full-realnvp", "vae-mixture", "vae-poisson"}
LONG |= {"denoising-mse", "denoising-masking", "denoising-salt", "ae-tied-denoiser"}

TX = optax.chain(optax.trace(decay=0.0), optax.scale(-0.1))  # whose state is the gradient
LIMITS = {"real": (-20.0, 20.0), "unit_interval": (0.0, 1.0), "bytes": (0.0, 1.0)}
LIMITS["counts"] = (0.0, 1e4)
ROWS, REAL = 16, 10  # of four devices the last has padding only


class Case:
    """A variant at one event shape, with a batch, and its train step, which compiles once."""

    def __init__(self, name, numpy_state):
        self.spec = VARIANTS[name]
        self.shape = SHAPES[network_of(self.spec)][0]
        self.ae = self.spec.build(self.shape)
        states = [numpy_state(self.ae, TX, seed) for seed in range(2)]
        for name in {"batch_stats", "statistics"} & states[0].model_state.keys():
            # A variance or a scale of 0 would magnify rounding.
            ones = {name: jax.tree.map(jnp.ones_like, states[0].model_state[name])}
            states = [s.replace(model_state={**s.model_state, **ones}) for s in states]
        self.state, *_ = self.states = states
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(ROWS, *self.shape))
        x[REAL:] = 1.0
        if self.ae.support in ("bytes", "counts"):
            x = np.round(255 * x) / (255 if self.ae.support == "bytes" else 1)
        self.batch = {"x": jnp.float32(x), "mask": jnp.float32(np.arange(ROWS) < REAL)}
        if "length" in self.ae.columns:
            self.batch["length"] = jnp.int32(rng.integers(1, self.shape[0] + 1, ROWS))
        self.batch["label"] = jnp.int32(rng.integers(-1 if self.guesses else 0, 3, ROWS))
        for name in [name for name in self.ae.reads if name != "label"]:
            marked = rng.choice([-1.0, 0.0, 1.0], size=(ROWS, *self.ae.columns[name]))
            self.batch[name] = jnp.float32(marked)
        self.cut = {name: column[:REAL] for name, column in self.batch.items() if name != "mask"}
        self.step = make_train_step(self.ae, TX)
        self.jitted = jax.jit(self.step)

    @property
    def guesses(self):
        """Whether it finds out labels that are unknown."""
        return self.spec.kind == "semi_supervised"

    @cached_property
    def stepped(self):
        return self.jitted(self.state, self.batch)

    @property
    def noisy(self):
        """Whether it draws noise, which under pmap each device does for itself."""
        if isinstance(self.spec, Dictionary):
            return self.spec.sampled_prefixes > 0
        if not hasattr(self.spec, "parts"):
            return self.ae.method("log_weight") is not None
        skeleton = self.spec.parts()
        probes = any(getattr(penalty, "probes", None) for penalty in skeleton.penalties)
        return bool(skeleton.corruption or skeleton.bottleneck.stochastic or probes)


@pytest.fixture(scope="module")
def case(numpy_state):
    return cache(lambda name: Case(name, numpy_state))


def variants(quick):
    """The whole table; rows that are not `quick` are in the slow group."""
    slow = pytest.mark.slow
    return pytest.mark.parametrize(
        "name", [n if n in quick else pytest.param(n, marks=slow) for n in VARIANTS]
    )


every = pytest.mark.parametrize("name", VARIANTS)
most = variants(VARIANTS.keys() - LONG)
few = variants(IDEAS | NETWORKS)
fewest = variants(IDEAS)


def gradient(state):
    """Of each player."""
    return [trace for _, trace in optax.tree_utils.tree_get_all_with_path(state.opt_state, "trace")]


def assert_same(got, want):
    """Gradients and metrics of two steps agree."""
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-6)
    jax.tree.map(close, gradient(got[0]), gradient(want[0]))
    jax.tree.map(close, got[1], want[1])


def test_the_table_has_every_variant_and_every_part():
    for model in get_args(Model):
        networks = {network_of(spec) for spec in VARIANTS.values() if type(spec) is model}
        assert networks == ONLY.get(model, set(get_args(Network))), model
    skeletons = [spec.parts() for spec in VARIANTS.values() if hasattr(spec, "parts")]
    assert {type(s.likelihood) for s in skeletons} == set(get_args(Likelihood))
    assert {type(s.bottleneck) for s in skeletons} == set(get_args(Bottleneck))
    assert {type(s.prior) for s in skeletons} == set(get_args(Prior))
    assert {type(p) for s in skeletons for p in s.penalties} == set(get_args(Penalty))
    dictionaries = [spec for spec in VARIANTS.values() if isinstance(spec, Dictionary)]
    assert {type(d.sparsifier) for d in dictionaries} == set(get_args(AnySparsifier))
    assert {s.corruption.noise for s in skeletons if s.corruption} == set(get_args(NoiseKind))
    errors = [s.likelihood for s in skeletons if isinstance(s.likelihood, Error)]
    assert {error.loss for error in errors} == set(get_args(Loss))


@every
def test_a_specification_goes_through_json(name):
    spec = VARIANTS[name]
    for each in (spec, spec.parts() if hasattr(spec, "parts") else spec):
        again = from_dict(Model, json.loads(json.dumps(to_dict(each))))
        assert again == each and type(again) is type(each)


@few
def test_every_event_shape_is_encoded_and_decoded(name):
    spec = VARIANTS[name]
    for shape in SHAPES[network_of(spec)]:
        if name == "conv-floor" and min(shape[:2]) < 4:
            continue  # halved twice, rounding down, they are gone
        if name == "conditional-pixels" and shape != (4, 3):
            continue  # its condition has the shape of x
        ae, x = spec.build(shape), jax.ShapeDtypeStruct((3, *shape), np.uint8)

        def both(x, ae=ae):
            variables = init_state(ae, TX, jax.random.key(0)).variables
            given = {name: jnp.zeros((3, *ae.columns[name]), jnp.int32) for name in ae.given}
            z = ae.encode(variables, x, **given)
            return z, ae.features(variables, x, **given), ae.decode(variables, z, **given)

        z, features, recon = jax.eval_shape(both, x)
        for leaf in (leaves := jax.tree.leaves(z)):
            assert len(leaf.shape) > 1 and leaf.shape[0] == 3 and leaf.dtype == np.float32, shape
        numbers = 24 if isinstance(spec, Dictionary) else sum(leaf.size for leaf in leaves) // 3
        assert features.shape == (3, numbers), shape
        assert (recon.shape, recon.dtype) == ((3, *ae.target_shape), np.float32)


@most
def test_a_step_trains_every_parameter(name, case):
    case = case(name)
    moved, metrics = case.stepped
    assert moved.step == 1
    assert metrics.keys() == {"loss", *case.ae.objective}
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())
    still = [path for path, g in by_path(gradient(moved)).items() if not np.any(g)]
    assert still == []  # no layer is cut off


@most
@pytest.mark.parametrize("extreme", ["zeros", "largest", "smallest", "corners"])
def test_gradients_are_finite_at_extreme_inputs(name, extreme, case):
    """Of pixels, the ends of [0, 1]; of other values, those that no one has standardized."""
    case = case(name)
    low, high = LIMITS[case.ae.support]
    corners = np.random.default_rng(1).choice([low, high], size=case.batch["x"].shape)
    x = {"zeros": 0 * corners, "largest": high + 0 * corners, "smallest": low + 0 * corners}
    batch = {**case.batch, "x": jnp.float32(x.get(extreme, corners))}
    moved, metrics = case.jitted(case.state, batch)
    for path, value in by_path((gradient(moved), moved.params, metrics)).items():
        assert np.isfinite(value).all(), path


@every
def test_models_of_the_data_can_be_sampled_and_weighed(name):
    """Those with a stochastic bottleneck, whatever wraps them; the others have no such method.

    Quantiles are known of the standard normal prior, and KL divergences of each latent where the
    posterior is a Gaussian too.
    """
    spec = VARIANTS[name]
    shape = SHAPES[network_of(spec)][0]
    ae, x = spec.build(shape), jax.ShapeDtypeStruct((3, *shape), np.float32)
    calls = ("log_weight", "posterior_kl", "prior_quantile", "sample")
    if isinstance(spec, Dictionary):
        assert all(ae.method(call) is None for call in calls)
        return
    if not hasattr(spec, "parts"):
        assert ae.method("log_weight") is not None and ae.method("sample") is not None
        return
    if not spec.parts().bottleneck.stochastic:
        assert all(ae.method(call) is None for call in calls)
        return
    skeleton = spec.parts()
    latent_dim = skeleton.bottleneck.latent_dim
    normal = isinstance(skeleton.prior, StandardNormal)
    assert (ae.method("prior_quantile") is not None) == normal
    exact = skeleton.bottleneck.kind in skeleton.prior.exact_kl
    exact = exact and hasattr(skeleton.prior, "latent_kl")  # of each latent alone
    assert (ae.method("posterior_kl") is not None) == exact
    u = jax.ShapeDtypeStruct((5, latent_dim), np.float32)

    def everything(x, u):
        variables = init_state(ae, TX, jax.random.key(0)).variables
        call = partial(ae.apply, variables)
        rngs = {"latent": jax.random.key(1)}
        given = {name: jnp.zeros((5, *ae.columns[name]), jnp.int32) for name in ae.given}
        of_x = {name: column[:3] for name, column in given.items()}
        drawn = call(5, rngs=rngs, method="sample", **given)
        return {
            "log_weight": call(x, rngs=rngs, method="log_weight", **of_x),
            "z": drawn["z"],
            "recon": reconstruction(drawn),
            "x": drawn["x"],
            "kl": call(x, method="posterior_kl", **of_x) if exact else jnp.zeros((3, latent_dim)),
            "quantile": call(u, method="prior_quantile") if normal else u,
        }

    shapes = {name: leaf.shape for name, leaf in jax.eval_shape(everything, x, u).items()}
    latents = {"z": (5, latent_dim), "kl": (3, latent_dim), "quantile": (5, latent_dim)}
    assert shapes == {"log_weight": (3,), "recon": (5, *shape), "x": (5, *shape), **latents}


@few
def test_reconstructions_are_decoded_latents(name, case):
    case = case(name)
    ae, variables, x = case.ae, case.state.variables, case.cut["x"]
    columns = ae.encoder_columns(case.cut)
    given = {name: columns[name] for name in ae.given}

    @jax.jit
    def everything(variables):
        outputs = ae.outputs(variables, case.cut)
        z = ae.encode(variables, x, **columns)
        whole = ae.reconstruct(variables, x, **columns)
        return outputs, z, ae.decode(variables, z, **given), whole

    outputs, z, recon, whole = everything(variables)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, z, outputs["z"])
    close(whole, recon)
    close(recon, reconstruction(outputs))
    assert recon.shape[1:] == ae.target_shape and recon.dtype == np.float32


@variants({"sparse-kl", "ae-denoising-vae"})
def test_jit_equals_eager(name, case):
    case = case(name)
    assert_same(case.stepped, case.step(case.state, case.batch))


@few
def test_a_padded_batch_equals_the_cut_one(name, case):
    """With its noise, which is drawn row by row, so that the first rows have the same."""
    case = case(name)
    if getattr(case.spec, "probes", None):
        pytest.skip("the probes of all rows are drawn together")
    assert_same(case.jitted(case.state, case.cut), case.stepped)


@variants({"vanilla-deep", "vae-free-bits"})
def test_vmap_over_seeds_equals_a_loop(name, case):
    case = case(name)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *case.states)
    together = jax.jit(jax.vmap(case.step, in_axes=(0, None)))(stacked, case.batch)
    for i, state in enumerate(case.states):
        assert_same(jax.tree.map(lambda a, i=i: a[i], together), case.jitted(state, case.batch))


@few
def test_a_batch_split_over_devices_equals_one_device(name, case):
    """Noise is drawn for the whole batch: stochastic models agree too."""
    case, mesh = case(name), data_mesh(4)
    state = jax.device_put(case.state, replicated(mesh))
    batch = jax.device_put(case.batch, split(mesh))
    sharded = jax.jit(case.step, out_shardings=replicated(mesh))
    assert_same(sharded(state, batch), case.stepped)


@fewest
def test_pmap_equals_one_device(name, case):
    case = case(name)
    if case.noisy:
        pytest.skip("each device draws its own noise")
    step = make_train_step(case.ae, TX, axis_name="data")
    batch = jax.tree.map(lambda a: a.reshape(4, -1, *a.shape[1:]), case.batch)
    mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)
    assert_same(mapped(case.state, batch), case.stepped)


def write_run(case, path):
    described = {"model": to_dict(case.spec), "event_shape": list(case.shape), "dtype": "float32"}
    run = Run.create(path, {**described, "seed": 0})
    run.checkpoints().save(case.state)
    return path


def assert_exactly(got, want):
    """Two trees of arrays with the same names, shapes, dtypes and bits."""
    got, want = by_path(got), by_path(want)
    assert got.keys() == want.keys()
    for path, leaf in want.items():
        assert (got[path].shape, got[path].dtype) == (leaf.shape, leaf.dtype), path
        np.testing.assert_array_equal(got[path], leaf)


@few
def test_a_run_is_loaded_as_it_was_saved(name, case, tmp_path):
    case = case(name)
    loaded = load_run(write_run(case, tmp_path / "run"))
    assert loaded.ae.spec == case.spec and loaded.ae.event_shape == case.shape
    assert_exactly(loaded.state.params, case.state.params)


@fewest
def test_an_exported_model_is_loaded_as_it_was(name, case, tmp_path):
    case = case(name)
    folder = export(write_run(case, tmp_path / "run"), tmp_path / "deep" / "model")
    loaded = load_exported(folder)
    variables, ae = case.state.variables, case.ae
    if ae.exported is not None:
        ae, variables = ae.exported(variables)
    assert loaded.ae.spec == ae.spec and loaded.ae.event_shape == case.shape
    assert_exactly(loaded.variables, variables)
    calls = {f"{call}.stablehlo" for call in ("encode", "decode", "reconstruct")}
    files = {"model.safetensors", "config.json", "README.md", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == files | calls


@variants({"ae-denoising-vae"})
def test_exported_programs_are_the_same_functions(name, case, tmp_path):
    """For any number of rows, of floats in the units of training."""
    case = case(name)
    if case.ae.given:
        pytest.skip("programs of conditional models take columns too")
    ae, variables = case.ae, case.state.variables
    folder = export(write_run(case, tmp_path / "run"), tmp_path / "model")
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    for call in ("encode", "decode", "reconstruct"):
        program = jax.export.deserialize(bytearray((folder / f"{call}.stablehlo").read_bytes()))
        for rows in (1, 5, ROWS):
            x = case.batch["x"][:rows]
            given = ae.encode(variables, x) if call == "decode" else x
            jax.tree.map(close, program.call(given), getattr(ae, call)(variables, given))
