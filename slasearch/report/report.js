"use strict";
(() => {
  const source = document.getElementById("charts").textContent;
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, scrollZoom: false, showTips: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  const themed = () => {
    let text = source;
    if (scheme.matches) for (const [from, to] of dark) text = text.split(from).join(to);
    return JSON.parse(text);
  };

  const hiddenIn = (figure) =>
    new Set([...figure.querySelectorAll(".legend [aria-pressed=false]")].map((button) => button.dataset.series));

  const draw = () => {
    const charts = themed();
    for (const place of document.querySelectorAll("[data-chart]")) {
      const { data, layout } = charts[Number(place.dataset.chart)];
      const hidden = hiddenIn(place.closest("[data-figure]"));
      for (const trace of data) if (trace.legendgroup) trace.visible = !hidden.has(trace.legendgroup);
      if (window.innerWidth < 640) layout.dragmode = false;
      window.Plotly.react(place, data, layout, config);
    }
  };

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const place of button.closest("[data-figure]").querySelectorAll("[data-chart]")) {
        const traces = place.data.flatMap((trace, index) => (trace.legendgroup === button.dataset.series ? [index] : []));
        if (traces.length) window.Plotly.restyle(place, { visible: shown }, traces);
      }
    });
  }
  scheme.addEventListener("change", draw);
  draw();
})();
