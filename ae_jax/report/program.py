"""A decoder as a short list of operations that a page can run (see `decoder.js`).

The function is traced once by jax. Calls are inlined, loops are unrolled, and everything that does
not depend on the latents is computed here. These operations on flat arrays remain:

    take(a, ...; index)       elements of the concatenated inputs, by number
    matmul(a, b)              [batch, rows, inner], [batch, inner, columns]
    conv(x, kernel)           [H, W, C], [h, w, C, F], with strides, dilations and padding
    NAME(a, b, ...)           elementwise, such as add or tanh; shorter operands are repeated

An operation that only moves elements (a transpose, a slice, padding, ...) is a `take`. Its index is
the result of that operation on the numbers of the elements.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal

from ae_jax.report.packed import pack

MOST_NUMBERS = 3_000_000
"""Weights and indices of one program: about 10 MB in the page."""
MOST_OPERATIONS = 10_000

CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}
CALLS |= {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
MOVES = {"reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "slice", "rev"}
MOVES |= {"concatenate", "pad", "split", "copy", "copy_p"}
BY_ELEMENT = {
    *("add", "sub", "mul", "div", "max", "min", "pow", "neg", "abs", "sign", "sqrt", "rsqrt"),
    *("exp", "expm1", "log", "log1p", "tanh", "asinh", "logistic", "sin", "cos", "square", "not"),
    *("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "select_n", "clamp"),
}


class UnsupportedError(ValueError):
    """A page cannot run the function; the message has the reason."""


class Traced(NamedTuple):
    """A value that the page computes: the number of its register, and its shape."""

    register: int
    shape: tuple[int, ...]


Value = Traced | Any
"""A value of the page, or an array of NumPy or jax."""


@dataclass(frozen=True)
class Operation:
    name: str
    inputs: tuple[int, ...]
    """Numbers of registers; ``~i`` is constant number i."""
    settings: dict[str, Any]


def translate(fn: Callable[[Any], Any], shape: Sequence[int]) -> dict[str, Any]:
    """The program of ``fn`` for a float32 input of `shape`, as JSON.

    Returns:
      ``{"constants": [array], "operations": [[name, inputs, settings]], "output": number}``.
      Register 0 is the flat input, and register i the flat result of operation i.

    Raises:
      UnsupportedError: `fn` uses other operations, or needs more than `MOST_NUMBERS` numbers or
        `MOST_OPERATIONS` operations.
    """
    shape = tuple(shape)
    closed = jax.make_jaxpr(fn)(jax.ShapeDtypeStruct(shape, np.float32))
    translator = _Translator()
    outputs = translator.run(closed.jaxpr, closed.consts, [Traced(0, shape)])
    if len(outputs) != 1 or not isinstance(outputs[0], Traced):
        raise UnsupportedError("its output does not depend on the latents")
    return translator.program(outputs[0].register)


@dataclass
class _Translator:
    operations: list[Operation] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    _numbers: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        values: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Value:
            if not isinstance(atom, Literal):
                return values[atom]
            aval: Any = atom.aval
            return np.asarray(atom.val, aval.dtype)

        for eqn in jaxpr.eqns:
            outputs = self.apply(eqn, [read(atom) for atom in eqn.invars])
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def apply(self, eqn: Any, values: list[Value]) -> Sequence[Value]:
        name, params = eqn.primitive.name, eqn.params
        if name == "platform_index":  # the default branch has plain operations
            platforms = params["platforms"]
            return [np.asarray(platforms.index(None) if None in platforms else 0)]
        if name in CALLS:
            names = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            return self._call(next(params[n] for n in names if n in params), values)
        if name == "cond" and not isinstance(values[0], Traced):
            branch = int(np.clip(values[0], 0, len(params["branches"]) - 1))
            return self._call(params["branches"][branch], values[1:])
        if not any(isinstance(value, Traced) for value in values):
            return _bind(eqn, values)
        if name == "scan":
            return self._scan(eqn, values)
        for output in eqn.outvars:
            if output.aval.dtype not in (np.float32, np.bool_):
                raise UnsupportedError(f"it computes {name} in {output.aval.dtype}")
        if name in MOVES:
            return self._move(values, lambda *arrays: _bind(eqn, arrays))
        shape = eqn.outvars[0].aval.shape
        return [self._compute(name, params, values, eqn.invars, shape)]

    def _compute(
        self, name: str, params: Any, values: list[Value], atoms: Any, shape: tuple[int, ...]
    ) -> Value:
        if name == "convert_element_type":
            if params["new_dtype"] == np.bool_:
                return self._by_element("ne", [values[0], np.float32(0)], shape)
            return values[0]  # true is 1 in the page
        if name == "integer_pow":
            return self._by_element("pow", [values[0], np.float32(params["y"])], shape)
        if name == "dot_general":
            return self._matmul(params["dimension_numbers"], values[0], values[1], shape)
        if name == "reduce_sum":
            return self._sum(params["axes"], values[0], shape)
        if name == "conv_general_dilated":
            return self._conv(params, values[0], values[1], shape)
        two_cases = name != "select_n" or atoms[0].aval.dtype == np.bool_
        if name in BY_ELEMENT and two_cases:
            return self._by_element(name, values, shape)
        raise UnsupportedError(f"it uses {name}, which the page cannot compute")

    def _call(self, jaxpr: Any, values: Sequence[Value]) -> list[Value]:
        consts = getattr(jaxpr, "consts", ())
        return self.run(getattr(jaxpr, "jaxpr", jaxpr), consts, values)

    def _scan(self, eqn: Any, values: list[Value]) -> list[Value]:
        closed, length = eqn.params["jaxpr"], eqn.params["length"]
        inner = closed.jaxpr
        if length * len(inner.eqns) > MOST_OPERATIONS:
            raise UnsupportedError(
                f"it has a loop of {length} steps, more than the page can unroll"
            )
        # Arrays that run over the steps have one more axis outside of the loop than inside.
        sizes = zip(inner.invars, values, strict=True)
        xs = sum(len(a.aval.shape) != len(value.shape) for a, value in sizes)
        outer = zip(inner.outvars, eqn.outvars, strict=True)
        carried = sum(a.aval.shape == b.aval.shape for a, b in outer)
        first = len(values) - xs
        fixed, carry = values[: first - carried], values[first - carried : first]
        rows: list[list[Value]] = [[] for _ in range(len(eqn.outvars) - carried)]
        steps = range(length)
        for step in reversed(steps) if eqn.params["reverse"] else steps:
            inputs = [self._move([x], lambda a, i=step: [a[i]])[0] for x in values[first:]]
            outputs = self._call(closed, [*fixed, *carry, *inputs])
            carry = outputs[:carried]
            for row, output in zip(rows, outputs[carried:], strict=True):
                row.append(output)
        if eqn.params["reverse"]:
            rows = [row[::-1] for row in rows]
        return [*carry, *(self._move(row, lambda *parts: [np.stack(parts)])[0] for row in rows)]

    def _move(self, values: Sequence[Value], fn: Callable[..., Sequence[Any]]) -> list[Value]:
        """The arrays ``fn(*values)`` for a function that only moves elements."""
        if not any(isinstance(value, Traced) for value in values):
            return list(fn(*values))
        ends = np.cumsum([math.prod(value.shape) for value in values])
        numbers = [
            np.arange(end - math.prod(value.shape), end, dtype=np.int32).reshape(value.shape)
            for end, value in zip(ends, values, strict=True)
        ]
        return [self._take(values, np.asarray(index)) for index in fn(*numbers)]

    def _take(self, values: Sequence[Value], index: np.ndarray) -> Traced:
        inputs, flat = tuple(map(self._reference, values)), index.ravel()
        if len(inputs) == 1:
            source = self.operations[inputs[0] - 1] if inputs[0] > 0 else None
            if np.array_equal(flat, np.arange(math.prod(values[0].shape))):
                return Traced(inputs[0], index.shape)
            if source is not None and source.name == "take":  # two consecutive ones are merged
                inputs, flat = source.inputs[1:], self.constants[~source.inputs[0]][flat]
        return self._emit("take", (self._constant(flat), *inputs), index.shape)

    def _by_element(self, name: str, values: Sequence[Any], shape: tuple[int, ...]) -> Traced:
        inputs = []
        for value in values:
            ones = next((i for i, n in enumerate(value.shape) if n != 1), len(value.shape))
            tail = value.shape[ones:]
            if tail != shape[len(shape) - len(tail) :]:  # not a repetition of the whole operand
                (value,) = self._move([value], lambda a: [np.broadcast_to(a, shape)])
            inputs.append(self._reference(value))
        return self._emit(name, tuple(inputs), shape)

    def _matmul(self, dimensions: Any, a: Value, b: Value, shape: tuple[int, ...]) -> Traced:
        (inner_a, inner_b), (batch_a, batch_b) = dimensions
        free_a = [i for i in range(len(a.shape)) if i not in (*inner_a, *batch_a)]
        free_b = [i for i in range(len(b.shape)) if i not in (*inner_b, *batch_b)]
        sizes = [
            math.prod(array.shape[i] for i in axes)
            for array, axes in ((a, batch_a), (a, free_a), (a, inner_a), (b, free_b))
        ]
        (a,) = self._move([a], lambda x: [x.transpose(*batch_a, *free_a, *inner_a)])
        (b,) = self._move([b], lambda x: [x.transpose(*batch_b, *inner_b, *free_b)])
        inputs = self._reference(a), self._reference(b)
        return self._emit("matmul", inputs, shape, sizes=sizes)

    def _sum(self, axes: Sequence[int], a: Value, shape: tuple[int, ...]) -> Traced:
        """A product with ones."""
        rows, size = math.prod(shape), math.prod(a.shape[axis] for axis in axes)
        kept = [axis for axis in range(len(a.shape)) if axis not in axes]
        (a,) = self._move([a], lambda x: [x.transpose(*kept, *axes)])
        inputs = self._reference(a), self._constant(np.ones(size, np.float32))
        return self._emit("matmul", inputs, shape, sizes=[1, rows, size, 1])

    def _conv(self, params: Any, x: Value, kernel: Value, shape: tuple[int, ...]) -> Value:
        x_axes, k_axes, out_axes = params["dimension_numbers"]
        groups = params["feature_group_count"], params["batch_group_count"]
        if len(shape) != 4 or shape[out_axes[0]] != 1 or groups != (1, 1):
            raise UnsupportedError("it has a convolution that is grouped, or not of images")
        (x,) = self._move([x], lambda a: [a.transpose(x_axes[0], *x_axes[2:], x_axes[1])])
        (kernel,) = self._move([kernel], lambda a: [a.transpose(*k_axes[2:], *k_axes[1::-1])])
        to = (out_axes[0], *out_axes[2:], out_axes[1])
        settings = {
            "input": x.shape[1:],
            "kernel": kernel.shape,
            "output": [shape[axis] for axis in to[1:]],
            "strides": params["window_strides"],
            "low": [low for low, _ in params["padding"]],
            "dilation": params["lhs_dilation"],
            "kernelDilation": params["rhs_dilation"],
        }
        inputs = self._reference(x), self._reference(kernel)
        ordered = self._emit("conv", inputs, tuple(shape[axis] for axis in to), **settings)
        return self._move([ordered], lambda a: [a.transpose(np.argsort(to))])[0]

    def _reference(self, value: Any) -> int:
        return value.register if isinstance(value, Traced) else self._constant(value)

    def _constant(self, value: Any) -> int:
        dtype = np.int32 if np.asarray(value).dtype == np.int32 else np.float32
        flat = np.ravel(value).astype(dtype)
        key = dtype.__name__, flat.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.constants)
            self.constants.append(flat)
        return ~self._numbers[key]

    def _emit(
        self, name: str, inputs: tuple[int, ...], shape: tuple[int, ...], **settings: Any
    ) -> Traced:
        self.operations.append(Operation(name, inputs, settings))
        return Traced(len(self.operations), tuple(shape))

    def program(self, output: int) -> dict[str, Any]:
        """The program of the register `output`, without unused operations, renumbered."""
        wanted = {output}
        for register in range(len(self.operations), 0, -1):
            if register in wanted:
                wanted.update(self.operations[register - 1].inputs)
        registers = sorted(number for number in wanted if number > 0)
        constants = sorted((number for number in wanted if number < 0), reverse=True)
        used = [self.constants[~number] for number in constants]
        count = sum(array.size for array in used)
        if count > MOST_NUMBERS or len(registers) > MOST_OPERATIONS:
            raise UnsupportedError(
                f"it has {count:,} numbers and {len(registers):,} operations, more than the limits "
                f"of a page, {MOST_NUMBERS:,} and {MOST_OPERATIONS:,}"
            )
        new = {0: 0} | {number: i for i, number in enumerate(registers, start=1)}
        new |= {number: ~i for i, number in enumerate(constants)}
        kept = [self.operations[number - 1] for number in registers]
        return {
            "constants": [pack(array) for array in used],
            "operations": [[o.name, [new[i] for i in o.inputs], o.settings] for o in kept],
            "output": new[output],
        }


def _bind(eqn: Any, values: Sequence[Any]) -> Sequence[Any]:
    outputs = eqn.primitive.bind(*map(jax.numpy.asarray, values), **eqn.params)
    return outputs if eqn.primitive.multiple_results else [outputs]
