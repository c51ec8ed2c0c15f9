// The curves of metrics.jsonl: one chart for each figure, a color for each run, a dash for a split.

const SPLIT_DASHES = { train: "dot", test: "solid" };

// Plotly reads some HTML in texts; ours are plain.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function themeColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axisStyle(settings = {}) {
  const line = themeColor("line");
  return { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...settings };
}

function plotLayout(settings) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: themeColor("text"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 50, r: 10, t: 32, b: 40 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: themeColor("faint"), activecolor: themeColor("text") },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
    hoverlabel: { bgcolor: themeColor("panel"), font: { color: themeColor("text") } },
    ...settings,
  };
}

// Where a finger both scrolls and drags, it scrolls; the buttons zoom.
const TOUCH = matchMedia("(pointer: coarse)").matches;

const PLOT_SETTINGS = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

function startCurves({ runs, charts }) {
  const log = document.getElementById("log-scale");
  const unit = document.getElementById("curve-unit");
  const plots = document.querySelectorAll(".chart .plot");

  function lines(chart) {
    return chart.lines.map(({ run, split, value, ...along }) => ({
      x: along[unit.value],
      y: value,
      name: plain([runs.length > 1 ? runs[run] : "", split].filter(Boolean).join(", ")),
      mode: value.length < 60 ? "lines+markers" : "lines",
      marker: { size: 5 },
      line: {
        color: themeColor((runs.length > 1 ? run : split === "test" ? 0 : 1) % 10),
        dash: runs.length > 1 ? (SPLIT_DASHES[split] ?? "dash") : "solid",
      },
    }));
  }

  function draw() {
    charts.forEach((chart, i) => {
      const layout = plotLayout({
        xaxis: axisStyle({ title: { text: unit.value } }),
        yaxis: axisStyle({ type: log.checked ? "log" : "linear" }),
        showlegend: true,
        dragmode: TOUCH ? false : "zoom",
      });
      Plotly.react(plots[i], lines(chart), layout, PLOT_SETTINGS);
    });
  }

  if (charts.length) {
    log.addEventListener("change", draw);
    unit.addEventListener("change", draw);
    draw();
  }
  return draw;
}
