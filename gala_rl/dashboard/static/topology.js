// The graph of learners: nodes on a circle, edges coloured by age and as wide as they mix often.

import { counted, duration, element, short, speak, svg } from "./format.js";

const SIZE = 440, MIDDLE = SIZE / 2;
const STATES = { restarting: "restarting", dead: "dead", silent: "silent", left: "has left", starting: "starting", ended: "ended", training: "training" };

export class Graph {
  constructor() {
    this.room = document.getElementById("graph");
    this.legend = document.getElementById("graph-legend");
    this.detail = document.getElementById("graph-detail");
    this.about = document.getElementById("topology-about");
    this.shape = "";
    this.chosen = null;
    this.current = 0;
  }

  update(learners, edges, overview) {
    Object.assign(this, { learners, edges, overview });
    const shape = JSON.stringify([learners.map(l => l.rank), edges.map(e => e.slice(0, 2))]);
    if (shape !== this.shape) this.build(shape);
    const known = edges.some(edge => edge[2] != null);
    this.scale = scale_of(edges);
    edges.forEach((edge, i) => this.colour_edge(this.paths[i], this.arrows[i], edge));
    learners.forEach((learner, i) => this.draw_node(this.nodes[i], learner));
    this.draw_legend(known);
    this.about.textContent = this.summary(known);
    this.explain();
  }

  build(shape) {
    this.shape = shape;
    const count = this.learners.length;
    const radius = count > 24 ? 188 : 172;
    const share = count > 24 ? 0.5 : 0.72;
    this.node = Math.max(3, Math.min(26, count > 1 ? radius * Math.PI / count * share : 34));
    this.outside = this.node < 11;
    const around = count > 1 ? (this.outside ? radius - 6 : radius) : 0;
    this.places = new Map(this.learners.map((learner, i) => {
      const angle = 2 * Math.PI * i / count - Math.PI / 2;
      return [learner.rank, { x: MIDDLE + around * Math.cos(angle), y: MIDDLE + around * Math.sin(angle), angle }];
    }));
    this.paths = this.edges.map(() => svg("path", { class: "edge" }));
    this.arrows = this.edges.map(() => svg("path", {}));
    this.nodes = this.learners.map((learner, i) => this.make_node(learner, i));
    const root = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: this.outside ? "outside" : "", role: "group", "aria-label": "Graph of learners; arrow keys go from one to the next" },
      svg("g", { "aria-hidden": "true" }, ...this.paths, ...this.arrows), ...this.nodes);
    root.addEventListener("keydown", event => this.move(event));
    this.room.replaceChildren(root);
  }

  make_node(learner, index) {
    const { x, y, angle } = this.places.get(learner.rank), r = this.node;
    const label = svg("text", { x: this.outside ? (r + 15) * Math.cos(angle) : 0, y: this.outside ? (r + 15) * Math.sin(angle) : 0, "font-size": this.outside ? 9.5 : Math.min(15, r * 0.8) });
    label.textContent = learner.rank;
    const width = Math.max(2, r * 0.2);
    const node = svg("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, tabindex: index ? -1 : 0, role: "img" },
      svg("circle", { class: "halo", r: r + 4 }), svg("circle", { class: "track", r, "stroke-width": width }),
      svg("circle", { class: "gauge", r, "stroke-width": width, transform: "rotate(-90)", pathLength: 100 }), label);
    node.addEventListener("pointerenter", () => this.choose(learner.rank));
    node.addEventListener("pointerleave", () => this.choose(null));
    node.addEventListener("focus", () => { this.current = index; this.choose(learner.rank); });
    node.addEventListener("blur", () => this.choose(null));
    return node;
  }

  draw_node(node, learner) {
    const share = learner.bound > 0 && learner.distance != null ? learner.distance / learner.bound : null;
    const names = ["node", learner.state];
    if (share > 1) names.push("over");
    if (learner.rank === this.chosen) names.push("chosen");
    node.setAttribute("class", names.join(" "));
    node.querySelector(".gauge").setAttribute("stroke-dasharray", `${share == null ? 0 : Math.min(100, 100 * share).toFixed(1)} 100`);
    node.setAttribute("aria-label", this.words(learner).join(", "));
  }

  colour_edge(path, arrow, [sender, receiver, rate, age]) {
    const from = this.places.get(sender), to = this.places.get(receiver);
    if (!from || !to) { path.removeAttribute("d"); arrow.removeAttribute("d"); return; }
    const width = rate ? 1 + 3.5 * Math.sqrt(rate / this.scale.rate) : 1;
    const shape = curve(from, to, this.node + (this.outside ? 2.5 : 6), width, this.learners.length);
    path.setAttribute("d", shape.line);
    arrow.setAttribute("d", shape.arrow);
    const kind = rate == null ? "unknown" : rate === 0 ? "silent" : "";
    const dim = this.chosen != null && sender !== this.chosen && receiver !== this.chosen ? " dim" : "";
    path.setAttribute("class", `edge ${kind}${dim}`);
    arrow.setAttribute("class", kind ? "dim" : dim.trim());
    path.setAttribute("stroke-width", width.toFixed(2));
    path.style.stroke = kind ? "" : `var(--age-${age_class(age, this.scale)})`;
    arrow.style.fill = kind ? "var(--faint)" : `var(--age-${age_class(age, this.scale)})`;
  }

  draw_legend(known) {
    if (!known) { this.legend.replaceChildren(); return; }
    const steps = this.scale.steps, ramp = element("span", { class: "ramp", "aria-hidden": "true" });
    for (let i = 0; i < 5; i++) { const box = element("i"); box.style.background = `var(--age-${i})`; ramp.append(box); }
    const line = width => svg("svg", { width: 22, height: 8, "aria-hidden": "true" }, svg("line", { x1: 2, x2: 20, y1: 4, y2: 4, stroke: "var(--muted)", "stroke-width": width, "stroke-linecap": "round" }));
    this.legend.replaceChildren(
      element("span", {}, `message age < ${duration(steps[0])}`, ramp, `> ${duration(steps[3])}`),
      element("span", {}, line(1 + 3.5 * Math.sqrt(0.25)), `${short(this.scale.rate / 4)}`, line(4.5), `${short(this.scale.rate)} mixes/s`),
      element("span", {}, "ring: distance from the mean, full at its bound"),
    );
  }

  summary(known) {
    const states = this.learners.map(learner => learner.state);
    const members = states.filter(state => state !== "left").length;
    const parts = [counted(members, "learner"), counted(this.edges.length, "edge")];
    for (const state of ["dead", "restarting", "silent", "starting"]) {
      const many = states.filter(s => s === state).length;
      if (many) parts.push(`${many} ${state}`);
    }
    if (!known && this.edges.length) parts.push("traffic per edge is not recorded");
    return parts.join(" · ");
  }

  words(learner) {
    const words = [`learner ${learner.rank}`, STATES[learner.state] ?? learner.state];
    if (learner.distance != null) words.push(`${short(learner.distance)} from the mean${learner.bound == null ? "" : `, bound ${short(learner.bound)}`}`);
    const heard = this.edges.filter(edge => edge[1] === learner.rank && edge[2]);
    for (const [sender, , rate, age] of heard.slice(0, 4)) words.push(`hears ${sender} ${short(rate)} times per second${age == null ? "" : `, ${duration(age)} old`}`);
    if (heard.length > 4) words.push(`and ${heard.length - 4} more`);
    return words;
  }

  choose(rank) {
    this.chosen = rank;
    this.learners.forEach((learner, i) => this.draw_node(this.nodes[i], learner));
    this.edges.forEach((edge, i) => this.colour_edge(this.paths[i], this.arrows[i], edge));
    this.explain();
  }

  explain() {
    const learner = this.learners.find(one => one.rank === this.chosen);
    if (!learner) {
      this.detail.replaceChildren(this.edges.length ? "An arrow leads from a learner to one that averages with its messages. Point at a learner, or use Tab and the arrow keys." : "");
      return;
    }
    const [name, ...rest] = this.words(learner);
    this.detail.replaceChildren(element("strong", {}, name[0].toUpperCase() + name.slice(1)), `, ${rest.join(" · ")}`);
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const count = this.nodes.length;
    this.nodes[this.current].setAttribute("tabindex", -1);
    this.current = (this.current + step + count) % count;
    this.nodes[this.current].setAttribute("tabindex", 0);
    this.nodes[this.current].focus();
    speak(this.words(this.learners[this.current]).join(", "));
  }
}

/** Steps of the age scale around the median, and the largest rate. */
function scale_of(edges) {
  const ages = edges.map(edge => edge[3]).filter(age => age > 0).sort((a, b) => a - b);
  const median = ages[ages.length >> 1] ?? 0.01;
  const round = 10 ** (Math.round(2 * Math.log10(median)) / 2);
  const nice = value => +value.toPrecision(1);
  return { steps: [nice(round / 3), nice(round), nice(3 * round), nice(10 * round)], rate: Math.max(1e-9, ...edges.map(edge => edge[2] ?? 0)) };
}

function age_class(age, scale) {
  return age == null ? 0 : scale.steps.filter(step => age >= step).length;
}

/** A line that bends to its left, so that both directions between two nodes can be told apart. */
function curve(from, to, gap, width, count) {
  const dx = to.x - from.x, dy = to.y - from.y, length = Math.hypot(dx, dy) || 1;
  const bend = count > 2 ? Math.max(7, Math.min(0.14 * length, 26)) : 34;
  const cx = (from.x + to.x) / 2 + bend * dy / length, cy = (from.y + to.y) / 2 - bend * dx / length;
  const start = towards(from, { x: cx, y: cy }, gap - 2), size = Math.min(3 + 1.7 * width, length / 3);
  const tip = towards(to, { x: cx, y: cy }, gap - 1), base = towards(to, { x: cx, y: cy }, gap + size - 1);
  const ux = (tip.x - base.x) / size, uy = (tip.y - base.y) / size, half = size * 0.55;
  const n = value => value.toFixed(1);
  return {
    line: `M${n(start.x)} ${n(start.y)}Q${n(cx)} ${n(cy)} ${n(base.x)} ${n(base.y)}`,
    arrow: `M${n(tip.x)} ${n(tip.y)}L${n(base.x - uy * half)} ${n(base.y + ux * half)}L${n(base.x + uy * half)} ${n(base.y - ux * half)}Z`,
  };
}

function towards(from, to, by) {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  return { x: from.x + (to.x - from.x) / length * by, y: from.y + (to.y - from.y) / length * by };
}
