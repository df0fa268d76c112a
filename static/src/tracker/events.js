/** Named events, and who is asserted to do them. */
import { record, unpark } from "./delivery.js";
import { refuse } from "./queue.js";
import { assert, gone, lead, saveSession, session, user } from "./sender.js";
import { mayWait } from "./consent.js";
import { happened, part, repeat, settle } from "./view.js";
import { get, set } from "./store.js";
import { option } from "./options.js";
import { encode, plain, write } from "./json.js";

const DAY = 864e5;

/** @param {any} name @param {any} [metadata] */
export const track = (name, metadata) => {
  if (typeof name != "string" || !/^[^\0\p{Cs}]{1,120}$/u.test((name = name.trim().normalize()))) return refuse("name_invalid", "name", name);
  happened(name, plain(metadata));
};

/** @param {string} text @returns {any} a short fingerprint, so that no attribute lies about in storage */
const mark = (text) => encode(text).reduce((sum, byte) => (sum * 65599 + byte) | 0, 0);

/**
 * @param {any} id the user id; null or the attributes alone leave the sender as it is
 * @param {any} about attributes
 * @param {(gpc: any, staff: any) => void} consent
 */
export const identify = (id, about, consent) => {
  const { user_id, user_hash, jwt, impersonated = option("impersonated"), ...attributes } = plain(Object(id) === id ? id : about);
  if (typeof id == "object") id = user_id;
  if (impersonated) return consent(0, 1);
  if (id != null) {
    if (typeof id == "number") id = "" + id;
    if (typeof id != "string" || !/^(?!(\s*|null|undefined|NaN|None|\[object Object\])$)[^\0\p{Cs}]{1,255}$/u.test(id)) return refuse("user_id_invalid", "user_id", id);
    consent(0, 0);
    // The view that waits for its title belongs to whoever was here when it began, not to the next user.
    if (user && user.id != id) {
      settle();
      part();
    }
    const before = write(user);
    assert({ id, hash: user_hash, jwt });
    if (session().id != id || gone(session().lead)) saveSession({ id, lead: lead() });
    unpark();
    // What is for users alone, or for proved ones, waits for this: most pages learn who is here after the view has gone out.
    if (write(user) != before) repeat();
  }
  // Said once for each lead and day: often enough to keep the session alive, seldom enough for pages that identify at every load.
  const said = mark(write([lead(), user?.id, user?.hash, !user?.jwt, attributes, (Date.now() / DAY) | 0]));
  if (mayWait() && get("whosaid") != said) {
    set("whosaid", said);
    record({ type: "identify", at: Date.now(), attributes });
  }
};
