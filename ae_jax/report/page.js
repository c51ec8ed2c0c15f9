// Starts what is on the page, and draws it again when the reader turns to the dark or back.

async function startPage() {
  const read = (name) => JSON.parse(document.getElementById(`data-${name}`).textContent);
  const drawings = [startCurves(read("curves"))];
  for (const [i, data] of read("explorers").entries()) {
    drawings.push(await startExplorer(data, document.getElementById(`explorer-${i}`)));
  }
  for (const [i, data] of read("dictionaries").entries()) {
    drawings.push(await startDictionary(data, document.getElementById(`dictionary-${i}`)));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const draw of drawings) draw();
  });
  document.documentElement.dataset.ready = "true";
}

startPage();
