// Small helpers. Whatever comes from files becomes text, never markup.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  /** An element with attributes, and children that are elements or text. */
  function create(tag, attributes = {}, ...children) {
    const vector = tag === "svg" || tag === "path";
    const element = vector ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const find = (id) => document.getElementById(id);

  /** Run a function once before the next frame, however often it is asked for. */
  function onceAFrame(work) {
    let due = false;
    return () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        work();
      });
    };
  }

  Object.assign(globalThis.samfleet, { create, find, onceAFrame });
})();
