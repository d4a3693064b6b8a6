// Hostile text made visible: what would colour a terminal, turn the reading direction or hide is shown, or left out.

const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u0080-\u009f\ufeff]/g;

/** Return text as it may be shown: line breaks and tabs stay, other controls become their pictures. */
export function printable(value) {
  return String(value)
    .replace(/\r\n?/g, "\n")
    .replace(ANSI, "")
    .replace(CONTROLS, (one) => (one === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + one.charCodeAt(0))))
    .replace(TURNING, "\ufffd");
}

/** The same on one line, and no longer than `limit` characters. */
export function oneLine(value, limit = 200) {
  const text = printable(String(value).slice(0, limit + 1)).replace(/\s+/g, " ");
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}
