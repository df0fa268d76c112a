/**
 * Named texts of this site: in localStorage once that is allowed; in the page's memory before, and where storage is missing, full or
 * forbidden. Storage is used as the plain object it also is, so that a plain object can stand in for it.
 */
import { attempt, prefix } from "./options.js";
import { token } from "./ids.js";

/** @typedef {Record<string, string>} Shelf */

const PREFIX = prefix + ".";
const TAB = PREFIX + "tab";

/** @type {Shelf} */
export const local = attempt(() => localStorage) || {};
/** @type {Shelf} */
const session = attempt(() => sessionStorage) || {};
/** What found no room on the disk, and this page's own items: many a site empties its storage when somebody signs out. @type {Shelf} */
const memory = {};
/** @type {Shelf} */
let disk = {};

/** Stands for this tab over its pages: who leaves an item behind sends it from the next page, before the items of that page. */
export const tab = session[TAB] || token().slice(0, 6);

/** @param {string} name @returns {string | undefined} */
export const get = (name) => disk[PREFIX + name] ?? memory[PREFIX + name];

/** @param {string} name */
export const remove = (name) => {
  delete disk[PREFIX + name];
  delete memory[PREFIX + name];
};

/** @param {string} name @param {any} value */
export const set = (name, value) => {
  if (name[1] == ".") memory[PREFIX + name] = value;
  try {
    disk[PREFIX + name] = value;
  } catch {
    remove(name);
    memory[PREFIX + name] = value;
  }
};

/** @param {string} start @returns {string[]} the names that begin so, in order */
export const names = (start) =>
  [...new Set([...Object.keys(disk), ...Object.keys(memory)])]
    .filter((key) => key.startsWith(PREFIX + start))
    .map((key) => key.slice(PREFIX.length))
    .sort();

/**
 * From now on the disk may be used; what waited in memory goes there, but for what another tab has there already.
 * @param {(text: string) => string} change made to it; asked before anything is stored, which the other tabs hear of
 */
export const open = (change) => {
  const before = disk;
  if (before == local) return;
  disk = local;
  for (const key of Object.keys(before)) disk[key] ?? set(key.slice(PREFIX.length), change("" + before[key]));
  attempt(() => (session[TAB] = tab));
};

/** Leaves nothing of ours, neither in memory nor on the disk. */
export const wipe = () => {
  disk = local;
  names("").forEach(remove);
  disk = {};
  delete session[TAB];
};
