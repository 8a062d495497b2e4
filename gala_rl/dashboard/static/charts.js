// The charts: which columns each shows, with titles and units.

import { Chart } from "./curves.js";
import { duration, element } from "./format.js";

const MAIN = [
  {
    id: "return", title: "Mean return", about: "raw score, last 100 games of each learner", height: 290,
    columns: [
      { key: "mean_return", label: "mean of the learners", band: ["mean_return_low", "mean_return_high"], bandLabel: "lowest to highest learner" },
    ],
  },
  {
    id: "distance", title: "Distance between learners", about: "Euclidean, between parameter vectors", height: 210, zero: true,
    empty: "Distances are measured while two or more learners gossip.",
    columns: [
      { key: "consensus_rms", label: "from the mean (rms)" },
      { key: "consensus_rms_bound", label: "its bound", colour: "bound", dash: [6, 4] },
      { key: "consensus_span", label: "largest between two", colour: "run-2", off: true },
      { key: "consensus_span_bound", label: "its bound", colour: "run-2", dash: [6, 4], off: true },
      { key: "consensus_rms_nominal_bound", label: "radius of the theorem (rms)", colour: "second", dash: [2, 3], off: true },
    ],
  },
  { id: "speed", title: "Speed", about: "agent steps per second, all learners", height: 150, zero: true,
    columns: [{ key: "steps_per_s", label: "steps/s" }] },
  { id: "cores", title: "Busy cores", about: "processor time per second, learners' processes", height: 150, zero: true,
    empty: "This run did not record its processor time.",
    columns: [{ key: "cores", label: "cores" }] },
  { id: "memory", title: "Memory", about: "GiB resident, learners' processes", height: 150, zero: true,
    columns: [{ key: "rss_mb", label: "GiB", factor: 1 / 1024 }] },
];

const LOSSES = [
  ["policy_loss", "Policy loss", "last update, mean of the learners"],
  ["q_loss", "Q loss", "last update, mean of the learners"],
  ["value_loss", "Value loss", "last update, mean of the learners"],
  ["mean_q", "Mean Q", "last update, mean of the learners"],
  ["entropy", "Entropy", "nats, of the policy"],
  ["td_error", "TD error", "mean size, before the update"],
  ["grad_norm", "Gradient norm", "before clipping"],
];

/** All charts of the page; `update` draws what has changed. */
export class Charts {
  constructor() {
    this.main = MAIN.map(spec => new Chart(document.getElementById(`chart-${spec.id}`), spec));
    this.losses = new Map();
    this.room = document.getElementById("losses");
  }

  /** runs: [{name, colour, columns}], axis: name of the column along x. */
  update(runs, axis) {
    for (const chart of this.main) chart.update(runs, axis);
    for (const [key, title, about] of LOSSES) {
      const known = runs.some(run => (run.columns[key] ?? []).some(value => value != null));
      if (known && !this.losses.has(key)) {
        const root = element("section", { class: "card" });
        this.losses.set(key, new Chart(root, { id: key, title, about, height: 130, columns: [{ key, label: title.toLowerCase() }] }));
        this.room.replaceChildren(...LOSSES.filter(([k]) => this.losses.has(k)).map(([k]) => this.losses.get(k).root));
      }
      const chart = this.losses.get(key);
      if (!chart) continue;
      chart.root.hidden = !known;
      if (known) chart.update(runs, axis);
    }
    const first = runs[0]?.columns.seconds;
    if (!first?.length) return "";
    const width = first.length > 1 ? first[1] - first[0] : first[0];
    return `Each point of a curve is the mean over ${duration(width)} of training; pauses until a run was resumed are left out of the time.`;
  }
}
