/**
 * Loads what most pages never need: the messenger when the collector names something to show, and what applies the site's event rules by
 * selector where it has any. And, for main.js, what goes between domains.
 */
import { base, log } from "./options.js";
import { visible } from "./address.js";
import { envelope, flush, look, record } from "./delivery.js";
import { mine } from "./queue.js";
import { held } from "./consent.js";
import { sender } from "./sender.js";
import { page, reread, settle, view } from "./view.js";
import { track } from "./events.js";
import { set } from "./store.js";
import { write } from "./json.js";

/**
 * @typedef {{id: string, trigger?: string, event?: string, seconds?: number, percent?: number}} Candidate
 * @typedef {object} Host what messenger and rules may ask of the tracker; names are not mangled, since they are files of their own
 * @property {() => string} view the view now shown
 * @property {(question: Record<string, any>) => string} claim the body of a claim
 * @property {(item: Record<string, any>) => void} record queues a message item
 * @property {(name: string, metadata?: any) => void} track
 * @property {typeof page} page
 * @property {typeof visible} [visible] what of an address may leave the page; trackers that are kept for long may not have it
 * @property {((event: {id: string, action: string}) => void)[]} listeners
 * @property {(...words: any[]) => void} log
 * @property {[type: string, path: EventTarget[], view: string][]} [early] clicks and submits of a first visit, until it is known whether rules
 *   ask for them: what they happened on, in which view
 * @property {() => void} [end] set by the messenger: the view is over, or the user, or the consent
 * @property {() => void} [stop] set by the script of the rules: other rules hold now, or none
 */

/** @type {Host} */
export const host = {
  view: () => view,
  claim: (question) => {
    look();
    return write({ ...envelope(sender()), view, page: page(), ...question });
  },
  record,
  track,
  listeners: [],
  log,
  page,
  visible,
  early: [],
};

/** @param {string} name @param {(module: any) => void} [use] */
export const load = (name, use) => import(base + name).then(use).catch(log);

/** The script whose rules hold. */
let known = "";

/** @param {string} [name] of the script with the site's rules; also kept for the next page, whose first clicks come before any answer */
export const learn = (name = "") => {
  if (name != known) {
    set("rules", (known = name));
    host.stop?.();
    if (name) load(name, ({ start }) => name == known && start(host));
  }
};

/** Keeps what is clicked before the first answer names the site's rules. */
export const overhear = () => {
  for (const type of ["click", "submit"])
    addEventListener(
      type,
      (event) => {
        if (!held && /** @type {any} */ (host.early?.length) < 20) /** @type {any} */ (host.early).push([type, event.composedPath(), view]);
      },
      true,
    );
};

/** @param {Candidate[]} candidates best first @param {number} [poll] seconds until the messenger asks again */
const hand = (candidates, poll) => {
  const named = view;
  if (!held) load(MESSENGER, ({ offer }) => held || (named == view && offer(host, candidates, poll)));
};

/**
 * @param {{messages?: Candidate[], poll?: number, rules?: string, query?: string[]}} answer
 * @param {import("./queue.js").Row[]} rows the items it answered
 */
export const offer = ({ messages, poll, rules, query = [] }, rows) => {
  if (!held) {
    learn(rules);
    if (!rules) host.early = undefined;
    set("query", query);
    reread();
  }
  // Ids grow: an answer to items of the last view alone says nothing about this one.
  if (messages && rows.some(([key]) => mine(key) && key.slice(2) >= view)) hand(messages, poll);
};

/** @param {any} id of a message that the page wants to show; the collector decides, after it has seen what led here */
export const show = (id) => {
  id = "" + id;
  settle();
  flush().then(() => hand([{ id }]));
};

export const end = () => host.end?.();
