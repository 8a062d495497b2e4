// The list of runs, with a box to tick each.

import { element } from "./format.js";

const MOST = 8;

export class Picker {
  constructor(change) {
    this.room = document.getElementById("picker");
    this.change = change;
    this.text = "";
  }

  /** runs: all that are known; chosen: ids of those that are shown, in the order of their colours. */
  update(runs, chosen) {
    const text = JSON.stringify([runs, chosen]);
    if (text === this.text) return;
    this.text = text;
    this.room.hidden = runs.length < 2;
    const focused = document.activeElement?.dataset?.run;
    this.room.replaceChildren(...runs.map(run => this.chip(run, chosen)));
    if (focused) this.room.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus();
  }

  chip(run, chosen) {
    const place = chosen.indexOf(run.id);
    const box = element("input", { type: "checkbox", "data-run": run.id, disabled: place < 0 && chosen.length >= MOST });
    box.checked = place >= 0;
    box.addEventListener("change", () => {
      const others = chosen.filter(id => id !== run.id);
      this.change(box.checked ? [...others, run.id] : others.length ? others : chosen);
    });
    const dot = element("span", { class: "dot" });
    if (place >= 0) dot.style.setProperty("--own", `var(--run-${place})`);
    return element("label", { class: "chip", title: `${run.method} on ${run.env}` }, box, dot, element("span", { class: "name" }, run.name));
  }
}
