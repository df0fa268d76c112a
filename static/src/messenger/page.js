/** What the page around the message does: whether it shows something that must not be covered. */

const OFTEN = 300;

/** @param {Element} element */
const rendered = (element) => {
  const { checkVisibility } = /** @type {any} */ (element);
  return checkVisibility
    ? checkVisibility.call(element, { visibilityProperty: true, opacityProperty: true })
    : element.getClientRects().length > 0;
};

/** Whether the page has a modal of its own open: a native one, or one that says so and can be seen. */
export const modal = () => {
  try {
    if (document.querySelector(":modal")) return true;
  } catch {
    // browsers older than :modal
    if (document.querySelector("dialog[open]")) return true;
  }
  return [...document.querySelectorAll('[aria-modal="true"]')].some(rendered);
};

/** Whether the page wants no message now; it may change its mind at any time. */
export const quiet = () => !!window.leadlightSettings?.hide_messages;

/** Whether a message has to wait: nobody looks, or the page wants none, or shows a modal or a video in full screen. */
export const blocked = () => quiet() || document.hidden || !!document.fullscreenElement || modal();

/** @param {() => boolean} ready @returns {Promise<void>} resolved once it is so; no event tells of a modal that closes */
export const until = (ready) =>
  new Promise((resolve) => {
    const look = () => (ready() ? resolve() : void setTimeout(look, OFTEN));
    look();
  });
