// The page: receives changes, keeps what is known of each run, and draws it.

import { Charts } from "./charts.js";
import { counted, element } from "./format.js";
import { fill_learners, fill_settings, runs_table, tiles, state_mark } from "./learners.js";
import { Picker } from "./picker.js";
import { Timeline } from "./timeline.js";
import { Graph } from "./topology.js";

const at = id => document.getElementById(id);
const known = new Map();
const charts = new Charts(), graph = new Graph(), timeline = new Timeline();
const picker = new Picker(ids => { chosen = ids; connect(); });
let runs = [], chosen = chosen_in_address(), focus = null, stream = null, axis = "agent_steps", lost = false, waiting = false;

function chosen_in_address() {
  return new URLSearchParams(location.hash.slice(1)).getAll("run").map(Number).filter(Number.isInteger);
}

/** Open the stream of the chosen runs. */
function connect() {
  stream?.close();
  for (const id of [...known.keys()]) known.delete(id);
  const query = chosen.map(id => `run=${id}`).join("&");
  if (chosen.length) history.replaceState(null, "", `#${query}`);
  stream = new EventSource(`events?${query}`);
  stream.onopen = () => { lost = false; for (const id of [...known.keys()]) known.delete(id); };
  stream.onmessage = event => receive(JSON.parse(event.data));
  stream.onerror = () => { lost = true; draw_notice(); };
}

function receive(message) {
  if (message.runs) {
    runs = message.runs;
    const ids = new Set(runs.map(run => run.id));
    const still = chosen.filter(id => ids.has(id));
    if (!still.length && runs.length) { chosen = at_first(); connect(); return; }
  }
  for (const [id, change] of Object.entries(message.data ?? {})) {
    const data = known.get(+id) ?? { columns: {}, learners: [], edges: [], events: [] };
    const { curves, ...parts } = change;
    Object.assign(data, parts);
    if (curves) for (const [name, values] of Object.entries(curves.columns)) data.columns[name] = [...(data.columns[name] ?? []).slice(0, curves.from), ...values];
    known.set(+id, data);
  }
  schedule();
}

/** Runs to show at first: those given one by one, else the newest. */
function at_first() {
  const given = runs.filter(run => run.given).map(run => run.id).sort((a, b) => a - b).slice(0, 8);
  return given.length ? given : [runs[0].id];
}

/** Draw soon, and never for a page in the background. */
function schedule() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function draw() {
  picker.update(runs, chosen);
  draw_notice();
  const shown = chosen.filter(id => known.get(id)?.overview).map(id => {
    const data = known.get(id);
    return { id, ...data, name: data.overview.name, colour: `run-${chosen.indexOf(id)}`, learner_rows: data.learners, learners: data.overview.learners };
  });
  if (!shown.length) return;
  if (!shown.some(run => run.id === focus)) focus = shown[0].id;
  const one = shown.find(run => run.id === focus);
  draw_heading(shown, one);
  if (shown.length === 1) at("now").replaceChildren(tiles({ ...one, learners: one.learner_rows }));
  else at("now").replaceChildren(runs_table(shown, focus, id => { focus = id; draw(); }));
  const networked = one.edges.length > 0 || one.learner_rows.length > 1;
  at("topology").hidden = !networked;
  at("grid").classList.toggle("no-graph", !networked);
  at("chart-distance").hidden = shown.every(run => run.learner_rows.length < 2);
  if (networked) graph.update(one.learner_rows, one.edges, one.overview);
  const whose = shown.length > 1 ? ` of ${one.name}` : "";
  at("topology").querySelector("h2").textContent = `Who hears whom${whose && `: ${one.name}`}`;
  at("footer").textContent = charts.update(shown, axis);
  timeline.update(one.events, axis, one.columns);
  at("timeline").querySelector("h2").textContent = `Events${whose}`;
  at("learners").querySelector("h2").textContent = `Learners${whose}`;
  fill_learners(at("learner-table"), one.learner_rows);
  const settings = JSON.stringify(shown.map(run => [run.name, run.overview.settings]));
  if (settings !== draw.settings) { draw.settings = settings; fill_settings(at("settings-about"), at("settings-body"), shown); }
  document.body.dataset.drawn = String(+(document.body.dataset.drawn ?? 0) + 1);
}

function draw_heading(shown, one) {
  const { overview } = one, several = shown.length > 1;
  const title = several ? counted(shown.length, "run") : overview.name;
  if (at("title").textContent !== title) at("title").textContent = title;
  document.title = `${several ? title : overview.name} – gala dashboard`;
  const what = `${overview.method} on ${overview.env}, ${counted(overview.learners, "learner")}`;
  at("subtitle").replaceChildren(...(several ? [[...new Set(shown.map(run => run.overview.env))].join(", ")] : [what, element("span", { "aria-hidden": "true" }, "  ·  "), state_mark(overview.state)]));
}

function draw_notice() {
  const texts = [];
  if (lost) texts.push("The dashboard does not answer: what you see is no longer updated. It goes on by itself as soon as gala dashboard runs again.");
  for (const id of chosen) {
    const overview = known.get(id)?.overview;
    if (overview?.state === "deleted") texts.push(`The folder of ${overview.name} was deleted. What was read before is still shown.`);
    else if (overview?.state === "silent") texts.push(`${overview.name} has written nothing for a while: it was killed, or it hangs.`);
    else if (overview?.problem) texts.push(overview.problem);
  }
  at("notice").hidden = !texts.length;
  const text = texts.join(" ");
  if (at("notice").textContent !== text) at("notice").textContent = text;
}

at("axis").addEventListener("change", event => { axis = event.target.value; draw(); });
connect();
