// Numbers, durations and times as text.

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Format with three digits: 0.0123, 4.56, 1,234, 12.3M. */
export function short(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  for (const [unit, letter] of PREFIXES) {
    if (size >= unit * 0.99995 && size >= 10000) return trimmed(value / unit) + letter;
  }
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size < 1e-3) return value.toExponential(1);
  return trimmed(value);
}

function trimmed(value) {
  const size = Math.abs(value);
  const text = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4);
  return text;
}

/** Format a label of an axis: as short as it can be. */
export function tick(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  for (const [unit, letter] of PREFIXES) {
    if (size >= unit) return String(+(value / unit).toPrecision(4)) + letter;
  }
  return size && size < 1e-3 ? value.toExponential(0) : String(+value.toPrecision(4));
}

export function whole(value) {
  return value == null ? "–" : Math.round(value).toLocaleString("en-US");
}

/** Format seconds: 0.4 s, 45 s, 12 min, 3 h 20 min, 5 d 4 h. */
export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  if (seconds < 1e-3) return "0 ms";
  if (seconds < 1) return `${+(seconds * 1000).toPrecision(2)} ms`;
  if (seconds < 10) return `${+seconds.toPrecision(2)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return two(hours, "h", minutes % 60, "min");
  return two(Math.floor(hours / 24), "d", hours % 24, "h");
}

function two(many, unit, few, smaller) {
  return few ? `${many} ${unit} ${few} ${smaller}` : `${many} ${unit}`;
}

/** Format seconds as a label of a time axis. */
export function clockTick(seconds) {
  if (seconds === 0) return "0";
  if (seconds % 86400 === 0) return `${seconds / 86400} d`;
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  if (seconds % 60 === 0) return seconds < 7200 ? `${seconds / 60} min` : two(Math.floor(seconds / 3600), "h", (seconds % 3600) / 60, "min");
  return `${seconds} s`;
}

export function date(seconds) {
  return seconds == null ? "at an unknown time" : new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export function counted(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Create an element; texts are never parsed as HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map(child => child instanceof Node ? child : String(child)));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Colour of the page, which follows light and dark. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function speak(text) {
  document.getElementById("spoken").textContent = text;
}
