"""The shapes and dtypes that each loss promises, as signatures that are checked at every call.

A signature names the axes. Axes that share a name must have the same size, and the result is
float32 whatever the dtype of the arguments. Only the tests need jaxtyping and beartype.
"""

import inspect

import jax
import jax.numpy as jnp
import pytest
from beartype import beartype
from jax import Array
from jaxtyping import Bool, Float32, Num, TypeCheckError, jaxtyped

from ae_jax import losses

Batch = Num[Array, "B *event"]
Like = Num[Array, "#B *#event"]  # broadcastable to a Batch
Levels = Num[Array, "B *event levels"]
Mixture = Num[Array, "B *event 3 components"]
Weights = Num[Array, "K B"]  # samples are the leading axis
Token = Num[Array, "2 K B"]
Samples = Num[Array, "K B *event"]
Row = Num[Array, "B"]
Mask = Bool[Array, "#B *#event"]
Rows = Bool[Array, "B"]
Each = Float32[Array, "B"]  # one number for each example
Event = Float32[Array, "*event"]
EachSample = Float32[Array, "K B"]
Scalar = Float32[Array, ""]

CHECKED = {}  # name of a loss -> the loss, checked


def checked(signature):
    CHECKED[signature.__name__] = jaxtyped(typechecker=beartype)(signature)
    return CHECKED[signature.__name__]


@checked
def mse(recon: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.mse(recon, x, where=where)


@checked
def mae(recon: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.mae(recon, x, where=where)


@checked
def huber(recon: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.huber(recon, x, where=where)


@checked
def bce(logits: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.bce(logits, x, where=where)


@checked
def gaussian_nll(mean: Batch, x: Batch, logvar: Like, where: Mask | None = None) -> Each:
    return losses.gaussian_nll(mean, logvar, x, where=where)


@checked
def continuous_bernoulli_nll(logits: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.continuous_bernoulli_nll(logits, x, where=where)


@checked
def poisson_nll(log_rate: Batch, x: Batch, where: Mask | None = None) -> Each:
    return losses.poisson_nll(log_rate, x, where=where)


@checked
def negative_binomial_nll(
    log_mean: Batch, x: Batch, log_dispersion: Like, where: Mask | None = None
) -> Each:
    return losses.negative_binomial_nll(log_mean, log_dispersion, x, where=where)


@checked
def beta_binomial_nll(
    log_alpha: Batch, log_beta: Batch, x: Batch, where: Mask | None = None
) -> Each:
    return losses.beta_binomial_nll(log_alpha, log_beta, x, where=where)


@checked
def categorical_nll(logits: Levels, x: Batch, where: Mask | None = None) -> Each:
    return losses.categorical_nll(logits, x, where=where)


@checked
def discretized_logistic_mixture_nll(params: Mixture, x: Batch, where: Mask | None = None) -> Each:
    return losses.discretized_logistic_mixture_nll(params, x, where=where)


@checked
def l1_sparsity(z: Batch, where: Mask | None = None) -> Each:
    return losses.l1_sparsity(z, where=where)


@checked
def sparsity_kl(activations: Batch, where: Rows | None = None) -> Scalar:
    return losses.sparsity_kl(activations, 0.1, where=where)


@checked
def gaussian_kl(
    mean: Batch, logvar: Batch, prior_mean: Like, prior_logvar: Like, where: Mask | None = None
) -> Each:
    return losses.gaussian_kl(mean, logvar, prior_mean, prior_logvar, where=where)


@checked
def batch_mean(values: Batch, where: Rows | None = None) -> Event:
    return losses.batch_mean(values, where=where)


@checked
def importance_bound(log_weight: Weights) -> Each:
    return losses.importance_bound(log_weight, groups=2, elbo_weight=0.1)


@checked
def normalized_weights(log_weight: Weights) -> EachSample:
    return losses.normalized_weights(log_weight, groups=2)


@checked
def vimco_signal(log_weight: Weights) -> EachSample:
    return losses.vimco_signal(log_weight, groups=2)


@checked
def with_score(bound: Row, signal: Weights, log_posterior: Weights) -> Each:
    return losses.with_score(bound, signal, log_posterior)


@checked
def scaled_path(z: Samples, token: Token) -> tuple[Samples, Token]:
    return losses.scaled_path(z, token)


@checked
def doubly_reparametrized(log_weight: Weights, token: Token) -> Each:
    return losses.doubly_reparametrized(log_weight, token, groups=2, elbo_weight=0.1)


def test_every_loss_has_a_signature():
    assert CHECKED.keys() == set(losses.__all__) - {"Reduction"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8"])
@pytest.mark.parametrize("event", [(), (3,), (4, 3), (4, 3, 1), (2, 1, 3, 2)], ids=str)
@pytest.mark.parametrize("loss", CHECKED)
def test_shapes_and_dtypes(loss, event, dtype):
    whole, one_row, one_column = (5, *event), (1, *event), (5, *(1 for _ in event))
    for like, mask in [(whole, None), (one_row, whole), (whole, one_column)]:
        shapes = {Batch: whole, Like: like, Mask | None: mask, Rows | None: mask and (5,)}
        shapes |= {Levels: (*whole, 6), Mixture: (*whole, 3, 2), Row: (5,)}
        shapes |= {Weights: (4, 5), Token: (2, 4, 5), Samples: (4, *whole)}
        arguments = {
            name: jax.ShapeDtypeStruct(shapes[kind], bool if name == "where" else dtype)
            for name, kind in inspect.get_annotations(CHECKED[loss]).items()
            if name != "return" and shapes[kind] is not None
        }
        jax.eval_shape(CHECKED[loss], **arguments)  # traced, which costs no compilation


@pytest.mark.parametrize("x", [jnp.zeros((5, 4)), jnp.zeros((4, 3)), jnp.zeros((5, 3, 1))])
def test_other_shapes_are_found(x):
    with pytest.raises(TypeCheckError):
        mse(jnp.zeros((5, 3)), x)


@pytest.mark.parametrize("result", [jnp.zeros(4), jnp.zeros((5, 1)), jnp.zeros(5, jnp.bfloat16)])
def test_a_result_that_breaks_the_promise_is_found(result, monkeypatch):
    monkeypatch.setattr(losses, "mse", lambda recon, x, where: result)
    with pytest.raises(TypeCheckError):
        mse(jnp.zeros((5, 3)), jnp.zeros((5, 3)))
