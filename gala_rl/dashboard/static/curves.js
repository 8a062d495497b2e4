// One chart: curves of several columns of one run, or of one column of several runs.

import { clockTick, colour, duration, element, short, speak, svg, tick } from "./format.js";

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600];

export class Chart {
  constructor(root, spec) {
    Object.assign(this, { root, spec, plot: null, shape: "", data: null, off: new Set(spec.columns.filter(c => c.off).map(c => c.key)) });
    this.heading = element("header", {}, element("h2", {}, spec.title), element("p", { class: "about" }, spec.about));
    this.area = element("div", { class: "plot", tabindex: "0", role: "img" });
    this.area.style.height = `${spec.height}px`;
    this.legend = element("ul", { class: "legend" });
    this.empty = element("p", { class: "empty" }, spec.empty ?? "Nothing yet.");
    root.replaceChildren(this.heading, this.area, this.legend, this.empty);
    this.area.addEventListener("keydown", event => this.move(event));
    this.area.addEventListener("blur", () => this.plot?.setCursor({ left: -10, top: -10 }));
    new ResizeObserver(() => this.resize()).observe(this.area);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.shape = ""; this.update(this.runs, this.axis); });
  }

  update(runs, axis) {
    Object.assign(this, { runs, axis });
    this.lines = this.lines_of(runs);
    const known = this.lines.length > 0;
    this.area.hidden = this.legend.hidden = !known;
    this.empty.hidden = known;
    if (!known) { this.plot?.destroy(); this.plot = null; this.shape = ""; return; }
    this.data = this.joined(runs, axis);
    const shape = JSON.stringify([axis, this.lines.map(l => [l.label, l.shade, l.run, !!l.low])]);
    if (shape !== this.shape || !this.plot) this.build(shape);
    else this.plot.setData(this.data);
    this.show(null);
    this.describe();
  }

  /** Lines that are drawn: of one run all columns, of several the first with its bound. */
  lines_of(runs) {
    const lines = [];
    runs.forEach((run, index) => {
      this.spec.columns.forEach(column => {
        const values = run.columns[column.key];
        if (!values || values.every(value => value == null)) return;
        if (runs.length > 1 && column.off) return;
        lines.push({
          run: index, key: column.key, dash: column.dash, off: column.off,
          label: runs.length > 1 ? (this.spec.columns.length > 1 ? `${run.name}, ${column.label}` : run.name) : column.label,
          shade: runs.length > 1 ? run.colour : column.colour ?? "run-0",
          low: runs.length === 1 ? column.band?.[0] : null, high: column.band?.[1], bandLabel: column.bandLabel,
        });
      });
    });
    const banded = lines.length === 1 && lines[0].low && lines[0];
    if (banded && runs[0].learners < 2) banded.low = null;
    let index = 1;
    for (const line of lines) { line.index = index; index += line.low ? 3 : 1; }
    return lines;
  }

  joined(runs, axis) {
    const tables = runs.map((run, index) => {
      const own = this.lines.filter(line => line.run === index);
      const columns = own.flatMap(line => [line.key, ...(line.low ? [line.low, line.high] : [])]);
      const factor = this.spec.columns[0].factor;
      const scaled = column => factor ? column.map(value => value == null ? null : value * factor) : column;
      return [run.columns[axis], ...columns.map(key => scaled(run.columns[key]))];
    }).filter(table => table.length > 1);
    return tables.length > 1 ? uPlot.join(tables) : tables[0];
  }

  build(shape) {
    this.shape = shape;
    this.plot?.destroy();
    const series = [{}], bands = [];
    for (const line of this.lines) {
      const stroke = colour(line.shade);
      series.push({ stroke, width: 1.8, dash: line.dash, show: !this.off.has(line.key), points: { show: false }, spanGaps: false });
      if (line.low) {
        const edge = { stroke: "transparent", width: 0, points: { show: false } };
        bands.push({ series: [series.length + 1, series.length], fill: stroke + "26" });
        series.push(edge, { ...edge });
      }
    }
    const text = { stroke: colour("muted"), font: "12px system-ui, sans-serif", grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, border: { show: false } };
    const time = this.axis === "seconds";
    this.plot = new uPlot({
      width: Math.max(this.area.clientWidth, 60), height: this.spec.height, series, bands,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, sync: { key: "gala", scales: ["x", null] }, points: { size: 7, width: 2, fill: colour("card"), stroke: (u, i) => u.series[i].stroke() } },
      scales: { x: { time: false, range: (u, low, high) => [Math.min(0, low), high || 1] }, y: { range: (u, low, high) => this.range(low, high) } },
      axes: [
        { ...text, size: 30, gap: 6, space: 70, values: (u, ticks) => ticks.map(time ? clockTick : tick), ...(time ? { incrs: TIME_STEPS } : {}) },
        { ...text, size: (u, labels) => 14 + 7 * Math.max(3, ...(labels ?? []).map(label => label.length)), gap: 6, space: 34, values: (u, ticks) => ticks.map(tick) },
      ],
      hooks: { setCursor: [u => this.show(u.cursor.idx)] },
    }, this.data, this.area);
    this.draw_legend();
  }

  range(low, high) {
    if (low == null) return [0, 1];
    if (this.spec.zero) return [0, high > 0 ? high * 1.08 : 1];
    const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  draw_legend() {
    const toggled = this.lines.length > 1 && this.runs.length === 1;
    this.values = [];
    this.legend.replaceChildren(...this.lines.map(line => {
      const stroke = svg("svg", { width: 20, height: 8, "aria-hidden": "true" },
        svg("line", { x1: 1, x2: 19, y1: 4, y2: 4, stroke: `var(--${line.shade})`, "stroke-width": 2, "stroke-dasharray": (line.dash ?? []).join(" ") }));
      const value = element("b");
      this.values.push(value);
      const inside = [stroke, element("span", {}, line.label), value];
      if (!toggled) return element("li", {}, element("span", { class: "item" }, ...inside));
      const button = element("button", { type: "button", "aria-pressed": String(!this.off.has(line.key)) }, ...inside);
      button.addEventListener("click", () => this.toggle(line, button));
      return element("li", {}, button);
    }));
    const banded = this.lines.find(line => line.low);
    if (banded) {
      const swatch = svg("svg", { width: 20, height: 10, "aria-hidden": "true" }, svg("rect", { width: 20, height: 10, rx: 2, fill: `var(--${banded.shade})`, opacity: 0.18 }));
      this.band = element("b");
      this.legend.append(element("li", {}, element("span", { class: "item" }, swatch, element("span", {}, banded.bandLabel), this.band)));
    }
    this.at = element("li", { class: "at" });
    this.legend.append(this.at);
  }

  toggle(line, button) {
    const shown = this.off.has(line.key);
    this.off[shown ? "delete" : "add"](line.key);
    button.setAttribute("aria-pressed", String(shown));
    this.plot.setSeries(line.index, { show: shown });
  }

  place(index) {
    const x = this.data[0][index];
    return this.axis === "seconds" ? `after ${duration(x)}` : `at ${short(x)} steps`;
  }

  /** Show the values at a point, or the newest ones. */
  show(index) {
    if (!this.values) return;
    this.lines.forEach((line, i) => { this.values[i].textContent = short(this.value(line.index, index)); });
    const banded = this.lines.find(line => line.low);
    if (banded && this.band) this.band.textContent = `${short(this.value(banded.index + 1, index))} to ${short(this.value(banded.index + 2, index))}`;
    this.at.textContent = index != null ? this.place(index) : this.spec.height < 200 ? "" : this.axis === "seconds" ? "over time in training" : "over agent steps";
  }

  value(series, index) {
    const column = this.data[series] ?? [];
    if (index != null) return column[index];
    for (let i = column.length - 1; i >= 0; i--) if (column[i] != null) return column[i];
    return null;
  }

  describe() {
    const line = this.lines[0], column = this.data[line.index].filter(value => value != null);
    const low = Math.min(...column), high = Math.max(...column);
    this.area.setAttribute("aria-label", `${this.spec.title}, ${this.spec.about}: ${line.label} is ${short(column.at(-1))}, so far from ${short(low)} to ${short(high)}. Arrow keys read single values.`);
  }

  move(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 }[event.key];
    if (steps === undefined || !this.plot) return;
    event.preventDefault();
    const last = this.data[0].length - 1, now = this.plot.cursor.idx ?? last;
    const index = Math.max(0, Math.min(last, now + steps));
    this.plot.setCursor({ left: this.plot.valToPos(this.data[0][index], "x"), top: 10 });
    const values = this.lines.filter(line => !this.off.has(line.key)).map(line => `${line.label} ${short(this.value(line.index, index))}`);
    speak(`${this.place(index)}: ${values.join(", ")}`);
  }

  resize() {
    if (this.plot && this.area.clientWidth > 0) this.plot.setSize({ width: this.area.clientWidth, height: this.spec.height });
  }
}
