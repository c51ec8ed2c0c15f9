// The latent explorer: latents on a plane, the example under the pointer, and sliders that decode.

const SYMBOLS = ["circle", "diamond", "square", "cross"];

// An example, as bytes or in the data's own values, as an image; or as one line for each channel, on
// a canvas of that width.
function drawExample(canvas, values, shape, limits, pictures, width = 480) {
  const [low, high] = limits;
  const context = canvas.getContext("2d");
  if (pictures) {
    const [down, across, channels = 1] = shape;
    canvas.width = across;
    canvas.height = down;
    const image = context.createImageData(across, down);
    for (let i = 0; i < across * down; i++) {
      for (let c = 0; c < 3; c++) {
        const value = values[i * channels + (channels === 3 ? c : 0)];
        // Bytes are as they are; assigning rounds and clips.
        image.data[4 * i + c] =
          values instanceof Uint8Array ? value : ((value - low) / (high - low || 1)) * 255;
      }
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return;
  }
  const steps = shape[0];
  const channels = values.length / steps;
  canvas.width = width;
  canvas.height = width / 2;
  context.lineWidth = 2;
  for (let c = 0; c < channels; c++) {
    context.strokeStyle = themeColor(c % 10);
    context.beginPath();
    for (let t = 0; t < steps; t++) {
      const height = (values[t * channels + c] - low) / (high - low || 1);
      const [x, y] = [(t / Math.max(steps - 1, 1)) * (width - 16), height * (width / 2 - 16)];
      context.lineTo(8 + x, width / 2 - 8 - y);
    }
    context.stroke();
  }
}

async function startExplorer(data, root) {
  const [rows, latents, examples, mean] = await Promise.all(
    [data.rows, data.latents, data.examples, data.mean].map(unpack),
  );
  const { labels, plane, size, shape } = data;
  const classOf = labels?.index && (await unpack(labels.index));
  const numberOf = labels?.values && (await unpack(labels.values));
  const decode = data.decoder && (await makeDecoder(data.decoder));
  const pixels = examples.length / rows.length;
  const plot = root.querySelector(".plane");
  const find = (name) => root.querySelector(name);
  const latentsOf = (i) => latents.slice(i * size, (i + 1) * size);
  let z = mean.slice();

  function place(z) {
    return plane.axes.map((axis) =>
      axis.reduce((sum, weight, k) => sum + weight * (z[k] - plane.mean[k]), 0),
    );
  }
  const places = Array.from(rows, (_, i) => place(latentsOf(i)));

  function labelOf(i) {
    if (classOf) return labels.names[classOf[i]];
    return numberOf ? String(numberOf[i]) : null;
  }

  function show(i) {
    const label = labelOf(i);
    const text = `Test example ${rows[i]}` + (label === null ? "" : `, label ${label}`);
    const values = examples.subarray(i * pixels, (i + 1) * pixels);
    drawExample(find(".example"), values, shape, data.limits, data.pictures);
    find(".example").setAttribute("aria-label", text);
    find(".example-caption").textContent = text;
    find(".row").value = rows[i];
  }

  function choose(i) {
    show(i);
    start(latentsOf(i), `from the latents of example ${rows[i]}`);
  }

  function start(from, about) {
    z = from;
    for (const { latent: k } of data.sliders) {
      const slider = root.querySelector(`#${root.id}-latent-${k}`);
      if (slider) slider.value = z[k];
    }
    redraw(about);
  }

  function redraw(about) {
    if (!decode) return;
    for (const { latent: k } of data.sliders) {
      const slider = root.querySelector(`#${root.id}-latent-${k}`);
      slider.nextElementSibling.textContent = z[k].toFixed(2);
    }
    const values = decode(z);
    drawExample(find(".decoded"), values, shape, data.limits, data.pictures);
    find(".decoded").setAttribute("aria-label", `Decoded ${about}`);
    find(".decoded-caption").textContent = `Decoded ${about}`;
    const [x, y = 0] = place(z);
    Plotly.restyle(plot, { x: [[x]], y: [[y]] }, [plot.data.length - 1]);
  }

  function traces() {
    const marker = (settings) => ({ size: rows.length > 500 ? 5 : 7, opacity: 0.8, ...settings });
    const trace = (points, settings) => ({
      type: "scatter",
      mode: "markers",
      x: points.map((i) => places[i][0]),
      y: points.map((i) => places[i][1] ?? 0),
      customdata: points,
      hoverinfo: "none",
      ...settings,
    });
    const all = Array.from(rows.keys());
    const made = classOf
      ? labels.names.map((name, k) =>
          trace(
            all.filter((i) => classOf[i] === k),
            {
              name: plain(name),
              marker: marker({ color: themeColor(k % 10), symbol: SYMBOLS[Math.floor(k / 10)] }),
            },
          ),
        )
      : [
          trace(all, {
            showlegend: false,
            marker: numberOf
              ? marker({ color: Array.from(numberOf), colorscale: "Viridis", showscale: true })
              : marker({ color: themeColor(0) }),
          }),
        ];
    const [x, y = 0] = place(z);
    const cross = { size: 14, symbol: "x-thin", line: { width: 3, color: themeColor("text") } };
    made.push({
      ...{ type: "scatter", mode: "markers", x: [x], y: [y], marker: cross, hoverinfo: "skip" },
      ...{ name: "decoded", visible: Boolean(decode), showlegend: Boolean(decode) },
    });
    return made;
  }

  function draw() {
    const [across, up] = plane.names.map(plain);
    const layout = plotLayout({
      xaxis: axisStyle({ title: { text: across } }),
      yaxis: axisStyle({ title: { text: up }, showticklabels: Boolean(up) }),
      hovermode: "closest",
      dragmode: TOUCH ? false : "pan",
    });
    layout.legend.itemsizing = "constant";
    return Plotly.react(plot, traces(), layout, PLOT_SETTINGS);
  }

  await draw();
  plot.on("plotly_hover", ({ points }) => {
    if (points[0].customdata !== undefined) show(points[0].customdata);
  });
  plot.on("plotly_click", ({ points }) => {
    if (points[0].customdata !== undefined) choose(points[0].customdata);
  });
  find(".row").max = data.total - 1;
  find(".row").addEventListener("change", (event) => {
    // Of the examples that are here, the next one to the row.
    const wanted = Number(event.target.value);
    const far = (i) => Math.abs(rows[i] - wanted);
    choose(Array.from(rows.keys()).reduce((best, i) => (far(i) < far(best) ? i : best), 0));
  });
  if (decode) {
    for (const { latent: k } of data.sliders) {
      const slider = root.querySelector(`#${root.id}-latent-${k}`);
      slider.addEventListener("input", () => {
        z[k] = Number(slider.value);
        redraw("from the sliders");
      });
    }
    find(".reset").addEventListener("click", () => start(mean.slice(), "from the mean latents"));
    start(mean.slice(), "from the mean latents");
  }
  show(0);
  return draw;
}
