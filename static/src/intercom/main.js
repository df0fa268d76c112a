/**
 * `window.Intercom`, as pages and packages made for it call it, in terms of `window.leadlight`. Nothing starts before a boot: no cookie, no
 * storage, no request.
 */
import { named, settings, start } from "./origin.js";
import { copy, person } from "./person.js";
import { run, say } from "./words.js";

/** @typedef {import("./words.js").Fn} Fn */

/** Before the first boot calls wait for it; after a shutdown they belong to nobody. @type {"early" | "on" | "over"} */
let state = "early";

/** The site of this page, once it has booted. */
let site = "";

/** The settings that a shutdown left in the page: of whoever is gone. @type {any} */
let left;

/** What waits for the first boot. @type {Fn[]} */
let early = [];

/** What waits for the tracker, in order; nothing any more once that is there. @type {Fn[] | undefined} */
let coming = [];

/** @type {Fn[]} */
let unready = [];

/** @type {Record<string, Fn[]>} */
const listeners = { shown: [], closed: [], email: [] };

/** @param {Fn} work what needs the tracker @returns {void} */
const later = (work) => (coming ? void coming.push(work) : work());

/** @type {Fn} */
const leadlight = (...given) => /** @type {any} */ (window.leadlight)(...given);

/** @type {Fn} */
const tell = (...given) => later(() => leadlight(...given));

/** @param {Fn} work what needs a boot */
const booted = (work) => {
  if (state == "on") work();
  if (state == "early") early.push(work);
};

const announce = () => {
  if (!coming && state == "on") unready.splice(0).forEach((one) => run(one));
};

const came = () => {
  const waiting = coming || [];
  coming = undefined;
  leadlight("onMessage", (/** @type {any} */ { action, question }) =>
    listeners[action == "answered" ? question : action]?.forEach((one) => run(one)),
  );
  waiting.forEach((one) => run(one));
  announce();
};

/** @param {boolean} on whether anything is tracked. Either way a view begins: what answers to the one before has no effect any more. */
const track = (on) =>
  later(() => {
    leadlight("page");
    settings.paused = !on;
  });

/** @param {Record<string, any>} about */
const introduce = (about) => {
  const [id, attributes] = person(about);
  if ("hide_notifications" in about) settings.hide_messages = !!about.hide_notifications;
  later(() => {
    // Named again without its proof, the user keeps the proof it gave. Another tab may have forgotten the user meanwhile.
    const same = id == null || ("" + id == leadlight("status").user && !attributes.user_hash && !attributes.jwt);
    if (!same || Object.keys(attributes)[0]) leadlight("identify", same ? null : id, attributes);
  });
};

/** @param {Record<string, any>} about */
const boot = (about) => {
  const key = "" + (about.app_id || Object(window.intercomSettings).app_id || named || site);
  if (!key || (site && key != site)) return say(site ? `this page is of ${site}, not of ${key}` : "a boot needs an app_id");
  if (!site) start((site = key), came);
  else if (state == "over") track(true);
  state = "on";
  introduce(about);
  early.splice(0).forEach((one) => run(one));
  announce();
};

/** @returns {Partial<Leadlight.Status>} */
const status = () => (!coming && state == "on" ? leadlight("status") : {});

/** @param {string} action */
const hear = (action) => (/** @type {any} */ listener) => {
  if (typeof listener == "function") listeners[action].push(listener);
};

/** @type {Record<string, Fn>} */
const calls = {
  boot: (given) => boot(copy(given)),
  update: (given) => {
    const about = copy(given);
    // A loader that finds Intercom at work updates it with the settings of the page: where nothing runs, they begin.
    const begins = about.app_id && (state == "early" || (state == "over" && given == window.intercomSettings && given != left));
    if (begins) boot(about);
    else booted(() => introduce(about));
  },
  shutdown: () => {
    early = [];
    left = window.intercomSettings;
    if (state == "on") {
      state = "over";
      tell("reset");
      track(false);
    }
  },
  trackEvent: (name, metadata) => booted(() => tell("track", name, metadata)),
  ready: (listener) => {
    unready.push(listener);
    announce();
  },
  getVisitorId: () => {
    const { user, lead } = status();
    return user ? undefined : lead || undefined;
  },
  whoami: () => {
    const { user, lead } = status();
    return { ...(site && { app_id: site }), ...(lead && { visitor_id: lead }), ...(user && { user_id: user }) };
  },
  hideNotifications: (hidden) => {
    settings.hide_messages = !!hidden;
  },
  onShow: hear("shown"),
  onHide: hear("closed"),
  // There is no inbox, so nothing in it is unread.
  onUnreadCountChange: (listener) => run(listener, 0),
  onUserEmailSupplied: hear("email"),
  hide: () => {},
  reattach_activator: () => {},
};
// What objects inherit is no method of ours.
Object.setPrototypeOf(calls, null);

/** @type {Fn} */
const intercom = (method, ...given) =>
  run(() => {
    const call = calls[method];
    return call ? call(...given) : say(`Intercom("${String(method)}") has no counterpart and does nothing`);
  });

/** @type {any} */
const stub = window.Intercom;
// A function without a queue is Intercom's own at work, or this script's.
if (typeof stub != "function" || Array.isArray(stub.q)) {
  const waiting = Object(stub).q || [];
  const take = (/** @type {any} */ given) => run(() => intercom(...given));
  window.Intercom = intercom;
  // Whoever holds on to the stub goes on pushing here.
  if (typeof stub == "function") stub.q = { push: take };
  if (Object(window.intercomSettings).app_id) calls.boot(window.intercomSettings);
  for (const given of waiting) take(given);
}
