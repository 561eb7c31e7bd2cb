"use strict";
(() => {
  const source = document.getElementById("charts").textContent;
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.innerWidth < 640;
  // Plotly would offer to send a chart's data to a server of its makers; here nothing leaves the page.
  const config = {
    responsive: true, displaylogo: false, scrollZoom: false, showTips: false, displayModeBar: !narrow,
    showSendToCloud: false, plotlyServerURL: "", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
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
      if (narrow) layout.dragmode = false;
      layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: layout.font.color, activecolor: layout.font.color };
      window.Plotly.react(place, data, layout, config).then(hush);
    }
  };

  // What a chart shows stands in words beside it; its pieces of text read one by one say nothing.
  const hush = (place) => {
    for (const picture of place.querySelectorAll("svg")) picture.setAttribute("aria-hidden", "true");
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

  const say = (text) => {
    document.getElementById("status").textContent = text;
  };

  // `67 427`, `0.842 ± 0.011` and `−0.01` are numbers to sort by; without one a cell is NaN.
  const number = (text) => {
    const plain = text.replace(/[\s\u00a0\u202f]/g, "").replace(/\u2212/g, "-").replace(/^[<p]+/, "");
    return /^[+-]?\.?\d/.test(plain) ? Number.parseFloat(plain) : Number.NaN;
  };

  const order = (cells) => {
    const filled = cells.filter((text) => text !== "" && text !== "\u2013");
    const numeric = filled.length > 0 && filled.every((text) => !Number.isNaN(number(text)));
    return { numeric, compare: (a, b) => (numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true })) };
  };

  const sort = (head) => {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const texts = new Map(rows.map((row) => [row, row.cells[head.cellIndex]?.textContent.trim() ?? ""]));
    const { numeric, compare } = order([...texts.values()]);
    const before = head.getAttribute("aria-sort");
    const up = before === "none" ? !numeric : before === "descending";
    const empty = (text) => text === "" || text === "\u2013";
    rows.sort((one, other) => {
      const [a, b] = [texts.get(one), texts.get(other)];
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      return up ? compare(a, b) : compare(b, a);
    });
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
    say(`Sorted by ${head.textContent.trim()}, ${up ? "lowest" : "highest"} first`);
  };

  for (const button of document.querySelectorAll(".sort")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  const files = JSON.parse(document.getElementById("files").textContent);
  for (const button of document.querySelectorAll("[data-file]")) {
    button.addEventListener("click", () => {
      const [name, kind, text] = files[Number(button.dataset.file)];
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: `${kind};charset=utf-8` }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      say(`${name} was downloaded`);
    });
  }

  scheme.addEventListener("change", draw);
  draw();
})();
