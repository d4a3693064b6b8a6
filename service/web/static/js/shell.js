// What every page has: the banner that says when the server is gone, the state of the live link, and the colours.

import { checkConnection, onConnection } from "./connection.js";
import { byId, setText, show } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const LABELS = { open: "Live", waiting: "Connecting", gone: "Offline", still: "Online" };

const link = byId("link-state");
let live = link.dataset.link;

/** Say how the live link is: `open` or `waiting`. */
export function showLink(open) {
  live = open ? "open" : "waiting";
  paint(live);
}

/** Tell something to screen readers. */
export function announce(text) {
  byId("announcer").textContent = text;
}

function paint(state) {
  if (link.dataset.link !== state) link.dataset.link = state;
  setText(link.querySelector(".link-label"), LABELS[state]);
}

onConnection((reachable) => {
  const banner = byId("banner");
  banner.textContent = reachable ? "" : "The server does not answer. This page goes on by itself as soon as it does.";
  show(banner, !reachable);
  paint(reachable ? live : "gone");
  if (reachable) announce("The server answers again.");
});

const button = byId("theme");
const current = () => document.documentElement.dataset.theme ?? "system";
const label = () => button.setAttribute("aria-label", `Colours: ${current() === "system" ? "as the system" : current()}`);
button.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(current()) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
  label();
});
label();

checkConnection().then((reachable) => {
  // pages without events have no link to wait for
  if (reachable && live === "waiting" && document.querySelector("main:not([data-live])")) {
    live = "still";
    paint(live);
  }
});
