// Runs the programs of program.py. Arrays are flat; what their shapes were is in the settings.

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

async function unpack({ dtype, data }) {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new ARRAYS[dtype](await new Response(inflated).arrayBuffer());
}

// A comparison gives true or false, which a Float32Array keeps as 1 or 0.
const BY_ELEMENT = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  max: (a, b) => Math.max(a, b),
  min: (a, b) => Math.min(a, b),
  pow: (a, b) => a ** b,
  neg: (a) => -a,
  abs: (a) => Math.abs(a),
  sign: (a) => Math.sign(a),
  sqrt: (a) => Math.sqrt(a),
  rsqrt: (a) => 1 / Math.sqrt(a),
  exp: (a) => Math.exp(a),
  expm1: (a) => Math.expm1(a),
  log: (a) => Math.log(a),
  log1p: (a) => Math.log1p(a),
  tanh: (a) => Math.tanh(a),
  asinh: (a) => Math.asinh(a),
  logistic: (a) => 1 / (1 + Math.exp(-a)),
  sin: (a) => Math.sin(a),
  cos: (a) => Math.cos(a),
  square: (a) => a * a,
  not: (a) => !a,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  and: (a, b) => a && b,
  or: (a, b) => a || b,
  select_n: (which, no, yes) => (which ? yes : no),
  clamp: (low, a, high) => Math.min(Math.max(a, low), high),
};

function byElement(fn, inputs) {
  const [a, b = [0], c = [0]] = inputs;
  const out = new Float32Array(Math.max(...inputs.map((input) => input.length)));
  for (let i = 0; i < out.length; i++) {
    out[i] = fn(a[i % a.length], b[i % b.length], c[i % c.length]);
  }
  return out;
}

function take([index, ...sources]) {
  let all = sources[0];
  if (sources.length > 1) {
    all = new Float32Array(sources.reduce((sum, source) => sum + source.length, 0));
    let start = 0;
    for (const source of sources) {
      all.set(source, start);
      start += source.length;
    }
  }
  return Float32Array.from(index, (i) => all[i]);
}

function matmul([a, b], { sizes: [batch, rows, inner, columns] }) {
  const out = new Float32Array(batch * rows * columns);
  const sums = new Float64Array(columns);
  for (let row = 0; row < batch * rows; row++) {
    const matrix = Math.floor(row / rows) * inner * columns;
    sums.fill(0);
    for (let k = 0; k < inner; k++) {
      const value = a[row * inner + k];
      const start = matrix + k * columns;
      if (value !== 0) for (let j = 0; j < columns; j++) sums[j] += value * b[start + j];
    }
    out.set(sums, row * columns);
  }
  return out;
}

function conv([x, kernel], settings) {
  const { strides, low, dilation, kernelDilation } = settings;
  const [height, width, channels] = settings.input;
  const [kernelHeight, kernelWidth, , filters] = settings.kernel;
  const [outHeight, outWidth] = settings.output;
  const out = new Float32Array(outHeight * outWidth * filters);
  const sums = new Float64Array(filters);
  // The row or column of x under a tap of the kernel, or -1 in the padding and between the pixels.
  const under = (axis, at, tap, size) => {
    const place = at * strides[axis] - low[axis] + tap * kernelDilation[axis];
    const pixel = place / dilation[axis];
    return Number.isInteger(pixel) && pixel >= 0 && pixel < size ? pixel : -1;
  };
  for (let i = 0; i < outHeight; i++) {
    for (let j = 0; j < outWidth; j++) {
      sums.fill(0);
      for (let ky = 0; ky < kernelHeight; ky++) {
        const row = under(0, i, ky, height);
        if (row < 0) continue;
        for (let kx = 0; kx < kernelWidth; kx++) {
          const column = under(1, j, kx, width);
          if (column < 0) continue;
          for (let c = 0; c < channels; c++) {
            const value = x[(row * width + column) * channels + c];
            const start = ((ky * kernelWidth + kx) * channels + c) * filters;
            if (value !== 0) for (let f = 0; f < filters; f++) sums[f] += value * kernel[start + f];
          }
        }
      }
      out.set(sums, (i * outWidth + j) * filters);
    }
  }
  return out;
}

// The decoder of a program: latents to outputs, Float32Array to Float32Array.
async function makeDecoder({ constants, operations, output }) {
  const arrays = await Promise.all(constants.map(unpack));
  const kinds = { take, matmul, conv };
  return (latents) => {
    const registers = [latents];
    const read = (number) => (number < 0 ? arrays[~number] : registers[number]);
    for (const [name, numbers, settings] of operations) {
      const inputs = numbers.map(read);
      registers.push(kinds[name]?.(inputs, settings) ?? byElement(BY_ELEMENT[name], inputs));
    }
    return registers[output];
  };
}
