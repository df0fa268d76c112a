/**
 * What only the browser can tell: that so many seconds of a view have passed, that somebody scrolled so far, that the pointer leaves.
 * It says no more than that it happened; whether a message may be shown is the collector's to decide.
 */

/**
 * @typedef {import("../tracker/messages.js").Candidate} Candidate
 * @typedef {(candidate: Candidate, view: string, fire: () => void, signal: AbortSignal) => void} Arm
 */

/** @param {string} view @returns {number} when it began (ms): its id says so, whenever the messenger arrived */
const began = (view) => parseInt(view.slice(0, 13).replace("-", ""), 16);

/** @type {Arm} */
const time = ({ seconds = 0 }, view, fire, signal) => {
  const timer = setTimeout(fire, began(view) + seconds * 1e3 - Date.now());
  signal.addEventListener("abort", () => clearTimeout(timer));
};

/** How far something is scrolled, of the way to its end. @param {Element} box @returns {number} percent, NaN or less than 0 where there is no way */
const depth = (box) => {
  const way = box.scrollHeight - box.clientHeight;
  // Zoomed pages end on a fraction of a pixel.
  return way > 1 ? ((box.scrollTop + 1) / way) * 100 : NaN;
};

/** @type {Arm} */
const scroll = ({ percent = 0 }, view, fire, signal) => {
  /** @param {any} target the page, or what scrolls in its place: the small boxes inside of it are not the page */
  const look = (target) => {
    const box = target == document ? document.scrollingElement : target;
    if (box && box.clientHeight * 2 >= innerHeight && depth(box) >= percent) fire();
  };
  // Scrolling does not bubble.
  document.addEventListener("scroll", (event) => look(event.target), { capture: true, passive: true, signal });
  if (document.scrollingElement?.scrollTop) look(document);
};

/** @type {Arm} */
const leave = (candidate, view, fire, signal) => {
  document.addEventListener("pointerout", ({ pointerType, relatedTarget, clientY }) => {
    // A finger leaves no page: it is lifted. Over the top edge lie the tabs and the address.
    if (pointerType == "mouse" && !relatedTarget && clientY <= 0) fire();
  }, { signal });
};

/** By trigger; of the others nothing is waited for. @type {Record<string, Arm | undefined>} */
export const arms = { time, scroll, exit_intent: leave };
