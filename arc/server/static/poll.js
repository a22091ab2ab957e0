// Repeats a request without ever overlapping itself; backs off while it fails, rests while unseen.

const LONGEST_MS = 15000;

/**
 * Call async `task` every `every()` ms while `active()`; `hidden: true` goes on in a hidden tab.
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
    if (!active() || (document.hidden && !hidden)) return; // whoever shows it calls now()
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
