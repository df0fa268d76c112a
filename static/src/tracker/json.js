/**
 * Text out of anything a page may pass. JSON.stringify itself will not do: it throws at cycles, BigInt and throwing getters, and pages
 * that define toJSON on Array or Object prototypes make it write something else.
 */

import { attempt } from "./options.js";

// Taken before the page can replace them; with a primitive string, stringify asks nobody.
export const { parse, stringify } = JSON;

// The collector keeps 255 code points of a text and links of 2,048: a cut far above loses nothing, and spares the store.
const LONGEST = 5e3;
const DEEPEST = 5;
// What lies beyond is dropped, so that no page can pass more than the store holds (a DOM node leads to a whole framework). The deeper
// something lies, the sooner, so that it costs its neighbours nothing.
const MOST = 2e5;
const SHALLOWER = 2e4;
const EACH = 9;

let left = 0;

/** @param {any} value what is text, or has a good one */
const quote = (value) => {
  const short = ("" + value).slice(0, LONGEST);
  left -= short.length;
  return stringify(short.replace(/\p{Cs}/gu, "\ufffd"));
};

/**
 * @param {any} value @param {number} depth of objects it lies in: what leads back to itself ends there too
 * @returns {string | undefined} JSON, or nothing where the value cannot be written
 */
const text = (value, depth) => {
  if (left < depth * SHALLOWER) return;
  left -= EACH;
  if (/str|big/.test(typeof value) || value instanceof Error || value instanceof URL) return quote(value);
  if (typeof value != "object" || !value) return stringify(value);
  if (depth > DEEPEST) return;
  if (value.toISOString) return quote(value.toISOString());
  const list = Array.isArray(value);
  const parts = Object.keys(value).flatMap((key) => {
    // A throwing getter, an invalid date: this value alone is dropped.
    const part = attempt(() => text(value[key], depth + 1));
    return part ? (list ? part : quote(key) + ":" + part) : [];
  });
  // an object of which nothing can be written is dropped like any other such value, or the event would be refused for it
  return list ? `[${parts}]` : parts[0] || !depth ? `{${parts}}` : undefined;
};

/** @param {any} value @returns {string} JSON; empty for what cannot be written at all */
export const write = (value) => {
  left = MOST;
  return attempt(() => text(value, 0)) || "";
};

/** @param {any} value @returns {Record<string, any>} a plain copy that may be read without fear; empty where it is no object */
export const plain = (value) => {
  const json = write(value);
  return json[0] == "{" ? parse(json) : {};
};

/** @param {string} text @returns {Uint8Array} it in UTF-8; a Blob would ask the process of the browser for the length, and wait */
export const encode = (text) => new TextEncoder().encode(text);
