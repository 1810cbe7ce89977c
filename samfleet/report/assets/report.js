// Unpack the data and show everything.
(async () => {
  "use strict";
  const { Explorer, MEASURES, Viewer, create, find, histogram, plate, short, showExplorer, stages } = globalThis.samfleet;

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function followTheme() {
    const root = document.documentElement;
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
    find("theme").addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
    });
  }

  function followSections() {
    const links = new Map([...document.querySelectorAll(".bar nav a")].map((link) => [link.hash.slice(1), link]));
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        const link = links.get(target.id);
        link?.setAttribute("aria-current", "true");
        if (link) link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 24; // where not all fit
      }
    }, { rootMargin: "-30% 0px -65%" });
    document.querySelectorAll("main section").forEach((section) => observer.observe(section));
  }

  function escaped(text) {
    return create("span", {}, text).innerHTML;
  }

  const TITLES = { n_objects: "Objects", n_candidates: "Candidates", intensity_mean: "Mean intensity", area_fraction: "Area fraction", background: "Background" };

  function showTable({ rows, numbers, own, total }) {
    const names = ["image", "status", "note", ...numbers, ...own];
    const data = rows.map((row) => Object.fromEntries(row.map((value, place) => [`c${place}`, value])));
    const text = rows.map((row) => row.filter((value) => typeof value === "string").join("\n").toLowerCase());
    data.forEach((row, place) => (row.text = text[place]));
    const columns = names.map((name, place) => {
      const column = { field: `c${place}`, title: escaped(TITLES[name] ?? (place < 3 ? name[0].toUpperCase() + name.slice(1) : name)), minWidth: 90, headerWordWrap: true };
      if (numbers.includes(name)) {
        return { ...column, hozAlign: "right", headerHozAlign: "right", sorter: "number", sorterParams: { alignEmptyValues: "bottom" }, width: 134,
          formatter: (cell) => document.createTextNode(short(cell.getValue(), 4)) };
      }
      if (name === "status") {
        return { ...column, width: 128, formatter: (cell) => create("span", { class: `pill status-${cell.getValue()}` }, cell.getValue().replaceAll("_", " ")) };
      }
      const wide = place < 3 ? { widthGrow: 3, minWidth: 190 } : { widthGrow: 2, minWidth: 130 };
      return { ...column, ...wide, cssClass: "words", variableHeight: true, formatter: (cell) => document.createTextNode(cell.getValue() ?? "") };
    });
    if (!rows.some(([, , note]) => note)) columns.splice(2, 1);
    const table = new globalThis.Tabulator("#table", {
      data, columns, layout: "fitColumns", height: Math.min(560, 60 + 38 * Math.max(2, rows.length)), nestedFieldSeparator: false,
      placeholder: "No image fits.", columnDefaults: { headerSortTristate: true },
    });
    const tell = (count) => (find("found").textContent = find("search").value ? `${short(count)} found` : "");
    find("search").addEventListener("input", ({ target }) => {
      const words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
      table.setFilter((row) => words.every((word) => row.text.includes(word)));
    });
    table.on("dataFiltered", (_, found) => tell(found.length));
    return { table, total };
  }

  function showPlates(plates) {
    if (!plates.length) return;
    const select = find("plate-measure");
    select.append(...Object.entries(MEASURES).map(([value, name]) => create("option", { value }, name)));
    select.value = "per_image";
    const draw = () => find("plate-views").replaceChildren(...plates.map((each) => plate(each, select.value)));
    select.addEventListener("change", draw);
    draw();
  }

  followTheme();
  followSections();
  const data = await unpack(find("data").textContent);
  const explorer = new Explorer(data, JSON.parse(find("pictures").textContent));
  find("histograms").append(...data.histograms.map(histogram));
  const viewer = new Viewer(explorer);
  showExplorer(explorer, (tile, tiles) => viewer.open(tile, tiles));
  showPlates(data.plates);
  const { table } = showTable(data.table);
  if (data.devices.length) find("stages").append(create("div", { class: "scroll" }, stages(data.devices)));
  Object.assign(globalThis.samfleet, { explorer, viewer, table });
  document.documentElement.dataset.ready = "true";
})();
