// Events: marks on lanes along the axis of the charts, and a list of the newest.

import { clockTick, counted, duration, element, short, svg, tick } from "./format.js";

const LANES = [
  ["death", "Death, restart"], ["fault", "Injected fault"], ["defect", "Defect"], ["member", "Join, leave"],
  ["rejected", "Rejected"], ["simulator", "Simulators"], ["notice", "Notice"], ["run", "Run"],
];
const NAMES = Object.fromEntries(LANES);
const LANE = 24, LEFT = 110, RIGHT = 12;
const LISTED = 100;

export class Timeline {
  constructor() {
    this.room = document.getElementById("lanes");
    this.list = document.getElementById("event-list");
    this.about = document.getElementById("timeline-about");
    this.text = "";
    new ResizeObserver(() => { if (this.events) this.draw(); }).observe(this.room);
  }

  update(events, axis, columns) {
    Object.assign(this, { events, axis, end: columns?.[axis]?.at(-1) ?? 0 });
    const troubles = events.filter(event => event.kind !== "run").length;
    this.about.textContent = troubles ? `${counted(troubles, "event")}${events.length >= 500 ? " (the newest)" : ""}` : "No deaths, restarts, faults or rejected messages so far.";
    this.draw();
    const text = JSON.stringify([axis, events]);
    if (text !== this.text) { this.text = text; this.fill(); }
  }

  place(event) { return this.axis === "seconds" ? event.seconds : event.steps; }

  draw() {
    const lanes = LANES.filter(([kind]) => this.events.some(event => event.kind === kind));
    const width = this.room.clientWidth;
    if (!lanes.length || width < 50) { this.room.replaceChildren(); return; }
    const left = width < 560 ? 96 : LEFT, height = lanes.length * LANE + 24;
    const end = Math.max(this.end, ...this.events.map(event => this.place(event)), 1e-9);
    const x = value => left + (width - left - RIGHT) * value / end;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    lanes.forEach(([kind, name], i) => {
      const y = i * LANE + LANE / 2;
      root.append(svg("line", { class: "lane", x1: left, x2: width - RIGHT, y1: y, y2: y }), label(name, 0, y, "start"));
      for (const event of this.events) {
        if (event.kind !== kind) continue;
        const mark = svg("path", { class: `mark kind-${kind}`, d: shape(kind, x(this.place(event)), y) });
        const title = svg("title");
        title.textContent = event.text;
        mark.append(title);
        root.append(mark);
      }
    });
    const step = nice(end / Math.max(2, Math.floor((width - left) / 130)), this.axis === "seconds");
    for (let value = 0; value <= end * 1.0001; value += step) {
      root.append(label(this.axis === "seconds" ? clockTick(value) : tick(value), x(value), height - 8, x(value) > width - 30 ? "end" : "middle"));
    }
    this.room.replaceChildren(root);
  }

  fill() {
    this.list.replaceChildren(...this.events.slice(-LISTED).reverse().map(event => element("li", { class: `kind-${event.kind}` },
      element("span", { class: "at", title: new Date(event.time * 1000).toLocaleString() }, this.axis === "seconds" ? duration(event.seconds) : short(event.steps)),
      element("span", { class: "what" }, NAMES[event.kind] ?? event.kind), element("span", { class: "text" }, event.text))));
  }
}

function label(text, x, y, anchor) {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function shape(kind, x, y) {
  const r = 5.5;
  if (kind === "death" || kind === "defect") return `M${x} ${y - r - 1}L${x + r + 1} ${y}L${x} ${y + r + 1}L${x - r - 1} ${y}Z`;
  if (kind === "rejected" || kind === "simulator") return `M${x} ${y - r}L${x + r} ${y + r * 0.8}L${x - r} ${y + r * 0.8}Z`;
  if (kind === "fault") return `M${x - r + 1} ${y - r + 1}h${2 * r - 2}v${2 * r - 2}h${2 - 2 * r}Z`;
  if (kind === "run") return `M${x - 2} ${y - 7}h4v14h-4Z`;
  return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
}

function nice(least, time) {
  const steps = time ? [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600] : null;
  if (steps) return steps.find(step => step >= least) ?? least;
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find(factor => factor * power >= least * 0.9999);
}
