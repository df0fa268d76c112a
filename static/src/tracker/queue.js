/**
 * Items that wait for the collector: one key each, so that tabs never overwrite each other's, named by a time-ordered id, so that the order
 * of the names is the order of tracking. Bounded: a collector that stays away must not fill the page's own storage.
 */
import { get, names, remove, set, tab } from "./store.js";
import { attempt, log } from "./options.js";
import { parse, write } from "./json.js";
import { held, mayWait } from "./consent.js";
import { sender } from "./sender.js";
import { uuid } from "./ids.js";

/**
 * @typedef {import("./sender.js").Sender} Sender
 * @typedef {[key: string, text: string, head: string, from: Sender]} Row the item as the wire has it, its sender as text and read
 */

const MOST = 6e5; // characters; an item has 500 and more
const STEP = 6e4; // so much more may come of each other tab before it looks

/** The last twenty. @type {{code: string, field?: string}[]} */
export let refused = [];

/** Characters that this page added since it last looked at what all tabs keep. Not a number: look at the first item. */
let added = NaN;

/** @param {string} code @param {string} [field] @param {any} [about] */
export const refuse = (code, field, about) => {
  log(code, field, about);
  refused = [...refused, { code, field }].slice(-20);
};

/** @returns {number} items lost since the collector was last told */
export const lost = () => +(/** @type {any} */ (get("lost"))) || 0;

/** @returns {string[]} keys: `q.`, the id, the tab, `v` for page views */
export const waiting = () => names("q.");

/** @param {string} key @returns {boolean} tracked in this tab */
export const mine = (key) => key.slice(38, 44) == tab; // startsWith of Prototype.js looks at the start alone

/** @param {string[]} keys the newest first @returns {string[]} what is worth most first: page views last */
export const ranked = (keys) => keys.sort((a, b) => +a.endsWith("v") - +b.endsWith("v"));

/** Leaves room for what this page may add before it looks again. */
const evict = () => {
  let size = (added = 0);
  for (const key of ranked(waiting().reverse())) {
    if ((size += ("" + get(key)).length) > MOST - STEP) {
      remove(key);
      set("lost", lost() + 1);
    }
  }
};

/** @param {Record<string, any>} item as the wire has it */
export const add = (item) => {
  log(held, item);
  if (!mayWait()) return;
  const row = write(sender()) + "\n" + write(item);
  set("q." + (item.id || uuid()) + tab + (item.name == "page-view" ? ".v" : "."), row);
  added += row.length;
  if (!(added < STEP)) evict();
};

/** @param {string} key @returns {Row | undefined} nothing where another tab was quicker, or the text is not ours */
export const row = (key) => attempt(() => {
  const [head, text] = /** @type {string} */ (get(key)).split("\n");
  return [key, text, head, parse(head)];
});
