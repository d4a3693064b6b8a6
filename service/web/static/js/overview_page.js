// How the queue is doing: the figures of /v1/stats, every two seconds while somebody looks.

import { get, Refusal } from "./api.js";
import { bars, lines } from "./charts.js";
import { checkConnection } from "./connection.js";
import { byId, el, put, setText, show } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { remember } from "./history.js";
import { showLink } from "./shell.js";

const EVERY_MS = 2_000;
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

function showTiles(stats) {
  const oldest = stats.oldest_queued_age_s;
  const { busy, places } = occupancy(stats);
  const notes = {
    queued: oldest === null ? "nothing waits" : `the oldest for ${duration(oldest)}`,
    running: `of ${plural(places, "place")}, ${count(busy)} busy`,
    failed: stats.failures.length ? `${count(total(stats.failures))} within a day` : "none within a day",
  };
  const tiles = byId("tiles");
  if (!tiles.childElementCount) put(tiles, STATES.map(tileOf));
  for (const [index, state] of STATES.entries()) {
    const [, value, note] = tiles.children[index].firstElementChild.children;
    setText(value, count(stats.jobs[state]));
    setText(note, notes[state] ?? "");
  }
}

function tileOf(state) {
  const name = el("span", { class: "state", "data-state": state }, el("span", { class: "dot", "aria-hidden": "true" }), state);
  return el("li", {}, el("a", { href: `/jobs?state=${state}` }, name, el("strong", {}), el("span", { class: "muted" })));
}

function showThroughput({ throughput, window_s: window }) {
  const done = throughput.reduce((sum, one) => sum + one.succeeded, 0);
  const failed = throughput.reduce((sum, one) => sum + one.failed, 0);
  const label = `${count(done)} succeeded and ${count(failed)} failed`;
  const rate = (done + failed) / window;
  chart("throughput", bars(`Throughput: ${label}`, throughput, ["succeeded", "failed"]), [
    ["", `${rate < 10 ? rate.toFixed(2) : count(Math.round(rate))} / s`],
    ["succeeded", count(done)],
    ["failed", count(failed)],
  ]);
}

function showDepth(past) {
  const { queued, running } = past.at(-1);
  const label = `Queue depth: ${queued} queued, ${running} running`;
  chart("depth", lines(label, past, ["queued", "running"]), [
    ["queued", count(queued)],
    ["running", count(running)],
  ]);
}

function showTimes(name, words, { p50, p95 }, past) {
  const points = past.map((one) => ({ at: one.at, p50: one[`${name}50`], p95: one[`${name}95`] }));
  const label = `${words}: median ${duration(p50)}, 95th percentile ${duration(p95)}`;
  chart(name, lines(label, points, ["p50", "p95"]), [
    ["p50", duration(p50)],
    ["p95", duration(p95)],
  ]);
}

function chart(name, drawing, figures) {
  const card = byId(`chart-${name}`);
  put(
    card.querySelector("[data-part=figures]"),
    figures.map(([key, text]) => el("span", { class: key && `key key-${key}` }, el("strong", {}, text), key && ` ${key}`)),
  );
  put(card.querySelector("[data-part=plot]"), drawing);
}

function showProcessors({ processors }) {
  const rows = processors.map((one) => {
    const cell = (state) => el("td", { class: one[state] ? "number" : "number muted" }, count(one[state]));
    const link = el("a", { href: `/jobs?processor=${encodeURIComponent(one.name)}` }, one.name);
    return el("tr", {}, el("th", { scope: "row" }, link), ["queued", "running", "succeeded", "failed"].map(cell));
  });
  put(byId("processors"), rows.length ? rows : el("tr", {}, el("td", { class: "muted", colspan: 5 }, "No jobs yet.")));
}

function showFailures({ failures }) {
  if (!failures.length) {
    put(byId("failures"), el("p", { class: "muted" }, "None."));
    return;
  }
  const most = failures[0].count;
  const rows = failures.map((one) =>
    el("li", {}, el("code", {}, one.code), el("progress", { max: most, value: one.count, "aria-label": one.code }), el("span", { class: "number" }, count(one.count))),
  );
  put(byId("failures"), el("ul", { class: "meters" }, rows), el("p", {}, el("a", { href: "/jobs?state=failed" }, "Failed jobs")));
}

function showPlaces({ consumers, loop_lag_s: lag, listeners }) {
  const words = { loop: "event loop", child: "child processes" };
  const rows = Object.entries(consumers).map(([lane, { busy, places }]) =>
    el("li", {}, el("span", {}, words[lane] ?? lane), el("progress", { max: places, value: busy, "aria-label": lane }), el("span", { class: "number" }, `${busy} / ${places}`)),
  );
  const facts = { "Loop lag": duration(lag), "Open streams": count(listeners) };
  const list = Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  put(byId("places"), el("ul", { class: "meters" }, rows), el("dl", { class: "facts" }, list));
}

function occupancy({ consumers }) {
  const lanes = Object.values(consumers);
  return { busy: lanes.reduce((sum, one) => sum + one.busy, 0), places: lanes.reduce((sum, one) => sum + one.places, 0) };
}

function total(failures) {
  return failures.reduce((sum, one) => sum + one.count, 0);
}

function present(stats) {
  const past = remember({
    queued: stats.jobs.queued,
    running: stats.jobs.running,
    wait50: stats.wait_s.p50,
    wait95: stats.wait_s.p95,
    run50: stats.run_s.p50,
    run95: stats.run_s.p95,
  });
  setText(byId("window"), `The last ${plural(Math.round(stats.window_s / 60), "minute")}`);
  showTiles(stats);
  showThroughput(stats);
  showDepth(past);
  showTimes("wait", "Wait", stats.wait_s, past);
  showTimes("run", "Run time", stats.run_s, past);
  showProcessors(stats);
  showFailures(stats);
  showPlaces(stats);
}

async function look() {
  try {
    present(await get("/v1/stats"));
    showLink(true);
    show(byId("no-stats"), false);
  } catch (error) {
    show(byId("no-stats"), error instanceof Refusal);
    showLink(false);
    checkConnection();
  }
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, EVERY_MS);
}

keepLooking();
document.addEventListener("visibilitychange", () => !document.hidden && look());
