// A question before something that cannot be undone.

import { el } from "./dom.js";

export const LOST = "Inputs and outputs go too, unless another job has them. This cannot be undone.";

/** Ask; return whether the answer is yes. */
export function confirmed(title, text, yes) {
  const dialog = el(
    "dialog",
    { "aria-labelledby": "confirm-title" },
    el("form", { method: "dialog" }, el("h2", { id: "confirm-title" }, title), el("p", {}, text), buttons(yes)),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

function buttons(yes) {
  const keep = el("button", { value: "no", autofocus: true }, "Keep");
  return el("div", { class: "buttons end" }, keep, el("button", { value: "yes", class: "danger" }, yes));
}
