/** Seen: half of it visible for one second in a visible page. */

const LONG_ENOUGH = 1000;

/** @param {Element} element @param {() => void} seen called once @param {AbortSignal} signal */
export const watch = (element, seen, signal) => {
  let half = false;
  /** @type {any} */
  let timer;
  const judge = () => {
    clearTimeout(timer);
    if (half && !document.hidden) {
      timer = setTimeout(() => {
        stop();
        seen();
      }, LONG_ENOUGH);
    }
  };
  const observer = new IntersectionObserver((entries) => {
    half = entries[entries.length - 1].intersectionRatio >= 0.5;
    judge();
  }, { threshold: [0, 0.5, 1] });
  const stop = () => {
    clearTimeout(timer);
    observer.disconnect();
    document.removeEventListener("visibilitychange", judge);
  };
  observer.observe(element);
  document.addEventListener("visibilitychange", judge);
  signal.addEventListener("abort", stop);
};
