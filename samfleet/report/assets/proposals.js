// Marks say which candidates are right and which are wrong; here are the thresholds that separate them best.
(() => {
  "use strict";
  const { applyFilters, prepare } = globalThis.samfleet;

  /**
   * How many of the marked candidates a setting keeps.
   * @param {Uint8Array} kept for each candidate
   * @param {Map<number, boolean>} marks by candidate, whether it is right
   */
  function tally(kept, marks) {
    const counts = { right: 0, rightKept: 0, wrong: 0, wrongDropped: 0 };
    for (const [index, right] of marks) {
      if (right) {
        counts.right += 1;
        counts.rightKept += kept[index];
      } else {
        counts.wrong += 1;
        counts.wrongDropped += 1 - kept[index];
      }
    }
    return counts;
  }

  /** Sensitivity plus specificity (Youden's J plus one), so that many marks of one kind do not outweigh the other. */
  function quality({ right, rightKept, wrong, wrongDropped }) {
    return rightKept / right + wrongDropped / wrong;
  }

  /** The shortest decimal between two numbers, the upper or lower one included as the kind of limit allows. */
  function between(low, high, kind, integer) {
    const middle = low / 2 + high / 2;
    if (integer) return kind === "min" ? Math.ceil(middle) : Math.floor(middle);
    for (let digits = 1; digits < 17; digits += 1) {
      const value = Number(middle.toPrecision(digits));
      if (value > low && value < high) return value;
    }
    return kind === "min" ? high : low;
  }

  /** Limits worth a try: one between any two neighbours among the marked values, with how far these are apart. */
  function limitsOf(filter, values) {
    const scaled = (value) => (filter.logarithmic ? Math.log(Math.max(value, 1e-9)) : value);
    const sorted = [...new Set(values.filter((value) => !Number.isNaN(value)))].sort((a, b) => a - b);
    const range = scaled(sorted[sorted.length - 1]) - scaled(sorted[0]);
    const limits = [];
    for (let place = 1; place < sorted.length; place += 1) {
      const [low, high] = [sorted[place - 1], sorted[place]];
      const limit = between(low, high, filter.kind, filter.integer);
      const possible = limit >= (filter.minimum ?? -Infinity) && limit <= (filter.maximum ?? Infinity);
      if (possible) limits.push({ limit, margin: (scaled(high) - scaled(low)) / range });
    }
    return limits;
  }

  /** The limit with which a filter drops nothing. */
  function open(filter, candidates) {
    if (filter.kind === "exclude") return false;
    if (filter.optional) return null;
    if (filter.kind === "min") return filter.minimum ?? 0;
    return candidates.columns[filter.column].reduce((a, b) => (b > a ? b : a), filter.default);
  }

  /** One filter at a time, the best step first, until none helps. */
  function improve(candidates, start, marks, filters) {
    const marked = [...marks.keys()];
    const tryOut = (settings) => quality(tally(applyFilters(candidates, settings).kept, marks));
    let settings = start;
    let best = tryOut(settings);
    for (let round = 0; round < 12; round += 1) {
      let step = null;
      for (const filter of filters) {
        const values = marked.map((index) => candidates.columns[filter.column][index]);
        const tries = filter.kind === "exclude" ? [{ limit: true, margin: 0 }] : limitsOf(filter, values);
        for (const { limit, margin } of [{ limit: open(filter, candidates), margin: 1 }, ...tries]) {
          const found = tryOut({ ...settings, [filter.key]: limit });
          const better = found - (step ? step.found : best);
          if (better > 1e-9 || (step && better > -1e-9 && margin > step.margin)) {
            step = { found, margin, key: filter.key, limit };
          }
        }
      }
      if (!step) break;
      settings = { ...settings, [step.key]: step.limit };
      best = step.found;
    }
    return { settings, best };
  }

  /**
   * The settings that keep the right ones and drop the wrong ones best.
   *
   * Each filter is tried at every limit between two marked values, from the present settings and from filters that
   * drop nothing; what overlaps is left as it is set.
   *
   * @param {object} candidates as `prepare` returns them
   * @param {number[]} groups candidates of complete images in which something is marked
   * @param {object} settings the present ones
   * @param {Map<number, boolean>} marks by candidate, whether it is right; some of each
   * @returns {{settings: object, counts: object}}
   */
  function proposeThresholds(candidates, groups, settings, marks) {
    const place = new Map(groups.map((index, position) => [index, position]));
    const few = subset(candidates, groups, place);
    const placed = new Map([...marks].map(([index, right]) => [place.get(index), right]));
    const filters = candidates.filters.filter(({ kind }) => kind !== "overlap");
    const opened = { ...settings };
    for (const filter of filters) opened[filter.key] = open(filter, few);
    const [present, fresh] = [settings, opened].map((start) => improve(few, start, placed, filters));
    const { settings: proposed } = fresh.best > present.best + 1e-9 ? fresh : present;
    return { settings: proposed, counts: tally(applyFilters(few, proposed).kept, placed) };
  }

  function subset(candidates, groups, place) {
    const raw = { columns: {}, first: [], second: [], shared: [] };
    for (const [name, values] of Object.entries(candidates.columns)) {
      raw.columns[name] = groups.map((index) => values[index]);
    }
    for (const index of groups) {
      for (let pair = candidates.start[index]; pair < candidates.start[index + 1]; pair += 1) {
        const other = candidates.partner[pair];
        if (index < other) {
          raw.first.push(place.get(index));
          raw.second.push(place.get(other));
          raw.shared.push(candidates.pixels[pair]);
        }
      }
    }
    return prepare(raw, candidates.filters);
  }

  Object.assign(globalThis.samfleet, { proposeThresholds, tally });
})();
