// Server-sent events. Where a stream breaks, the browser goes on by itself after the last event that it saw. A page that
// looks at everything afresh with each `onOpen` has no use for what it missed, and begins anew instead (`resume: false`):
// after a night's sleep that would be a million events. A page that nobody sees gives its connection back, because a
// browser has only six of them for all its tabs.

import { checkConnection } from "./connection.js";

const KINDS = ["state", "progress", "log"];
const AGAIN_MS = 1_000;

/**
 * Listen to a stream: `onEvent(kind, data, id)` for each event, `onOpen()` whenever it begins or goes on.
 * `onLink(open)` says whether it is open. A stream that may end says so by `isOver()`; then `onEnd()` is called.
 * Return a function that ends it.
 */
export function listen(path, { onEvent, onOpen = noop, onLink = noop, isOver = () => false, onEnd = noop, resume = true }) {
  let source = null;
  let timer = 0;

  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(path);
    source.onopen = () => {
      onLink(true);
      onOpen();
    };
    source.onerror = () => {
      if (isOver()) {
        end();
        onEnd();
        return;
      }
      onLink(false);
      checkConnection();
      if (resume && source.readyState !== EventSource.CLOSED) return;
      close();
      timer = setTimeout(open, AGAIN_MS);
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => onEvent(kind, JSON.parse(event.data), Number(event.lastEventId)));
    }
  };
  const turn = () => (document.hidden ? close() : open());
  const end = () => {
    document.removeEventListener("visibilitychange", turn);
    close();
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return end;
}

function noop() {}
