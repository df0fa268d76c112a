/**
 * The messenger: claims the best of the messages that may be shown now and shows it. One at a time in a page; the next view ends it.
 * Loaded by tracker.js, which hands over what it may ask of it.
 */
import { claim } from "./claim.js";
import { blocked, until } from "./page.js";
import { show } from "./show.js";

/**
 * @typedef {import("../tracker/messages.js").Host} Host
 * @typedef {import("../tracker/messages.js").Candidate} Candidate
 */

/** What may be claimed in the view that named it, best first. @type {Candidate[]} */
let waiting = [];

/** The view that is worked for; empty while nothing is claimed or shown. */
let busy = "";

/** The message that is on show or about to be, by its id. */
let current = "";

/** @param {Host} host */
const work = async (host) => {
  const view = (busy = host.view());
  const hide = new AbortController();
  // A reset ends it too, though the view stays.
  const over = () => hide.signal.aborted || host.view() != view;
  host.end = () => {
    waiting = [];
    busy = "";
    hide.abort();
  };
  while (waiting[0] && !over()) {
    // Claiming is what counts as sent, so it waits for somebody to look and for the page's own dialogs to go.
    await until(() => over() || !blocked());
    const candidate = /** @type {Candidate} */ (waiting.shift());
    if (over()) return;
    const message = await claim(host, candidate, over).catch(host.log);
    if (over()) return;
    if (message) {
      current = message.id;
      await until(() => over() || !blocked());
      if (over()) return;
      // A test counts nowhere: neither what becomes of it nor the events of its buttons.
      await show(message.test ? { ...host, record() {}, track() {} } : host, message, hide.signal);
      // What else was named is named again by the next answer, if the caps still allow it.
      if (!over()) waiting = [];
    }
  }
  if (!over()) busy = "";
};

/** @param {Host} host @param {Candidate[]} candidates best first; among them what has to go, if it is here */
export const offer = (host, candidates) => {
  for (const candidate of candidates) {
    if (candidate.trigger == "withdrawn") {
      if (candidate.id == current) host.end?.();
    } else if (!waiting.some(({ id }) => id == candidate.id)) waiting.push(candidate);
  }
  if (!busy) {
    work(host).catch((error) => {
      host.log(error);
      busy = "";
    });
  }
};
