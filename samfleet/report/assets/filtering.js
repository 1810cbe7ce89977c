// The filters of samfleet/summary/filtering.py, on the same numbers and with the same comparisons.
// Tests run both on one table of cases.
globalThis.samfleet = {};

(() => {
  "use strict";

  /**
   * Candidates as the filters need them.
   * @param {object} raw columns (null for NaN), pairs (first, second, shared) and `counts` of each image
   * @param {object[]} filters in the order in which they are applied
   */
  function prepare(raw, filters) {
    const columns = {};
    for (const [name, values] of Object.entries(raw.columns)) {
      columns[name] = Float64Array.from(values, (value) => (value === null ? NaN : value));
    }
    const count = columns.area.length;
    return { count, columns, filters, order: byQuality(columns, count), ...partners(raw, count) };
  }

  /** Indices from the best candidate to the worst; NaN is worst. */
  function byQuality({ predicted_iou, stability_score, number }, count) {
    const descending = (a, b) =>
      Number.isNaN(a) || Number.isNaN(b) ? Number.isNaN(a) - Number.isNaN(b) : b - a;
    return Uint32Array.from({ length: count }, (_, index) => index).sort(
      (a, b) =>
        descending(predicted_iou[a], predicted_iou[b]) ||
        descending(stability_score[a], stability_score[b]) ||
        number[a] - number[b] ||
        a - b,
    );
  }

  /** For each candidate those that share pixels with it: from start[i] to start[i + 1] in partner and shared. */
  function partners({ first, second, shared }, count) {
    const start = new Uint32Array(count + 1);
    for (const ends of [first, second]) for (const index of ends) start[index + 1] += 1;
    for (let index = 0; index < count; index += 1) start[index + 1] += start[index];
    const partner = new Uint32Array(2 * first.length);
    const pixels = new Float64Array(2 * first.length);
    const next = start.slice();
    for (let pair = 0; pair < first.length; pair += 1) {
      for (const [one, other] of [[first[pair], second[pair]], [second[pair], first[pair]]]) {
        partner[next[one]] = other;
        pixels[next[one]] = shared[pair];
        next[one] += 1;
      }
    }
    return { start, partner, pixels };
  }

  /** Whether a filter other than the overlap drops a value; NaN never reaches a minimum. */
  function drops(filter, limit, value) {
    if (limit === null || limit === undefined) return false;
    if (filter.kind === "min") return !(value >= limit);
    if (filter.kind === "max") return value > limit;
    return limit && value === 1; // "exclude"
  }

  /** For each candidate the index of the first filter that drops it; that of the overlap if no other does. */
  function firstFailed(candidates, settings) {
    const { count, columns, filters } = candidates;
    const failed = new Int8Array(count).fill(filters.findIndex(({ kind }) => kind === "overlap"));
    for (let place = filters.length - 1; place >= 0; place -= 1) {
      const filter = filters[place];
      if (filter.kind === "overlap") continue;
      const values = columns[filter.column];
      const limit = settings[filter.key];
      for (let index = 0; index < count; index += 1) {
        if (drops(filter, limit, values[index])) failed[index] = place;
      }
    }
    return failed;
  }

  /**
   * Which candidates become objects.
   * @returns {{failed: Int8Array, kept: Uint8Array}} of `failed` see `firstFailed`
   */
  function applyFilters(candidates, settings) {
    const { count, columns, filters, order, start, partner, pixels } = candidates;
    const failed = firstFailed(candidates, settings);
    const overlap = filters.findIndex(({ kind }) => kind === "overlap");
    const limit = settings[filters[overlap].key];
    const kept = new Uint8Array(count);
    for (let index = 0; index < count; index += 1) kept[index] = failed[index] === overlap ? 1 : 0;
    const { area } = columns;
    for (const index of order) {
      if (!kept[index]) continue;
      for (let pair = start[index]; pair < start[index + 1]; pair += 1) {
        const rival = partner[pair];
        // a better rival that is kept would have removed this one
        if (kept[rival] && pixels[pair] > limit * Math.min(area[index], area[rival])) kept[rival] = 0;
      }
    }
    return { failed, kept };
  }

  /** The section of a configuration that gives these settings; what is at its default is left out. */
  function toYaml(filters, settings, others) {
    const lines = Object.entries(others).map(([key, value]) => `  ${key}: ${value}`);
    for (const { key, default: standard } of filters) {
      const value = settings[key] ?? null;
      if (value !== standard) lines.push(`  ${key}: ${value}`);
    }
    return lines.length ? `fluorescence:\n${lines.join("\n")}` : "fluorescence: {}";
  }

  Object.assign(globalThis.samfleet, { prepare, applyFilters, firstFailed, drops, toYaml });
})();
