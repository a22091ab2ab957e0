// Repeats a request without overlap; backs off while it fails, pauses while the page is hidden.

const LONGEST_MS = 15000;

/**
 * Call async `task` every `every()` ms while `active()`; `hidden: true` continues in a hidden tab.
 * Returns `now()`, which runs it at once (or right after the call in flight).
 */
export function poll(task, { every, active = () => true, hidden = false }) {
  let timer = 0;
  let busy = false;
  let again = false;
  let failures = 0;

  async function now() {
    clearTimeout(timer);
    if (busy) {
      again = true;
      return;
    }
    if (!active() || (document.hidden && !hidden)) return; // now() is called again when it is shown
    busy = true;
    try {
      await task();
      failures = 0;
    } catch (error) {
      failures += 1;
      if (error?.status === undefined) console.error(error);
    }
    busy = false;
    const pause = again ? 0 : Math.min(every() * 2 ** Math.min(failures, 5), LONGEST_MS);
    again = false;
    timer = setTimeout(now, Math.max(pause, failures ? every() : 0));
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) now();
  });
  return now;
}
