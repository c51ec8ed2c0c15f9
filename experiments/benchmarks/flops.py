"""Floating-point operations of a function, counted in its jaxpr.

Only products and convolutions count, as usual for "model FLOPs": two for each multiply-add. XLA's
own count would include the body of a loop only once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.interpreters import partial_eval


def count_flops(fn: Callable[..., Any], *args: Any) -> int:
    """FLOPs of ``fn(*args)``; a while loop counts once, a conditional by its cheapest branch."""
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    # Without unused results: a custom_vjp also computes the gradient of the data.
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _count(needed)


def _count(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left, out = equation.invars[0].aval, equation.outvars[0].aval
        return 2 * out.size * math.prod(left.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval, equation.outvars[0].aval
        features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2 * out.size * kernel.size // features
    if name == "cond":
        return min(_count(branch.jaxpr) for branch in params["branches"])
    inner = sum(_count(getattr(value, "jaxpr", value)) for value in _jaxprs(params))
    return inner * params["length"] if name == "scan" else inner


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    return [value for value in params.values() if hasattr(getattr(value, "jaxpr", value), "eqns")]
