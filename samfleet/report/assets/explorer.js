// The threshold explorer: sliders, counts, YAML, marks and the gallery, all of one state.
(() => {
  "use strict";
  const { applyFilters, create, drops, filterChart, find, onceAFrame, prepare, proposeThresholds, short, tally, toYaml } =
    globalThis.samfleet;
  const BINS = 44;
  const STEPS = 500;

  class Explorer {
    constructor(data, pictures) {
      this.data = data;
      this.pictures = pictures;
      this.candidates = prepare(data.candidates, data.filters);
      this.initial = { ...data.settings };
      this.settings = { ...data.settings };
      this.run = applyFilters(this.candidates, this.initial);
      this.result = this.run;
      this.weights = this.weightOfEach();
      this.marks = new Map(); // "image id:candidate" -> whether it is right
      this.listeners = [];
      this.update = onceAFrame(() => this.compute());
    }

    /** For each candidate how many candidates of the collection it stands for. */
    weightOfEach() {
      const { counts, weights, sampled, total } = this.data.candidates;
      const each = new Float64Array(this.candidates.count);
      let place = 0;
      counts.forEach((count, image) => {
        each.fill(sampled ? (weights[image] * total) / sampled : 0, place, place + count);
        place += count;
      });
      return each;
    }

    set(settings) {
      this.settings = { ...settings };
      this.update();
    }

    /** Set one limit; the opposite one of the same column gives way. */
    setLimit(filter, value) {
      const settings = { ...this.settings, [filter.key]: value };
      for (const other of this.data.filters) {
        if (other.column !== filter.column || other.key === filter.key || value === null) continue;
        const pick = filter.kind === "min" ? Math.max : Math.min;
        if (settings[other.key] !== null) settings[other.key] = pick(settings[other.key], value);
      }
      this.set(settings);
    }

    compute() {
      this.result = applyFilters(this.candidates, this.settings);
      for (const listener of this.listeners) listener();
    }

    /** Runs now and after every change. */
    follow(listener) {
      this.listeners.push(listener);
      listener();
    }

    /** The number of candidates for which `chosen` is 1, in the whole collection. */
    count(chosen) {
      let sum = 0;
      for (let index = 0; index < chosen.length; index += 1) if (chosen[index]) sum += this.weights[index];
      return Math.round(sum);
    }

    get changed() {
      return this.data.filters.some(({ key }) => this.settings[key] !== this.initial[key]);
    }

    /** What became of a candidate: "kept", "new", "gone" or "dropped". */
    fate(index) {
      if (this.result.kept[index]) return this.run.kept[index] ? "kept" : "new";
      return this.run.kept[index] ? "gone" : "dropped";
    }

    keyOf(tile, candidate) {
      return `${tile.image_id}:${candidate}`;
    }

    markOf(tile, candidate) {
      return this.marks.get(this.keyOf(tile, candidate));
    }

    mark(tile, candidate, right) {
      if (right === undefined) this.marks.delete(this.keyOf(tile, candidate));
      else this.marks.set(this.keyOf(tile, candidate), right);
      this.marksChanged();
    }

    marksChanged() {
      remember(this);
      this.update();
    }

    /** Marks of candidates that are in this report, by their indices. */
    placedMarks() {
      const placed = new Map();
      for (const tile of this.data.gallery) {
        for (let candidate = 0; candidate < tile.count; candidate += 1) {
          const right = this.markOf(tile, candidate);
          if (right !== undefined) placed.set(tile.start + candidate, right);
        }
      }
      return placed;
    }

    /** The candidates of all images in which something is marked. */
    markedGroups(placed) {
      const groups = [];
      for (const { start, count } of this.data.gallery) {
        const indices = Array.from({ length: count }, (_, candidate) => start + candidate);
        if (indices.some((index) => placed.has(index))) groups.push(...indices);
      }
      return groups;
    }

    propose() {
      const placed = this.placedMarks();
      return proposeThresholds(this.candidates, this.markedGroups(placed), this.settings, placed);
    }

    /** What a file of marks holds; `samfleet` reads it with `evaluation.marks`. */
    savedMarks() {
      const names = new Map(this.data.gallery.map((tile) => [tile.image_id, tile.image]));
      const marks = [...this.marks].map(([key, right]) => {
        const [identity, candidate] = key.split(":");
        return { image: names.get(identity) ?? this.namesOfLoaded?.get(identity) ?? "", image_id: identity, candidate: Number(candidate), right };
      });
      return { samfleet_marks: 1, model_key: this.data.model_key, marks };
    }

    /** Add the marks of a file; what is wrong with it is an Error with words for the user. */
    loadMarks(text) {
      let file;
      try {
        file = JSON.parse(text);
      } catch {
        throw new Error("This is not a file of marks: it is no JSON.");
      }
      const valid = file?.samfleet_marks === 1 && Array.isArray(file.marks) && file.marks.every(
        (mark) => typeof mark?.image_id === "string" && Number.isInteger(mark.candidate) && typeof mark.right === "boolean",
      );
      if (!valid) throw new Error("This is not a file of marks that a report has saved.");
      if (file.model_key !== this.data.model_key) {
        throw new Error("These marks are of candidates that another model or other parameters found.");
      }
      this.namesOfLoaded = new Map(file.marks.map(({ image_id, image }) => [image_id, String(image)]));
      for (const { image_id, candidate, right } of file.marks) this.marks.set(`${image_id}:${candidate}`, right);
      this.marksChanged();
      return file.marks.length;
    }
  }

  // marks survive a reload where the browser lets a page keep something; what it keeps is one for all pages of a disk
  const shelf = (explorer) => `samfleet marks ${explorer.data.model_key} ${location.pathname}`;

  function remember(explorer) {
    try {
      localStorage.setItem(shelf(explorer), JSON.stringify(explorer.savedMarks()));
    } catch {
      // it does not
    }
  }

  function recall(explorer) {
    try {
      const text = localStorage.getItem(shelf(explorer));
      if (text) explorer.loadMarks(text);
    } catch {
      // it does not, or what it kept is not ours
    }
  }

  /** Range and bins of a filter's column over all candidates. */
  function scaleOf(filter, values) {
    const known = values.filter((value) => !Number.isNaN(value));
    let [low, high] = known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 1];
    const logarithmic = filter.logarithmic && high > 0;
    if (logarithmic) low = Math.max(low, 1);
    if (!(high > low)) high = low + 1;
    const to = logarithmic ? Math.log : (value) => value;
    const from = logarithmic ? Math.exp : (value) => value;
    const width = (to(high) - to(low)) / BINS;
    const edges = Array.from({ length: BINS + 1 }, (_, place) => from(to(low) + place * width));
    [edges[0], edges[BINS]] = [low, high];
    const bins = Uint8Array.from(values, (value) =>
      Number.isNaN(value) ? 255 : Math.max(0, Math.min(BINS - 1, Math.floor((to(Math.max(value, low)) - to(low)) / width))),
    );
    return {
      low, high, edges, bins, logarithmic,
      position: (value) => Math.round((STEPS * (to(Math.min(high, Math.max(low, value))) - to(low))) / (to(high) - to(low))),
      value: (position) => from(to(low) + (position / STEPS) * (to(high) - to(low))),
    };
  }

  function showFilter(explorer, filter) {
    const { key, kind, label, unit, help, optional, integer } = filter;
    const direction = { min: "at least", max: "at most", exclude: "left out", overlap: "at most" }[kind];
    const account = create("span", { class: "drops" });
    const box = create("div", { class: "card filter", title: help });
    const place = explorer.data.filters.indexOf(filter);
    const tell = () => {
      const dropped = explorer.result.failed.map((failed, index) => (failed === place && !explorer.result.kept[index] ? 1 : 0));
      const number = explorer.count(dropped);
      account.textContent = number ? `−${short(number)}` : "";
      account.title = number ? `drops ${short(number)} candidates` : "";
      box.classList.toggle("changed", explorer.settings[key] !== explorer.initial[key]);
    };
    if (kind === "exclude") {
      const input = create("input", { type: "checkbox", id: `filter-${key}`, change: () => explorer.set({ ...explorer.settings, [key]: input.checked }) });
      box.append(create("div", { class: "head" }, create("label", { class: "check", for: `filter-${key}` }, input, "Leave out objects at the edge"), account));
      explorer.follow(() => { input.checked = Boolean(explorer.settings[key]); tell(); });
      return box;
    }
    const values = explorer.candidates.columns[filter.column];
    const scale = values ? scaleOf(filter, values) : { low: 0, high: 1, position: (value) => Math.round(value * STEPS), value: (position) => position / STEPS };
    const rounded = (value) => (integer ? Math.round(value) : Number(value.toPrecision(3)));
    const change = (value) => explorer.setLimit(filter, value);
    const clamp = (value) => Math.min(filter.maximum ?? Infinity, Math.max(filter.minimum ?? -Infinity, value));
    const slider = create("input", {
      type: "range", min: 0, max: STEPS, step: 1, "aria-label": `${label}, ${direction}`,
      input: () => {
        const position = Number(slider.value);
        if (kind === "min" && position === 0) change(optional ? null : filter.minimum ?? 0);
        else if (kind === "max" && position === STEPS) change(Math.max(filter.default, Math.ceil(scale.high)));
        else change(clamp(rounded(scale.value(position))));
      },
    });
    const input = create("input", {
      type: "number", id: `filter-${key}`, step: "any", min: filter.minimum, max: filter.maximum, placeholder: "off",
      change: () => {
        const value = input.value === "" ? null : Number(input.value);
        if (value === null ? optional : Number.isFinite(value)) change(value === null ? null : clamp(integer ? Math.round(value) : value));
        else input.value = explorer.settings[key] ?? "";
      },
    });
    const sign = create("small", { "aria-label": direction }, `${kind === "min" ? "≥" : "≤"}${unit ? ` ${unit}` : ""}`);
    const words = create("label", { for: `filter-${key}` }, `${label} `, sign);
    box.append(create("div", { class: "head" }, words, account, input));
    const plot = values ? create("div", { class: "plot" }) : null;
    if (plot) box.append(plot);
    box.append(slider);
    explorer.follow(() => {
      const limit = explorer.settings[key] ?? null;
      if (document.activeElement !== input) input.value = limit ?? "";
      slider.value = limit === null ? (kind === "min" ? 0 : STEPS) : scale.position(limit);
      slider.setAttribute("aria-valuetext", limit === null ? "off" : `${limit} ${unit}`);
      if (plot) {
        const [all, kept] = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
        scale.bins.forEach((bin, index) => {
          if (bin === 255) return;
          all[bin] += explorer.weights[index];
          if (explorer.result.kept[index]) kept[bin] += explorer.weights[index];
        });
        plot.replaceChildren(filterChart({ ...scale, all, kept, limit, label }));
      }
      tell();
    });
    return box;
  }

  function showVerdict(explorer) {
    const { exact, total } = explorer.data.candidates;
    const about = exact ? "" : "≈\u2009";
    find("kept-of").textContent = `of ${short(total)} candidates`;
    find("reset").addEventListener("click", () => explorer.set(explorer.initial));
    explorer.follow(() => {
      const lost = explorer.count(explorer.run.kept.map((kept, index) => (kept && !explorer.result.kept[index] ? 1 : 0)));
      const gained = explorer.count(explorer.result.kept.map((kept, index) => (kept && !explorer.run.kept[index] ? 1 : 0)));
      find("kept").textContent = about + short(explorer.count(explorer.result.kept));
      find("change").textContent = !explorer.changed ? "as in this run" : lost || gained ? `${short(lost)} dropped, ${short(gained)} new` : "no other objects than in this run";
      find("reset").disabled = !explorer.changed;
      find("yaml").textContent = toYaml(explorer.data.filters, explorer.settings, explorer.data.other_settings);
    });
    find("copy").addEventListener("click", async () => {
      const text = find("yaml").textContent;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        getSelection().selectAllChildren(find("yaml")); // pages from a disk may not use the clipboard
        document.execCommand("copy");
      }
      find("copy").textContent = "Copied";
      setTimeout(() => (find("copy").textContent = "Copy"), 1500);
    });
  }

  function showMarks(explorer) {
    const say = (text) => (find("proposal").textContent = text);
    explorer.follow(() => {
      const placed = explorer.placedMarks();
      const { right, rightKept, wrong, wrongDropped } = tally(explorer.result.kept, placed);
      const elsewhere = explorer.marks.size - placed.size;
      const words = [];
      if (right) words.push(`keep ${rightKept} of ${right} right`);
      if (wrong) words.push(`drop ${wrongDropped} of ${wrong} wrong`);
      find("marks-account").textContent = explorer.marks.size
        ? `${words.length ? `These thresholds ${words.join(" and ")}.` : ""}${elsewhere ? ` ${elsewhere} of images that are not in this report.` : ""}`
        : "None yet. Open a picture and click an outline: once for right, twice for wrong.";
      find("propose").disabled = !(right && wrong);
      for (const id of ["save-marks", "clear-marks"]) find(id).disabled = !explorer.marks.size;
      const missing = "A proposal needs some of both kinds.";
      if (!(right && wrong)) say(explorer.marks.size ? missing : "");
      else if (find("proposal").textContent === missing) say("");
    });
    find("propose").addEventListener("click", () => {
      const { settings, counts } = explorer.propose();
      const changed = explorer.data.filters.filter(({ key }) => settings[key] !== explorer.settings[key]);
      explorer.set(settings);
      const set = changed.map(({ key }) => `${key} ${settings[key] ?? "off"}`).join(", ");
      say(`${set ? `Set ${set}: keeps` : "The thresholds separate them best as they are: they keep"} ${counts.rightKept} of ${counts.right} right, ${set ? "drops" : "drop"} ${counts.wrongDropped} of ${counts.wrong} wrong.`);
    });
    find("clear-marks").addEventListener("click", () => {
      explorer.marks.clear();
      explorer.marksChanged();
    });
    find("save-marks").addEventListener("click", () => {
      const file = new Blob([`${JSON.stringify(explorer.savedMarks(), null, 1)}\n`], { type: "application/json" });
      const link = create("a", { href: URL.createObjectURL(file), download: "marks.json" });
      link.click();
      URL.revokeObjectURL(link.href);
      say("Saved. With evaluation.marks: marks.json, runs are scored against them.");
    });
    find("load-marks").addEventListener("click", () => find("marks-file").click());
    find("marks-file").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      if (!file) return;
      try {
        say(`${explorer.loadMarks(await file.text())} marks loaded.`);
      } catch (error) {
        say(error.message);
      }
      target.value = "";
    });
  }

  /** Path data of a picture's outlines by what became of them; marks are drawn on their own. */
  function pathsOf(explorer, tile) {
    const paths = { kept: [], gone: [], new: [], right: [], wrong: [] };
    tile.outlines.forEach((path, candidate) => {
      const right = explorer.markOf(tile, candidate);
      const fate = explorer.fate(tile.start + candidate);
      if (right !== undefined) paths[right ? "right" : "wrong"].push(path);
      else if (fate !== "dropped") paths[fate].push(path);
    });
    return paths;
  }

  const viewBox = (explorer, { width, height }) => `0 0 ${width * explorer.data.subpixels} ${height * explorer.data.subpixels}`;

  function keptIn(explorer, { start, count }) {
    return explorer.result.kept.subarray(start, start + count).reduce((sum, kept) => sum + kept, 0);
  }

  function showTile(explorer, tile, open) {
    const picture = create("span", { class: "picture" });
    const numbers = create("span", { class: "numbers" });
    const box = create("button", { type: "button", class: "tile", title: tile.image, click: open },
      picture, create("span", { class: "words" }, create("span", { class: "name" }, tile.image), numbers));
    if (!tile.width) {
      picture.append(create("span", { class: "failure" }, create("span", { class: `pill status-${tile.status}` }, tile.status.replaceAll("_", " ")), tile.reason));
      box.disabled = true;
      return { box, draw: () => {} };
    }
    if (tile.picture !== null) {
      picture.append(create("img", { src: `data:image/webp;base64,${explorer.pictures[tile.picture]}`, alt: "", loading: "lazy", decoding: "async" }));
    }
    const drawing = create("svg", { viewBox: viewBox(explorer, tile), "aria-hidden": "true" });
    picture.append(drawing);
    const [tag] = tile.why;
    if (tag !== "ordinary") picture.append(create("span", { class: "tag" }, tag));
    const paths = {};
    const draw = () => {
      for (const [fate, parts] of Object.entries(pathsOf(explorer, tile))) {
        if (!paths[fate] && parts.length) drawing.append((paths[fate] = create("path", { class: `outline ${fate}` })));
        const text = parts.join("");
        if (paths[fate] && paths[fate].getAttribute("d") !== text) paths[fate].setAttribute("d", text);
      }
      const kept = keptIn(explorer, tile);
      numbers.replaceChildren(create("b", {}, `${kept} object${kept === 1 ? "" : "s"}`), ` of ${tile.count} candidates`);
    };
    return { box, draw };
  }

  function showGallery(explorer, openViewer) {
    const kinds = [
      ["All", () => true],
      ["Extremes", (tile) => tile.why.some((word) => !["ordinary", "failed", "warning", "empty"].includes(word))],
      ["Empty", (tile) => tile.status === "empty"],
      ["Warnings", (tile) => Boolean(tile.warning)],
      ["Failed", (tile) => !tile.width],
      ["Ordinary", (tile) => tile.why.includes("ordinary")],
      ["Marked", (tile) => tile.outlines.some((_, candidate) => explorer.markOf(tile, candidate) !== undefined)],
    ];
    // where there is less to see comes later: no object, then no picture
    const rank = ({ width, status }) => (width ? Number(status === "empty") : 2);
    const ordered = [...explorer.data.gallery].sort((a, b) => rank(a) - rank(b));
    const pending = new Set();
    const visible = new Set();
    const tiles = ordered.map((tile) => ({ tile, ...showTile(explorer, tile, () => openViewer(tile, shownTiles())) }));
    const byBox = new Map(tiles.map((each) => [each.box, each]));
    const shownTiles = () => tiles.filter(({ box, tile }) => !box.hidden && tile.width).map(({ tile }) => tile);
    const redraw = () => {
      for (const each of visible) if (pending.delete(each)) each.draw();
    };
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](byBox.get(target));
      redraw();
    }, { rootMargin: "300px" });
    find("gallery").append(...tiles.map(({ box }) => box));
    tiles.forEach(({ box }) => observer.observe(box));
    explorer.follow(() => {
      tiles.forEach((each) => pending.add(each));
      redraw();
    });
    const buttons = kinds.map(([name, fits]) => {
      const button = create("button", { type: "button", "aria-pressed": String(name === "All"), click: () => {
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        tiles.forEach(({ box, tile }) => (box.hidden = !fits(tile)));
      } }, name);
      const amount = ordered.filter(fits).length;
      if (name !== "Marked") button.append(` ${amount}`);
      button.hidden = !amount && name !== "Marked";
      return button;
    });
    find("kinds").append(...buttons);
  }

  function showExplorer(explorer, openViewer) {
    find("filters").append(...explorer.data.filters.map((filter) => showFilter(explorer, filter)));
    showVerdict(explorer);
    showMarks(explorer);
    showGallery(explorer, openViewer);
    recall(explorer);
  }

  Object.assign(globalThis.samfleet, { Explorer, drops, showExplorer, viewBox, keptIn });
})();
