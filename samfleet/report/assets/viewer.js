// One picture large, with its objects and their values; clicks on outlines are marks.
(() => {
  "use strict";
  const { create, find, fixed, keptIn, viewBox } = globalThis.samfleet;
  const VALUES = [
    ["area", "Area"],
    ["intensity_mean", "Mean", 1],
    ["circularity", "Circ.", 3],
    ["predicted_iou", "IoU", 3],
    ["stability_score", "Stab.", 3],
  ]; // with how many decimals, so that they stand below each other
  const MOST_LISTED = 400;

  class Viewer {
    constructor(explorer) {
      this.explorer = explorer;
      this.dialog = find("viewer");
      this.tiles = [];
      this.values = VALUES.filter(([name]) => name in explorer.candidates.columns);
      find("object-head").append(create("tr", {}, ...["#", ...this.values.map(([, title]) => title), "Mark"].map((title, place) =>
        create("th", { scope: "col", class: place && title !== "Mark" ? "n" : "" }, title))));
      find("close").addEventListener("click", () => this.dialog.close());
      find("previous").addEventListener("click", () => this.step(-1));
      find("next").addEventListener("click", () => this.step(1));
      find("show-dropped").addEventListener("change", () => this.draw());
      this.dialog.addEventListener("keydown", ({ key, target }) => {
        if (target.matches("input")) return;
        if (key === "ArrowLeft") this.step(-1);
        if (key === "ArrowRight") this.step(1);
      });
      explorer.listeners.push(() => this.dialog.open && this.draw());
    }

    open(tile, tiles) {
      this.tiles = tiles;
      this.show(tile);
      if (!this.dialog.open) this.dialog.showModal();
    }

    step(by) {
      const place = this.tiles.indexOf(this.tile) + by;
      if (place >= 0 && place < this.tiles.length) this.show(this.tiles[place]);
    }

    show(tile) {
      this.tile = tile;
      find("viewer-title").textContent = tile.image;
      const notes = [tile.warning, tile.note && `No picture: ${tile.note}.`, tile.why.filter((word) => word !== "ordinary").join(", ")];
      find("viewer-note").textContent = notes.filter(Boolean).join(" ");
      const place = this.tiles.indexOf(tile);
      find("previous").disabled = place <= 0;
      find("next").disabled = place < 0 || place >= this.tiles.length - 1;
      this.drawing = create("svg", { viewBox: viewBox(this.explorer, tile), role: "group", "aria-label": `Outlines in ${tile.image}` });
      const image = tile.picture === null ? [] : [create("img", { src: `data:image/webp;base64,${this.explorer.pictures[tile.picture]}`, alt: `The image ${tile.image}` })];
      find("stage").replaceChildren(...image, this.drawing);
      this.draw();
    }

    /** Candidates to be seen: large ones first, so that small ones lie on top and can be clicked. */
    listed() {
      const { start, count } = this.tile;
      const { area } = this.explorer.candidates.columns;
      const all = find("show-dropped").checked;
      return Array.from({ length: count }, (_, candidate) => candidate)
        .filter((candidate) => all || this.explorer.fate(start + candidate) !== "dropped" || this.explorer.markOf(this.tile, candidate) !== undefined)
        .sort((a, b) => area[start + b] - area[start + a] || a - b);
    }

    draw() {
      const { explorer, tile } = this;
      const listed = this.listed();
      const kept = keptIn(explorer, tile);
      find("viewer-account").textContent = `${kept} object${kept === 1 ? "" : "s"} of ${tile.count} candidates · ${tile.pixels.join(" × ")} px`;
      this.paths = new Map(listed.map((candidate) => [candidate, this.path(candidate)]));
      this.drawing.replaceChildren(...this.paths.values());
      const rows = [...listed].sort((a, b) => explorer.result.kept[tile.start + b] - explorer.result.kept[tile.start + a] || a - b).slice(0, MOST_LISTED);
      this.labels = this.labelsOf(tile);
      this.rows = new Map(rows.map((candidate) => [candidate, this.row(candidate)]));
      find("object-rows").replaceChildren(...this.rows.values());
    }

    /** Numbers of the objects, as in the tables of this run. */
    labelsOf({ start, count }) {
      const labels = new Map();
      for (let candidate = 0; candidate < count; candidate += 1) {
        if (this.explorer.run.kept[start + candidate]) labels.set(candidate, labels.size + 1);
      }
      return labels;
    }

    path(candidate) {
      const right = this.explorer.markOf(this.tile, candidate);
      const look = right === undefined ? this.explorer.fate(this.tile.start + candidate) : right ? "right" : "wrong";
      return create("path", {
        class: `outline ${look}`,
        d: this.tile.outlines[candidate],
        "data-candidate": candidate,
        click: () => this.explorer.mark(this.tile, candidate, right === undefined ? true : right ? false : undefined),
        pointerenter: () => this.point(candidate, true),
        pointerleave: () => this.point(candidate, false),
      });
    }

    row(candidate) {
      const { explorer, tile } = this;
      const index = tile.start + candidate;
      const right = explorer.markOf(tile, candidate);
      const name = this.labels.get(candidate) ?? "–";
      const button = (mark, sign, words) => create("button", {
        type: "button", class: mark ? "yes" : "no", "aria-pressed": String(right === mark),
        "aria-label": `Object ${name}, candidate ${candidate}: ${words}`,
        click: () => {
          this.refocus = [candidate, mark];
          explorer.mark(tile, candidate, right === mark ? undefined : mark);
        },
      }, sign);
      const values = this.values.map(([column, , digits]) => create("td", { class: "n" }, fixed(explorer.candidates.columns[column][index], digits)));
      const row = create("tr", {
        class: explorer.result.kept[index] ? "" : "out",
        "data-candidate": candidate,
        pointerenter: () => this.point(candidate, true),
        pointerleave: () => this.point(candidate, false),
        focusin: () => this.point(candidate, true),
        focusout: () => this.point(candidate, false),
      }, create("td", {}, String(name)), ...values, create("td", {}, button(true, "✓", "right"), " ", button(false, "✗", "wrong")));
      if (this.refocus?.[0] === candidate) {
        const [, mark] = this.refocus;
        this.refocus = null;
        queueMicrotask(() => row.querySelector(mark ? ".yes" : ".no").focus());
      }
      return row;
    }

    point(candidate, on) {
      this.paths.get(candidate)?.classList.toggle("active", on);
      this.rows.get(candidate)?.classList.toggle("active", on);
    }
  }

  Object.assign(globalThis.samfleet, { Viewer });
})();
