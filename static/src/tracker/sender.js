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

/** The lead as this page knows it. */
export let current = "";

/** The lead that the cookie had when this page last looked, if it may look. @type {any} */
let shared;

/** How the next lead's secret begins: with the same five characters for all, until somebody signs out in this browser. */
let seed = "reset";

/** The leads this page gave up. A cookie that a sibling host set for a path of ours stays, and must not bring one back. */
let over = "";

const fresh = () => token() + "." + (seed + token()).slice(0, 22);

/** @param {User} [value] */
export const assert = (value) => {
  user = value;
};

/**
 * The lead as `ID.SECRET`; read from the cookie in each task, so that a reset in another tab is followed. Made where there is none.
 * @param {any} [renew] gives it its full life again, once in a visit: more would only cost every page @returns {string}
 */
export const lead = (renew) => {
  // Behind it stands a point while another tab renews it.
  const kept = !held && recall(prefix, (value) => /^[\w-]{22}\.[\w-]{22}\.?$/.test(value) && !over.includes(value.slice(0, 45)));
  current = (kept || current || fresh()).slice(0, 45);
  if (!held && (!kept || (renew && !present()))) keep(prefix, current);
  shared = !held && current;
  return current;
};

/**
 * A lead that takes the place of another while nobody signs out has the beginning of its secret in common with it. Pages of sibling hosts
 * share no more than cookies, and tell a sign-out by it.
 * @param {any} [before] a lead; the one that this page saw last, unless it is given @returns {any} whether its visitor signed out since
 */
export const gone = (before = shared) => before && ("" + before).slice(23, 28) != lead().slice(23, 28);

/** Another lead for everything tracked from now on. @param {string} [next] a new one unless it is given @param {string} [begins] its secret */
export const rotate = (next, begins = current.slice(23, 28)) => {
  seed = begins;
  over += current; // all of them have one form, so that none is found across two
  current = next || fresh();
  shared = !held && current;
  keep(prefix, shared || "");
};

/** Nothing that is kept of the user, the visit and the lead remains. */
export const leave = () => {
  assert();
  rotate("", "");
  names("who").forEach(remove);
  // The other tabs of this host hear of it at once, and find the new lead.
  set("reset", Date.now());
};

/**
 * Somebody signed out elsewhere: what is kept here of their session goes, and nothing of whoever came after, in another tab of this host.
 * A moment later, since what other tabs keep may arrive after what they write into cookies. The visit goes on with their lead alone.
 */
export const heed = () =>
  setTimeout(() => {
    if (("" + session().lead).slice(23, 28) != current.slice(23, 28)) remove("who");
  }, 1e3);

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
    if (!gone(kept.lead)) rotate();
  }
  return { lead: lead(), user };
};

/** @returns {string | false} the visit that goes on; none after thirty idle minutes, nor after a sign-out, which other hosts do not hear of */
const present = () => {
  const [id, last, of] = ("" + get("whovisit")).split(" ");
  return of == current.slice(23, 28) && /** @type {any} */ (last) > Date.now() / 1e3 - IDLE && id;
};

/** @returns {string} the visit, shared by the tabs */
export const visit = () => {
  const id = present() || uuid();
  const kept = `${id} ${(Date.now() / 1e3) >>> 0} ${current.slice(23, 28)}`;
  // What a page tracks in one go is written down once.
  if (mayWait() && kept != get("whovisit")) set("whovisit", kept);
  return id;
};
