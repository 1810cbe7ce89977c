// Charts with Observable Plot. Colours are those of the page, so that light and dark follow it.
(() => {
  "use strict";
  const { Plot } = globalThis;
  const { create } = globalThis.samfleet;

  /** Short text of a number. */
  function short(value, digits = 3) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en").replaceAll(",", "\u2009");
    return String(Number(value.toPrecision(digits)));
  }

  /** A number with so many decimals; whole numbers and what is missing as `short` has them. */
  function fixed(value, decimals) {
    return decimals === undefined || Number.isNaN(value) ? short(value) : value.toFixed(decimals);
  }

  function histogram({ title, unit, logarithmic, edges, counts, median }) {
    const bins = counts.map((count, place) => ({ count, low: edges[place], high: edges[place + 1] }));
    const chart = Plot.plot({
      width: 300,
      height: 120,
      marginTop: 6,
      marginLeft: 34,
      marginRight: 12,
      marginBottom: 26,
      ariaLabel: `Histogram of ${title.toLowerCase()}`,
      x: { type: logarithmic ? "log" : "linear", ticks: 4, tickSize: 0, label: null, tickFormat: logarithmic ? "~s" : undefined },
      y: { ticks: 2, tickSize: 0, label: null, tickFormat: "~s" },
      marks: [
        Plot.gridY({ ticks: 2, strokeOpacity: 0.15 }),
        Plot.rectY(bins, { x1: "low", x2: "high", y: "count", fill: "var(--accent)", insetLeft: 0.5, insetRight: 0.5, rx: 1,
          title: ({ low, high, count }) => `${short(low)} to ${short(high)}: ${short(count)}` }),
        Plot.ruleX([median], { stroke: "var(--text)", strokeDasharray: "2 3" }),
      ],
    });
    const words = [title, create("span", {}, `median ${short(median)}${unit && unit !== "0–255" ? ` ${unit}` : ""}`)];
    return create("figure", { class: "card" }, create("figcaption", {}, ...words), chart);
  }

  /** A filter's histogram: all candidates, those that are kept, and where the limit is. */
  function filterChart({ edges, all, kept, logarithmic, limit, label }) {
    const rows = all.map((count, place) => ({ count: Math.sqrt(count), low: edges[place], high: edges[place + 1], kept: Math.sqrt(kept[place]) }));
    const [low, high] = [edges[0], edges[edges.length - 1]];
    const inside = limit !== null && limit >= low && limit <= high;
    const chart = Plot.plot({
      width: 266,
      height: 38,
      margin: 0,
      marginTop: 2,
      ariaLabel: `Histogram of ${label.toLowerCase()}`,
      x: { type: logarithmic ? "log" : "linear", domain: [low, high], axis: null },
      y: { axis: null, domain: [0, Math.max(1, ...rows.map(({ count }) => count))] },
      marks: [
        Plot.rectY(rows, { x1: "low", x2: "high", y: "count", fill: "var(--faint)", insetLeft: 0.5 }),
        Plot.rectY(rows, { x1: "low", x2: "high", y: "kept", fill: "var(--accent)", insetLeft: 0.5 }),
        inside ? Plot.ruleX([limit], { stroke: "var(--text)", strokeWidth: 1.5 }) : null,
      ],
    });
    chart.setAttribute("preserveAspectRatio", "none"); // as wide as its slider
    return chart;
  }

  const MEASURES = {
    objects: "objects",
    per_image: "objects per image",
    intensity: "mean intensity of objects",
    area_fraction: "area of objects, fraction",
    failed: "failed images",
  };

  function plate({ name, size: [rows, columns], wells }, measure) {
    const letter = (row) => (row < 26 ? "" : "A") + String.fromCharCode(65 + (row % 26));
    const data = wells.map((well) => ({ ...well, letter: letter(well.row), place: String(well.column + 1), value: well[measure] }));
    const chart = Plot.plot({
      width: Math.min(720, 60 + columns * 44),
      height: 50 + rows * Math.min(44, 660 / columns),
      marginLeft: 26,
      marginTop: 22,
      marginBottom: 4,
      ariaLabel: `Plate ${name}, coloured by ${MEASURES[measure]}`,
      x: { type: "band", domain: Array.from({ length: columns }, (_, column) => String(column + 1)), axis: "top", label: null, tickSize: 0, padding: 0.12 },
      y: { type: "band", domain: Array.from({ length: rows }, (_, row) => letter(row)), label: null, tickSize: 0, padding: 0.12 },
      color: { scheme: measure === "failed" ? "reds" : "viridis", legend: false, unknown: "var(--faint)" },
      marks: [
        Plot.cell(Array.from({ length: rows * columns }), { x: (_, place) => String((place % columns) + 1), y: (_, place) => letter(Math.floor(place / columns)), fill: "var(--line)", fillOpacity: 0.5, rx: 6 }),
        Plot.cell(data, { x: "place", y: "letter", fill: "value", rx: 6,
          title: (well) => `${well.letter}${well.place}: ${short(well.value)} ${MEASURES[measure]}\n${well.images} images, ${well.failed} failed` }),
        columns <= 12 ? Plot.text(data, { x: "place", y: "letter", text: ({ value }) => short(value), fill: "white", stroke: "rgb(0 0 0 / 55%)", strokeWidth: 3, fontSize: 11 }) : null,
      ],
    });
    const values = data.map(({ value }) => value).filter((value) => value !== null);
    const range = values.length ? `${short(Math.min(...values))} to ${short(Math.max(...values))} ${MEASURES[measure]}` : "";
    const caption = create("figcaption", { class: "row" }, name || "Plate", create("span", { class: "sub" }, range));
    return create("figure", { class: "card" }, caption, create("div", { class: "scroll" }, chart));
  }

  const STAGES = ["reading", "measuring", "encoding", "decoding", "postprocessing", "waiting"];

  /** Seconds of each stage on each device. */
  function stages(devices) {
    const rows = devices.flatMap((device) =>
      STAGES.map((stage) => ({ device: `${device.host} ${device.device}`, stage, seconds: device.seconds[stage] })),
    );
    return Plot.plot({
      width: 760,
      height: 70 + 26 * devices.length,
      marginLeft: 130,
      marginBottom: 40,
      style: { fontSize: "12px" },
      ariaLabel: "Seconds of each stage on each device",
      x: { label: "seconds", grid: true, tickSize: 0 },
      y: { label: null, tickSize: 0, tickFormat: (text) => (text.length > 20 ? `${text.slice(0, 19)}…` : text) },
      color: { domain: STAGES, range: ["#8f9bb0", "#b9c2d0", "#0d9f7c", "#4cc9a6", "#7b8cf0", "#f0a24a"], legend: true },
      marks: [
        Plot.barX(rows, { x: "seconds", y: "device", fill: "stage", order: STAGES, insetTop: 2, insetBottom: 2,
          title: ({ device, stage, seconds }) => `${device}\n${stage}: ${short(seconds)} s` }),
      ],
    });
  }

  Object.assign(globalThis.samfleet, { short, fixed, histogram, filterChart, plate, stages, MEASURES });
})();
