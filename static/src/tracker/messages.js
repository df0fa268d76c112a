/** Loads the messenger when the collector names something to show; pages without messages never fetch it. */
import { attempt, base, log } from "./options.js";
import { envelope, flush, record } from "./delivery.js";
import { mine } from "./queue.js";
import { held } from "./consent.js";
import { sender } from "./sender.js";
import { page, settle, view } from "./view.js";
import { track } from "./events.js";
import { token } from "./ids.js";
import { write } from "./json.js";

/**
 * @typedef {{id: string, trigger?: string, event?: string}} Candidate
 * @typedef {object} Host what the messenger may ask of the tracker; names are not mangled, since it is a file of its own
 * @property {string | null} base
 * @property {() => string} view the view now shown; empty when nothing may be shown
 * @property {() => string} nonce
 * @property {(candidate: Candidate, nonce: string) => string} claim the body of a claim
 * @property {(item: Record<string, any>) => void} report queues a message item
 * @property {(name: string) => void} track
 * @property {(event: {id: string, action: string}) => void} tell
 * @property {(...words: any[]) => void} log
 * @property {() => void} end set by the messenger: the view is over
 */

/** @type {((event: {id: string, action: string}) => void)[]} */
export const listeners = [];

/** @type {Promise<{offer: (host: Host, candidates: Candidate[]) => void}> | undefined} */
let messenger;

/** @type {Host} */
const host = {
  base,
  view: () => (held ? "" : view),
  nonce: token,
  claim: ({ id, event }, nonce) => write({ ...envelope(sender()), message: id, nonce, view, page: page(), event }),
  report: (item) => record({ type: "message", at: Date.now(), ...item }),
  track,
  tell: (told) => listeners.forEach((listener) => attempt(() => listener({ ...told }))),
  log,
  end: () => {},
};


/** @param {Candidate[]} candidates best first */
const hand = (candidates) => {
  messenger = messenger || import(base + MESSENGER);
  const named = view;
  messenger.then(({ offer }) => named == view && offer(host, candidates)).catch((error) => {
    log(error);
    messenger = undefined;
  });
};

/**
 * @param {Candidate[]} candidates what an answer named
 * @param {string[]} keys of the items it answered
 */
export const offer = (candidates, keys) => {
  // Ids grow: an answer to items of the last view alone says nothing about this one.
  if (!held && keys.some((key) => mine(key) && key.slice(2) >= view)) hand(candidates);
};

/** @param {any} id of a message that the page wants to show; the collector decides, after it has seen what led here */
export const show = async (id) => {
  settle();
  await flush();
  hand([{ id: "" + id }]);
};

export const end = () => host.end();
