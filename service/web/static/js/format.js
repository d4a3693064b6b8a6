// Numbers and instants as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const WHOLE = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** `12,345`. */
export function count(value) {
  return WHOLE.format(value);
}

/** Bytes: `1.4 MiB`. */
export function size(bytes) {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[power]}`;
}

/** Seconds: `850 ms`, `3.2 s`, `4m 05s`, `2h 10m`, `3d 04h`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 1) return `${Math.max(Math.round(seconds * 1000), 0)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  if (seconds < 3600) return pair(seconds, 60, "m", "s");
  if (seconds < 86400) return pair(seconds / 60, 60, "h", "m");
  return pair(seconds / 3600, 24, "d", "h");
}

/** How long ago, by whole seconds: ages change every second, so tenths would only flicker. */
export function age(seconds) {
  return seconds < 1 ? "now" : seconds < 10 ? `${Math.floor(seconds)} s` : duration(seconds);
}

/** An instant in full, in the reader's own zone. */
export function moment(iso) {
  return iso ? MOMENT.format(new Date(iso)) : "–";
}

/** An instant as short as can be: without the day when it is today. */
export function shortMoment(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  return at.toDateString() === new Date().toDateString() ? CLOCK.format(at) : SHORT.format(at);
}

/** The time of day of an instant, with milliseconds. */
export function clock(iso) {
  const at = new Date(iso);
  return `${CLOCK.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** The seconds between two instants; `to` is now where it is missing. */
export function between(from, to = null) {
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

/** `1 file`, `3 files`. */
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

function pair(value, base, large, small) {
  const whole = `${Math.floor(value / base)}${large}`;
  const rest = Math.floor(value % base);
  return rest ? `${whole} ${String(rest).padStart(2, "0")}${small}` : whole;
}
