/** Loads the messenger when the collector names something to show; pages without messages never fetch it. */
import { base, log } from "./options.js";
import { envelope, flush, record } from "./delivery.js";
import { mine } from "./queue.js";
import { held } from "./consent.js";
import { sender } from "./sender.js";
import { page, settle, view } from "./view.js";
import { track } from "./events.js";
import { write } from "./json.js";

/**
 * @typedef {{id: string, trigger?: string, event?: string}} Candidate
 * @typedef {object} Host what the messenger may ask of the tracker; names are not mangled, since it is a file of its own
 * @property {() => string} view the view now shown
 * @property {(question: Record<string, any>) => string} claim the body of a claim
 * @property {(item: Record<string, any>) => void} record queues a message item
 * @property {(name: string) => void} track
 * @property {((event: {id: string, action: string}) => void)[]} listeners
 * @property {(...words: any[]) => void} log
 * @property {() => void} end set by the messenger: the view is over, or the user, or the consent
 */

/** @type {((event: {id: string, action: string}) => void)[]} */
export const listeners = [];

/** @type {Host} */
const host = {
  view: () => view,
  claim: (question) => write({ ...envelope(sender()), view, page: page(), ...question }),
  record,
  track,
  listeners,
  log,
  end: () => {},
};

/** @param {Candidate[]} candidates best first */
const hand = (candidates) => {
  const named = view;
  if (!held) import(base + MESSENGER).then(({ offer }) => named == view && offer(host, candidates)).catch(log);
};

/**
 * @param {Candidate[]} candidates what an answer named
 * @param {string[]} keys of the items it answered
 */
export const offer = (candidates, keys) => {
  // Ids grow: an answer to items of the last view alone says nothing about this one.
  if (keys.some((key) => mine(key) && key.slice(2) >= view)) hand(candidates);
};

/** @param {any} id of a message that the page wants to show; the collector decides, after it has seen what led here */
export const show = (id) => {
  id = "" + id;
  settle();
  flush().then(() => hand([{ id }]));
};

export const end = () => host.end();
