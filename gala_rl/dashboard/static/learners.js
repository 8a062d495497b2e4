// Numbers of now: tiles of one run, a table of several, and the table of learners.

import { counted, date, duration, element, short, whole } from "./format.js";

const RUN_STATES = {
  starting: "starting", training: "training", silent: "no sign of life", finished: "finished", stopped: "stopped",
  failed: "failed", deleted: "folder deleted", unreadable: "unreadable",
};

export function state_mark(state) {
  return element("span", { class: `state ${state}` }, RUN_STATES[state] ?? state);
}

/** The newest known value of a column. */
export function newest(columns, name) {
  return columns?.[name]?.findLast(value => value != null) ?? null;
}

function total_steps(learners) {
  const known = learners.filter(learner => learner.agent_steps != null);
  return known.length ? known.reduce((sum, learner) => sum + learner.agent_steps, 0) : null;
}

export function tiles(data) {
  const { overview, columns, learners } = data, steps = total_steps(learners), rate = newest(columns, "steps_per_s");
  const running = overview.state === "training", share = overview.goal && steps != null ? Math.min(1, steps / overview.goal) : null;
  const left = running && rate > 0 && overview.goal ? (overview.goal - steps) / rate : null;
  const alive = learners.filter(learner => learner.state === "training").length, members = learners.filter(learner => learner.state !== "left").length;
  const restarts = learners.reduce((sum, learner) => sum + learner.restarts, 0);
  const bar = share == null ? [] : [progress(share)];
  return element("dl", { class: "tiles" },
    tile("Mean return", short(newest(columns, "mean_return")), members > 1 ? "mean of the learners" : "last 100 games"),
    tile("Agent steps", short(steps), ...bar, share == null ? "" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} % of ${short(overview.goal)}`),
    tile("Speed", short(rate), "agent steps per second"),
    tile("Time in training", duration(newest(columns, "seconds")), left > 0 ? `${duration(left)} left` : state_mark(overview.state)),
    tile("Learners", running ? `${alive} of ${members}` : String(members), running ? "training now" : restarts ? counted(restarts, "restart") : "", running && restarts ? ` · ${counted(restarts, "restart")}` : ""),
    tile("Busy cores", short(newest(columns, "cores")), memory(newest(columns, "rss_mb"))),
  );
}

function memory(value) {
  return value == null ? "" : `${value >= 1024 ? `${short(value / 1024)} GiB` : `${short(value)} MiB`} of memory`;
}

function tile(name, value, ...below) {
  return element("div", { class: "tile" }, element("dt", {}, name), element("dd", {}, value, element("div", { class: "sub" }, ...below)));
}

function progress(share) {
  const inside = element("i");
  inside.style.width = `${100 * share}%`;
  return element("div", { class: "bar", role: "progressbar", "aria-label": "agent steps", "aria-valuenow": Math.round(100 * share), "aria-valuemin": 0, "aria-valuemax": 100 }, inside);
}

/** A row per run; `focus` is the one whose learners are shown. */
export function runs_table(runs, focus, choose) {
  const head = ["Run", "State", "Mean return", "Agent steps", "Steps/s", "Time in training"];
  const rows = runs.map(run => {
    const dot = element("span", { class: "dot on" });
    dot.style.setProperty("--own", `var(--${run.colour})`);
    const button = element("button", { type: "button", "aria-pressed": String(run.id === focus), title: "Show the learners and events of this run" }, run.name);
    button.addEventListener("click", () => choose(run.id));
    const { columns } = run;
    return element("tr", { class: run.id === focus ? "focus" : "" },
      element("th", { scope: "row", class: "left" }, dot, button), element("td", { class: "left" }, state_mark(run.overview.state)),
      ...[short(newest(columns, "mean_return")), short(total_steps(run.learner_rows)), short(newest(columns, "steps_per_s")), duration(newest(columns, "seconds"))].map(text => element("td", {}, text)));
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head.map((name, i) => element("th", { scope: "col", class: i < 2 ? "left" : "" }, name)))), element("tbody", {}, ...rows));
  return element("div", { class: "runs-table scroll", tabindex: "0", role: "region", "aria-label": "Runs that are shown" }, table);
}

const COLUMNS = [
  ["Learner", learner => learner.rank], ["State", learner => state_mark(learner.state)],
  ["Mean return", learner => short(learner.mean_return)], ["Agent steps", learner => whole(learner.agent_steps)],
  ["Steps/s", learner => short(learner.agent_steps_per_s)], ["Updates since a mix", learner => whole(learner.staleness_updates)],
  ["Distance from the mean", distance], ["Restarts", learner => whole(learner.restarts)], ["Rejected messages", learner => whole(learner.rejected)],
];

export function fill_learners(table, learners) {
  const gossip = learners.some(learner => learner.distance != null);
  const shown = COLUMNS.filter(([name]) => gossip || !["Distance from the mean", "Updates since a mix"].includes(name));
  const head = element("tr", {}, ...shown.map(([name], i) => element("th", { scope: "col", class: i < 2 ? "left" : "" }, name)));
  const rows = learners.map(learner => element("tr", {}, ...shown.map(([name, cell], i) =>
    element(i ? "td" : "th", { scope: i ? null : "row", class: i < 2 ? "left" : name.startsWith("Distance") ? "gauge-cell" : null }, cell(learner)))));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function distance(learner) {
  if (learner.distance == null) return "–";
  const text = learner.bound == null ? short(learner.distance) : `${short(learner.distance)} of ${short(learner.bound)}`;
  if (!(learner.bound > 0)) return text;
  const share = learner.distance / learner.bound, inside = element("i");
  inside.style.width = `${Math.min(100, 100 * share)}%`;
  return element("span", {}, text, element("span", { class: `bar${share > 1 ? " over" : ""}`, "aria-hidden": "true" }, inside));
}

/** The settings of one run, or those in which several differ. */
export function fill_settings(about, body, runs) {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.overview.settings)))];
  if (runs.length === 1) {
    const settings = runs[0].overview.settings;
    about.textContent = `started ${date(runs[0].overview.started)}`;
    const was_open = body.querySelector("details")?.open ?? false;
    const list = element("dl", { class: "settings-list" }, ...names.map(name => element("div", {}, element("dt", {}, name), element("dd", {}, settings[name]))));
    body.replaceChildren(element("details", { open: was_open }, element("summary", {}, `All ${names.length} settings`), list));
    return;
  }
  const ignored = name => name === "started" || name === "out";
  const differing = names.filter(name => !ignored(name) && new Set(runs.map(run => run.overview.settings[name])).size > 1);
  about.textContent = `${differing.length ? `${differing.length} differ` : "None differs"}, ${names.length - differing.length - names.filter(ignored).length} are equal`;
  const head = element("tr", {}, element("th", { class: "left", scope: "col" }, "Setting"), ...runs.map(run => element("th", { scope: "col" }, run.name)));
  const rows = differing.map(name => element("tr", {}, element("th", { class: "left", scope: "row" }, name), ...runs.map(run => element("td", {}, run.overview.settings[name] ?? "–"))));
  body.replaceChildren(differing.length ? element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settings that differ" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))) : "");
}
