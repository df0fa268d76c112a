/**
 * Text out of anything a page may pass. JSON.stringify itself will not do: it throws at cycles, BigInt and throwing getters, and pages
 * that define toJSON on Array or Object prototypes make it write something else.
 */

import { attempt } from "./options.js";

// Taken before the page can replace them; with a primitive string, stringify asks nobody.
export const { parse, stringify } = JSON;

// The collector keeps 255 code points of a text and links of 2,048: a cut far above loses nothing, and spares the store.
const LONGEST = 8e3;
// What lies beyond is dropped, so that no page can pass more than the store holds (a DOM node leads to a whole framework).
const MOST = 2e5;
// What lies in an object leaves so much of it, and as much again for each object around it: a huge one costs what is beside it nothing, and
// none is followed further than four deep.
const FLAT = 4e4;
const EACH = 8;

let left = 0;

/** @param {any} value what is text, or has a good one */
const quote = (value) => {
  const short = ("" + value).slice(0, LONGEST);
  left -= short.length;
  return stringify(short.replace(/\p{Cs}/gu, "\ufffd"));
};

/**
 * @param {any} value @param {any[]} above the objects it lies in
 * @returns {string | undefined} JSON, or nothing where the value cannot be written
 */
const text = (value, above) => {
  if ((left -= EACH) < 0) return;
  // Not by instanceof: a page may have a URL of its own.
  if (/(String|BigInt|Error|ption|URL)]/.test({}.toString.call(value))) return quote(value);
  if (typeof value != "object" || !value) return stringify(value);
  if (left < above.length * FLAT || above.includes(value)) return;
  if (value.toISOString) return quote(value.toISOString());
  const list = Array.isArray(value);
  const parts = [];
  for (const key of Object.keys(value)) {
    if (left < above.length * FLAT) break;
    // A throwing getter, an invalid date: this value alone is dropped.
    const part = attempt(() => text(value[key], [...above, value]));
    if (part) parts.push(list ? part : quote(key) + ":" + part);
  }
  // an object of which nothing can be written is dropped like any other such value, or the event would be refused for it
  if (list) return `[${parts}]`;
  if (parts[0] || !above[0]) return `{${parts}}`;
};

/** @param {any} value @returns {string} JSON; empty for what cannot be written at all */
export const write = (value) => {
  left = MOST;
  return attempt(() => text(value, [])) || "";
};

/** @param {any} value @returns {Record<string, any>} a plain copy that may be read without fear; empty where it is no object */
export const plain = (value) => {
  const json = write(value);
  return json[0] == "{" ? parse(json) : {};
};

/** @param {string} text @returns {Uint8Array} it in UTF-8; a Blob would ask the process of the browser for the length, and wait */
export const encode = (text) => new TextEncoder().encode(text);
