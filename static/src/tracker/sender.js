/**
 * Who sends: the browser's lead, and the user whom this page view asserts. Every item keeps the sender it was tracked under.
 */
import { attempt, prefix } from "./options.js";
import { token, uuid } from "./ids.js";
import { keep, recall } from "./cookie.js";
import { held, mayWait } from "./consent.js";
import { get, names, remove, set } from "./store.js";
import { parse, write } from "./json.js";

/**
 * @typedef {{id: string, hash?: string, jwt?: string}} User
 * @typedef {{lead: string, user?: User}} Sender
 * @typedef {{id?: string, lead?: string, token?: string, expires_at?: number}} Session the newest one the collector gave, for its user and lead
 */

const IDLE = 1800; // seconds

/** Never stored: another page view has to assert it again. @type {User | undefined} */
export let user;

let current = "";

/** The lead that the cookie had when this page last looked, if it may look. @type {any} */
export let shared;

/** The leads this page gave up. A cookie that a sibling host set for a path of ours stays, and must not bring one back. */
let over = "";

/** @param {User} [value] */
export const assert = (value) => {
  user = value;
};

/**
 * The lead as `ID.SECRET`; read from the cookie in each task, so that a reset in another tab is followed. Made where there is none.
 * @param {any} [renew] gives it its full life again @returns {string}
 */
export const lead = (renew) => {
  const kept = !held && recall(prefix, (value) => /^[\w-]{22}\.[\w-]{22}$/.test(value) && !over.includes(value));
  current = kept || current || token() + "." + token();
  if (!held && (renew || !kept)) keep(prefix, current);
  shared = !held && current;
  return current;
};

/** Another lead for everything tracked from now on. @param {string} [next] a new one unless it is given */
export const rotate = (next = "") => {
  over += current; // all of them have one form, so that none is found across two
  keep(prefix, (current = shared = next));
  lead();
};

/** Nothing of the user, the visit and the lead remains. */
export const leave = () => {
  assert();
  rotate();
  // the other tabs hear of this
  names("who").forEach(remove);
};

/** @returns {Session} of the user last identified in this browser; empty for none */
export const session = () => attempt(() => parse(get("who") || "{}")) || {};

/** @param {Session} value */
export const saveSession = (value) => set("who", write(value));

/** @returns {Sender} */
export const sender = () => {
  // Whoever sits here after the session has ended is not known to be that user any more.
  const kept = session();
  if (!user && /** @type {number} */ (kept.expires_at) < Date.now()) {
    remove("who");
    if (kept.lead == lead()) rotate();
  }
  return { lead: lead(), user };
};

/** @returns {string | false} the visit that goes on; none after thirty idle minutes */
const present = () => {
  const [id, last] = ("" + get("whovisit")).split(" ");
  return Date.now() / 1e3 - +last < IDLE && id;
};

/** Gives the lead its full life again, once in a visit: more would only cost every page. */
export const renew = () => lead(!present());

/** @returns {string} the visit, shared by the tabs */
export const visit = () => {
  const id = present() || uuid();
  const kept = id + " " + (Date.now() / 1e3 >>> 0);
  // What a page tracks in one go is written down once.
  if (mayWait() && kept != get("whovisit")) set("whovisit", kept);
  return id;
};
