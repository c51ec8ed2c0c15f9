// The dictionary: how often latents are active, and a list of latents with examples and neighbors.

const PAGE = 16;

function element(name, settings = {}, ...children) {
  const made = Object.assign(document.createElement(name), settings);
  made.append(...children);
  return made;
}

function percent(share) {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : Number(value.toPrecision(2))}%`;
}

async function startDictionary(data, root) {
  const names = ["latents", "frequency", "activation", "places", "activations", "neighbors"];
  const packed = [...names, "cosines", "rows"].map((name) => data[name]);
  const optional = [data.frequencies, data.labels, data.drawn?.values, data.directions?.values];
  const [latents, frequency, activation, places, activations, neighbors, cosines, rows] =
    await Promise.all(packed.map(unpack));
  const [frequencies, labels, pixels, directions, shares] = await Promise.all(
    [...optional, data.sources?.shares].map((each) => each && unpack(each)),
  );
  const { top, near, width, words } = data;
  const find = (name) => root.querySelector(name);
  const entryOf = new Map(Array.from(latents, (latent, entry) => [latent, entry]));
  const size = (shape) => shape.reduce((product, side) => product * side, 1);
  let first = 0;
  let wanted = null; // the number of a single latent

  function picture(values, entry, { shape, pictures }, text) {
    const count = size(shape);
    const canvas = element("canvas", { className: pictures ? "" : "line" });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text);
    const part = values.subarray(entry * count, (entry + 1) * count);
    drawExample(canvas, part, shape, [0, 255], pictures, 240);
    return canvas;
  }

  function exampleOf(entry, i) {
    const place = places[entry * top + i];
    const value = activations[entry * top + i].toPrecision(3);
    const label = labels ? `, label ${labels[place]}` : "";
    const text = `Test example ${rows[place]}${label}, activation ${value}`;
    if (words && !pixels) {
      return element("li", { className: "token", title: text }, words[place] || "(empty)");
    }
    const word = words ? `${words[place]} ` : "";
    const caption = element("figcaption", {}, `${word}${value}`);
    const canvas = picture(pixels, place, data.drawn, text);
    return element("li", { title: text }, element("figure", {}, canvas, caption));
  }

  function neighborsOf(entry) {
    const line = element("p", { className: "near" }, "Nearest directions: ");
    for (let i = entry * near; i < (entry + 1) * near; i++) {
      const button = element("button", { type: "button" }, String(neighbors[i]));
      button.setAttribute("aria-label", `Show latent ${neighbors[i]}`);
      button.addEventListener("click", () => show(neighbors[i]));
      line.append(element("span", {}, button, ` ${cosines[i].toFixed(2)}`));
    }
    return line;
  }

  function card(entry) {
    const shown = Array.from({ length: top }, (_, i) => i).filter(
      (i) => places[entry * top + i] >= 0,
    );
    const largest = activations[entry * top].toPrecision(3);
    const mean = activation[entry].toPrecision(3);
    const about = `active for ${percent(frequency[entry])} of the examples; activation: mean ${mean}, largest ${largest}`;
    const examples = element("ol", {}, ...shown.map((i) => exampleOf(entry, i)));
    examples.className = pixels ? (data.drawn.pictures ? "images" : "lines") : "tokens";
    const made = element("article", { className: "latent" });
    made.append(element("h3", {}, `Latent ${latents[entry]}`));
    made.append(element("p", { className: "note" }, about));
    const side = element("div", { className: "row" }, examples);
    if (directions) {
      const text = `Decoder direction of latent ${latents[entry]}`;
      const canvas = picture(directions, entry, data.directions, text);
      const caption = element("figcaption", {}, "direction");
      side.prepend(element("figure", { className: "direction", title: text }, canvas, caption));
    }
    made.append(side);
    if (shares) {
      const { count } = data.sources;
      const each = Array.from(shares.subarray(entry * count, (entry + 1) * count), percent);
      made.append(element("p", { className: "note" }, `Share of its norm by source: ${each.join(", ")}`));
    }
    if (near) made.append(neighborsOf(entry));
    return made;
  }

  function without(latent) {
    const rate = frequencies ? `is active for ${percent(frequencies[latent])} of the examples` : "";
    const text = frequencies && frequencies[latent] === 0 ? "is never active" : rate;
    const why = `${latents.length} of ${width} latents have examples in this page, and it is not one of them`;
    const line = `Latent ${latent} ${text ? `${text}; ${why}` : `: ${why}`}.`;
    return element("p", { className: "note" }, line);
  }

  const keys = {
    frequency: (entry) => -frequency[entry],
    rare: (entry) => frequency[entry],
    index: (entry) => latents[entry],
    activation: (entry) => -activation[entry],
    cosine: (entry) => (near ? -Math.abs(cosines[entry * near]) : 0),
  };

  function chosen() {
    const least = Number(find(".least").value || 0) / 100;
    const most = Number(find(".most").value || 100) / 100;
    const text = find(".word")?.value.toLowerCase();
    const says = (entry) =>
      Array.from(places.subarray(entry * top, (entry + 1) * top)).some(
        (place) => place >= 0 && words[place].toLowerCase().includes(text),
      );
    const key = keys[find(".sort").value];
    // Shares are float32: an edge of a bar must not lose the latents on it.
    return Array.from(latents.keys())
      .filter((i) => frequency[i] >= least * (1 - 1e-6) && frequency[i] <= most * (1 + 1e-6))
      .filter((i) => !text || says(i))
      .sort((a, b) => key(a) - key(b));
  }

  function list() {
    const place = find(".latents");
    if (wanted !== null) {
      const entry = entryOf.get(wanted);
      place.replaceChildren(entry === undefined ? without(wanted) : card(entry));
      find(".status").textContent = `latent ${wanted} alone`;
      find(".back").disabled = find(".next").disabled = true;
      return;
    }
    const entries = chosen();
    first = Math.max(0, Math.min(first, PAGE * Math.floor((entries.length - 1) / PAGE)));
    place.replaceChildren(...entries.slice(first, first + PAGE).map(card));
    const last = Math.min(first + PAGE, entries.length);
    find(".status").textContent = entries.length
      ? `${first + 1} to ${last} of ${entries.length} latents`
      : "no latent in this page fits";
    find(".back").disabled = first === 0;
    find(".next").disabled = last === entries.length;
  }

  function show(latent) {
    wanted = latent;
    find(".latent-number").value = latent;
    list();
    root.querySelector(".controls").scrollIntoView({ block: "nearest" });
  }

  function restart() {
    wanted = null;
    first = 0;
    find(".latent-number").value = "";
    list();
  }

  function turn(by) {
    first += by;
    list();
    root.querySelector(".controls").scrollIntoView({ block: "nearest" });
  }

  function draw() {
    const { edges, counts } = data.histogram;
    const middle = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const text = counts.map((count, i) => {
      const ends = [edges[i], edges[i + 1]].map((edge) => percent(10 ** edge));
      return `${count} latents, active for ${ends.join(" to ")}`;
    });
    const decades = Array.from({ length: 1 - Math.floor(edges[0]) }, (_, i) => -i);
    const bars = {
      type: "bar",
      x: middle,
      y: counts,
      width: edges[1] - edges[0],
      marker: { color: themeColor(0), line: { width: 1, color: themeColor("back") } },
      hovertext: text,
      hoverinfo: "text",
    };
    const layout = plotLayout({
      xaxis: axisStyle({
        title: { text: "share of examples, logarithmic" },
        tickvals: decades,
        ticktext: decades.map((decade) => percent(10 ** decade)),
      }),
      yaxis: axisStyle({ title: { text: "latents" } }),
      dragmode: TOUCH ? false : "zoom",
      margin: { l: 50, r: 10, t: 10, b: 40 },
    });
    Plotly.react(find(".density"), [bars], layout, PLOT_SETTINGS);
    list();
  }

  draw();
  find(".density").on("plotly_click", ({ points }) => {
    const { edges } = data.histogram;
    const bar = points[0].pointNumber;
    find(".least").value = Number((100 * 10 ** edges[bar]).toPrecision(6));
    find(".most").value = Number((100 * 10 ** edges[bar + 1]).toPrecision(6));
    restart();
  });
  find(".latent-number").addEventListener("change", (event) => {
    const latent = Number(event.target.value);
    if (event.target.value === "") restart();
    else if (Number.isInteger(latent) && latent >= 0 && latent < width) show(latent);
    else event.target.reportValidity();
  });
  for (const name of [".least", ".most", ".word"]) find(name)?.addEventListener("input", restart);
  find(".sort").addEventListener("change", restart);
  find(".all").addEventListener("click", () => {
    for (const name of [".least", ".most", ".word"]) if (find(name)) find(name).value = "";
    restart();
  });
  find(".back").addEventListener("click", () => turn(-PAGE));
  find(".next").addEventListener("click", () => turn(PAGE));
  return draw;
}
