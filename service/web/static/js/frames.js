// Work that changes the page is gathered, and done once a frame.

/** Return a function that has `work` called with the next frame, however often it is called before. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Return a function that calls `work` soon, and again only when it has ended and `pauseMs` have passed. */
export function atMostEvery(pauseMs, work) {
  let timer = 0;
  let last = -Infinity;
  let running = false;
  let again = false;

  const run = async () => {
    timer = 0;
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await work();
    } finally {
      running = false;
      last = performance.now();
      if (again) ask();
      again = false;
    }
  };
  const ask = () => {
    if (!timer) timer = setTimeout(run, Math.max(last + pauseMs - performance.now(), 0));
  };
  return ask;
}
