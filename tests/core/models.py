"""Small models of a user's own, one for each thing that the core lets a model do.

They are proofs of the core, not families of the library. `CASES` is the table that the tests of
properties go over.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from ae_jax.core import Autoencoder, BatchTerm, Player, Term
from ae_jax.losses import batch_mean, gaussian_kl, mse

ROWS, WIDTH = 22, 6
BATCH = 8  # the last batch of an epoch has 6 rows


def squared_error(outputs: Any, batch: Any) -> Array:
    return mse(outputs["recon"], batch["x"])


def global_rows(rows: Array, axis_name: str | None) -> Array:
    """The rows of all devices."""
    return rows if axis_name is None else lax.all_gather(rows, axis_name, tiled=True)


# Vector quantization with a codebook of moving averages (van den Oord et al., 2017, appendix A).


def spread_rows(rows: Array, real: Array, count: int) -> Array:
    """`count` real rows: the first, then each time the one farthest from all before it."""

    def farthest(distance: Array, _: None) -> tuple[Array, Array]:
        row = rows[jnp.argmax(jnp.where(real > 0, distance, -1.0))]
        return jnp.minimum(distance, jnp.square(rows - row).sum(1)), row

    # Made from the rows, so that under shard_map it varies over devices as they do.
    distance = 0.0 * rows[:, 0] + jnp.inf
    return lax.scan(farthest, distance, None, length=count)[1]


def distances(rows: Array, codes: Array) -> Array:
    return jnp.square(rows[:, None] - codes[None]).sum(-1)  # [B, K]


class Codebook(nn.Module):
    """K codes as moving averages of the latents assigned to them; no gradient reaches them.

    The first batch starts them by k-means. A code that no row chose in `patience` batches is moved
    to a badly quantized row, and its moving sums and counts with it.
    """

    codes: int
    dim: int
    decay: float = 0.9
    patience: int = 2

    def setup(self) -> None:
        codes, dim = self.codes, self.dim
        self.vectors = self.variable("codebook", "vectors", jnp.zeros, (codes, dim))
        self.sums = self.variable("codebook", "sums", jnp.zeros, (codes, dim))
        self.counts = self.variable("codebook", "counts", jnp.zeros, (codes,))
        self.idle = self.variable("codebook", "idle", jnp.zeros, (codes,), jnp.int32)
        self.started = self.variable("codebook", "started", jnp.zeros, (), jnp.bool_)

    def __call__(self, z: Array, mask: Array | None, axis_name: str | None) -> tuple[Array, Array]:
        """The code of each row, and its index; in training the codebook moves after that."""
        if not self.is_mutable_collection("codebook") or self.is_initializing():
            index = self.nearest(z)
            return self.vectors.value[index], index
        rows = lax.stop_gradient(z).astype(jnp.float32)
        real = jnp.ones(len(rows)) if mask is None else mask
        rows, real = global_rows(rows, axis_name), global_rows(real, axis_name)
        self.start(rows, real)
        index = self.nearest(z)
        quantized = self.vectors.value[index]
        self.move(rows, real)
        return quantized, index

    def nearest(self, z: Array) -> Array:
        return jnp.argmin(distances(z, self.vectors.value), axis=1)

    def totals(self, rows: Array, real: Array, codes: Array) -> tuple[Array, Array]:
        index = jnp.argmin(distances(rows, codes), axis=1)
        sums = jax.ops.segment_sum(rows * real[:, None], index, self.codes)
        return sums, jax.ops.segment_sum(real, index, self.codes)

    def start(self, rows: Array, real: Array) -> None:
        vectors = spread_rows(rows, real, self.codes)
        for _ in range(2):
            sums, counts = self.totals(rows, real, vectors)
            vectors = jnp.where(
                counts[:, None] > 0, sums / jnp.maximum(counts, 1.0)[:, None], vectors
            )
        counts, was = jnp.ones(self.codes), self.started.value
        self.vectors.value = jnp.where(was, self.vectors.value, vectors)
        self.sums.value = jnp.where(was, self.sums.value, vectors)
        self.counts.value = jnp.where(was, self.counts.value, counts)
        self.started.value = jnp.ones_like(was)

    def move(self, rows: Array, real: Array) -> None:
        old = self.vectors.value
        batch_sums, batch_counts = self.totals(rows, real, old)
        sums = self.decay * self.sums.value + (1 - self.decay) * batch_sums
        counts = self.decay * self.counts.value + (1 - self.decay) * batch_counts
        idle = jnp.where(batch_counts > 0, 0, self.idle.value + 1)
        # The worst rows, one for each code that is dead.
        error = jnp.where(real > 0, distances(rows, old).min(1), -1.0)
        dead = idle >= self.patience
        order = lax.top_k(error, self.codes)[1][jnp.cumsum(dead) - 1]
        revived = dead & (error[order] >= 0)
        sums = jnp.where(revived[:, None], rows[order], sums)
        counts = jnp.where(revived, 1.0, counts)
        self.vectors.value = sums / counts[:, None]
        self.sums.value, self.counts.value = sums, counts
        self.idle.value = jnp.where(revived, 0, idle)


class VQ(nn.Module):
    """The latents are the indices of codes; what probes read are the codes."""

    codes: int = 5
    patience: int = 2

    def setup(self) -> None:
        self.encoder = nn.Dense(2)
        self.codebook = Codebook(self.codes, 2, patience=self.patience)
        self.decoder = nn.Dense(WIDTH)

    def __call__(self, x: Array, mask: Array | None = None, axis_name: str | None = None) -> Any:
        z = self.encoder(x)
        code, index = self.codebook(z, mask, axis_name)
        straight = z + lax.stop_gradient(code - z)
        return {"z": z, "code": code, "index": index, "recon": self.decoder(straight)}

    def encode(self, x: Array) -> Array:
        return self.codebook.nearest(self.encoder(x))

    def decode(self, index: Array) -> Any:
        return {"recon": self.decoder(self.codebook.vectors.value[index])}

    def features(self, x: Array) -> Array:
        return self.codebook.vectors.value[self.encode(x)]


def usage(outputs: Any, batch: Any, axis_name: str | None) -> Array:
    """Perplexity of the codes of the whole batch."""
    chosen = jax.nn.one_hot(outputs["index"], 5)
    share = batch_mean(chosen, where=batch.get("mask"), axis_name=axis_name)
    return jnp.exp(-jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-9)), 0.0).sum())


def vq(patience: int = 2) -> Autoencoder:
    def commitment(outputs: Any, batch: Any) -> Array:
        return mse(outputs["z"], lax.stop_gradient(outputs["code"]))

    return Autoencoder(
        VQ(patience=patience),
        {
            "mse": Term(squared_error),
            "commitment": Term(commitment, 0.25),
            "usage": BatchTerm(usage, None),
        },
        (WIDTH,),
        columns={"mask": (), "axis_name": ()},
    )


# Batch normalization.


class BatchNorm(nn.Module):
    """Its statistics are of the real rows of the whole batch."""

    def setup(self) -> None:
        self.encoder, self.latent, self.decoder = nn.Dense(7), nn.Dense(3), nn.Dense(WIDTH)

    def __call__(self, x: Array, mask: Array | None = None, axis_name: str | None = None) -> Any:
        rows = None if mask is None else mask[:, None]
        z = self.normalized(x, not self.is_mutable_collection("batch_stats"), rows, axis_name)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        return self.normalized(x, True)

    @nn.compact
    def normalized(
        self, x: Array, running: bool, mask: Array | None = None, axis_name: str | None = None
    ) -> Array:
        norm = nn.BatchNorm(momentum=0.9, axis_name=axis_name, name="norm")
        h = norm(self.encoder(x), use_running_average=running, mask=mask)
        return self.latent(jnp.tanh(h))

    def decode(self, z: Array) -> Any:
        return {"recon": self.decoder(z)}


def batch_norm() -> Autoencoder:
    def centered(outputs: Any, batch: Any, axis_name: str | None) -> Array:
        mean = batch_mean(outputs["z"], where=batch.get("mask"), axis_name=axis_name)
        return jnp.square(mean).sum()

    return Autoencoder(
        BatchNorm(),
        {"mse": Term(squared_error), "centered": BatchTerm(centered, 0.1)},
        (WIDTH,),
        columns={"mask": (), "axis_name": ()},
    )


# A dictionary whose rows have norm 1 and whose dead units are drawn again, after the update.


class Dictionary(nn.Module):
    units: int = 6

    def setup(self) -> None:
        self.encoder = nn.Dense(self.units)
        self.atoms = self.param("atoms", nn.initializers.normal(), (self.units, WIDTH))
        self.idle = self.variable("usage", "idle", jnp.zeros, (self.units,), jnp.int32)

    def __call__(self, x: Array, mask: Array | None = None, axis_name: str | None = None) -> Any:
        z = self.encode(x)
        if self.is_mutable_collection("usage") and not self.is_initializing():
            fires = (z > 0) if mask is None else (z > 0) & (mask[:, None] > 0)
            fired = global_rows(fires, axis_name).any(0)
            self.idle.value = jnp.where(fired, 0, self.idle.value + 1)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        return nn.relu(self.encoder(x) - 0.9)

    def decode(self, z: Array) -> Any:
        return {"recon": z @ self.atoms}


def resample(state: Any, batch: Any, key: Array, axis_name: str | None) -> Any:
    """Rows of norm 1; a unit that was idle for two steps gets a random row and no moments."""
    atoms, idle = state.params["atoms"], state.model_state["usage"]["idle"]
    dead = idle >= 2
    atoms = jnp.where(dead[:, None], jax.random.normal(key, atoms.shape), atoms)
    atoms = atoms / jnp.linalg.norm(atoms, axis=1, keepdims=True)

    def moment(path: Any, leaf: Array) -> Array:
        ours = "atoms" in jax.tree_util.keystr(path)
        return jnp.where(dead[:, None], 0.0, leaf) if ours else leaf

    return state.replace(
        params={**state.params, "atoms": atoms},
        model_state={"usage": {"idle": jnp.where(dead, 0, idle)}},
        opt_state=jax.tree_util.tree_map_with_path(moment, state.opt_state),
    )


def dictionary() -> Autoencoder:
    l1 = Term(lambda o, b: o["z"].sum(1), 0.01)
    return Autoencoder(
        Dictionary(),
        {"mse": Term(squared_error), "l1": l1},
        (WIDTH,),
        columns={"mask": (), "axis_name": ()},
        after_update=resample,
    )


# Two players: reconstructions that a critic cannot tell from data.


class Adversarial(nn.Module):
    def setup(self) -> None:
        self.encoder, self.decoder = nn.Dense(3), nn.Dense(WIDTH)
        self.critic = nn.Sequential([nn.Dense(5), nn.tanh, nn.Dense(1)])

    def __call__(self, x: Array) -> Any:
        z = self.encode(x)
        recon = self.decode(z)["recon"]
        return {
            "z": z,
            "recon": recon,
            "real": self.critic(x)[:, 0],
            "fake": self.critic(recon)[:, 0],
        }

    def encode(self, x: Array) -> Array:
        return jnp.tanh(self.encoder(x))

    def decode(self, z: Array) -> Any:
        return {"recon": self.decoder(z)}


def adversarial() -> Autoencoder:
    return Autoencoder(
        Adversarial(),
        {
            "mse": Term(squared_error),
            "fool": Term(lambda o, b: nn.softplus(-o["fake"]), 0.1),
            "told": Term(
                lambda o, b: nn.softplus(-o["real"]) + nn.softplus(o["fake"]), 1.0, "critic"
            ),
            "margin": Term(lambda o, b: o["real"] - o["fake"], None, "critic"),
        },
        (WIDTH,),
        players={"critic": Player(("critic",), lambda tx: optax.chain(optax.clip(0.5), tx))},
    )


# Two levels of latents, the lower one given the upper one.


class Ladder(nn.Module):
    noise: bool = True

    def setup(self) -> None:
        self.up, self.low, self.high = nn.Dense(8), nn.Dense(6), nn.Dense(4)
        self.down, self.decoder = nn.Dense(3), nn.Dense(WIDTH)

    def __call__(self, x: Array) -> Any:
        h = jnp.tanh(self.up(x))
        outputs: dict[str, Any] = {"z": {}}
        for level, layer in (("low", self.low), ("high", self.high)):
            mean, logvar = jnp.split(layer(h), 2, axis=-1)
            z = mean
            if self.noise and self.has_rng("latent"):
                eps = jax.random.normal(self.make_rng("latent"), mean.shape, mean.dtype)
                z = mean + jnp.exp(0.5 * logvar) * eps
            outputs["z"][level] = z
            outputs |= {f"{level}_mean": mean, f"{level}_logvar": logvar}
        prior = self.down(outputs["z"]["high"])
        return {**outputs, "low_prior": prior, **self.decode(outputs["z"])}

    def encode(self, x: Array) -> dict[str, Array]:
        h = jnp.tanh(self.up(x))
        return {"low": self.low(h)[:, :3], "high": self.high(h)[:, :2]}

    def decode(self, z: Mapping[str, Array]) -> Any:
        return {"recon": self.decoder(jnp.concatenate([z["low"], z["high"]], axis=-1))}


def ladder(noise: bool = True) -> Autoencoder:
    return Autoencoder(
        Ladder(noise),
        {
            "nll": Term(squared_error),
            "kl_low": Term(
                lambda o, b: gaussian_kl(o["low_mean"], o["low_logvar"], o["low_prior"]), 0.1
            ),
            "kl_high": Term(
                lambda o, b: gaussian_kl(o["high_mean"], o["high_logvar"]),
                optax.linear_schedule(0.0, 0.1, 4),
            ),
        },
        (WIDTH,),
    )


# A conditional model: encoder and decoder know the label. Its network warms up with the step.


class Conditional(nn.Module):
    classes: int = 3

    def setup(self) -> None:
        self.encoder, self.decoder = nn.Dense(2), nn.Dense(WIDTH)

    def __call__(self, x: Array, label: Array, step: Array | int = 1000) -> Any:
        z = self.encode(x, label) * jnp.minimum(0.5 + step / 10.0, 1.0)
        return {"z": z, **self.decode(z, label)}

    def encode(self, x: Array, label: Array) -> Array:
        return self.encoder(self.beside(x, label))

    def decode(self, z: Array, label: Array) -> Any:
        return {"recon": self.decoder(self.beside(z, label))}

    def beside(self, x: Array, label: Array) -> Array:
        return jnp.concatenate([x, jax.nn.one_hot(label, self.classes, dtype=x.dtype)], axis=-1)


def conditional() -> Autoencoder:
    return Autoencoder(
        Conditional(),
        {"mse": Term(squared_error)},
        (WIDTH,),
        columns={"label": (), "step": ()},
        given=("label",),
    )


# A transcoder: its reconstructions are of another column, of another shape.

TARGET = (4, 2)


class Transcoder(nn.Module):
    def setup(self) -> None:
        self.encoder, self.decoder = nn.Dense(4), nn.Dense(8)

    def __call__(self, x: Array, y: Array) -> Any:
        z = self.encode(x)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        return jnp.tanh(self.encoder(x))

    def decode(self, z: Array) -> Any:
        return {"recon": self.decoder(z).reshape(-1, *TARGET)}


def transcoder() -> Autoencoder:
    return Autoencoder(
        Transcoder(),
        {"mse": Term(lambda o, b: mse(o["recon"], b["y"]))},
        (WIDTH,),
        columns={"y": TARGET},
        target="y",
    )


class Case(NamedTuple):
    ae: Autoencoder
    quiet: Autoencoder
    """Without noise: what depends on the shape of a batch only through its rows."""
    columns: tuple[str, ...] = ()
    """Of the data, beside x."""
    untrained: bool = False
    even: bool = False
    """Under pmap its devices must have equally many real rows (`nn.BatchNorm` assumes it)."""


def case(ae: Autoencoder, **options: Any) -> Case:
    return Case(ae, ae, **options)


CASES = {
    "vq": case(vq(), untrained=True),
    "batch-norm": case(batch_norm(), untrained=True, even=True),
    "dictionary": case(dictionary(), untrained=True),
    "two-player": case(adversarial()),
    "two-level": Case(ladder(), ladder(noise=False)),
    "conditional": case(conditional(), columns=("label",)),
    "transcoder": case(transcoder(), columns=("y",)),
}


def examples(case: Case, rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Data for a case: three clusters, and what else it reads."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, rows).astype(np.int32)
    x = rng.normal(size=(3, WIDTH))[label] + 0.3 * rng.normal(size=(rows, WIDTH))
    everything = {
        "label": label,
        "y": rng.integers(0, 256, (rows, *TARGET)).astype(np.uint8),
    }
    return {"x": np.float32(x), **{name: everything[name] for name in case.columns}}


def half(ae: Autoencoder) -> Autoencoder:
    return replace(ae, dtype=jnp.bfloat16)
