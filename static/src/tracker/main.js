/** The public call, and the order in which things start. */
import { attempt, option, prefix, script, site } from "./options.js";
import { ask, choice, choose, held, remember } from "./consent.js";
import { changed } from "./cookie.js";
import { attach, exit, hurry, look, retryAt, sent, wake } from "./delivery.js";
import { identify, track } from "./events.js";
import { end, host, learn, load, offer, overhear, show } from "./messages.js";
import { lost, refused, waiting } from "./queue.js";
import { assert, current, gone, heed, lead, leave, rotate, session, user } from "./sender.js";
import { get, open, set, wipe } from "./store.js";
import { again, arm, part, settle, unsettled, view, watch } from "./view.js";

/**
 * Brings storage in line with what the visitor, the browser and the site allow now.
 * @param {any} [gpc] @param {any} [staff] see `ask` @param {string} [made] a permission that is given now
 */
const consent = (gpc, staff, made) => {
  const before = current;
  const changes = ask(gpc, staff, made);
  if (made) {
    // Other tabs that hear of it, by the storage, find the lead and the choice.
    lead();
    choose(made);
  }
  if (changes) apply(before);
  if (changes || made) remember();
};

/** @param {string} before the lead of what waited */
const apply = (before) => {
  if (!held) {
    // Another tab, where consent was given, may have been quicker: what waited here is the same visitor's.
    open((text) => text.replace(before, lead()));
    lead(1);
    wake();
    const domains = option("link_domains");
    if (domains) load("handover.js", ({ start }) => held || start(domains, host, rotate, waiting, get, set));
  } else {
    part();
    if (/^[gdco]/.test(held)) {
      leave();
      wipe();
    }
  }
  learn(get("rules"));
};

/** Somebody else is here than this page knew. */
const change = () => {
  assert();
  part();
};

/** Follows what pages of sibling hosts did: signed the visitor out, chose anew. @param {any} [gpc] see `ask` */
const follow = (gpc) => {
  consent(gpc);
  if (gone()) {
    heed();
    change();
  }
};

/** And those of this host: another user signed in there. That nothing is kept of anybody says nothing; pages empty their storage. */
const meanwhile = () => {
  follow();
  if (user && (session().id ?? user.id) != user.id) change();
};

/** Whether the calls made before the script arrived are done: until then the first view belongs to whoever they leave here. */
let started = false;

const reset = () => {
  if (started) settle();
  leave();
  part();
};

/** @type {Record<string, (...given: any[]) => any>} */
const calls = {
  track,
  identify: (id, about) => identify(id, about, consent),
  reset,
  page: again,
  optIn: (version = "") => consent(0, undefined, "in." + encodeURIComponent(version)),
  optOut: () => {
    choose("out");
    consent();
    remember(); // also where it is what holds already
  },
  showMessage: show,
  onMessage: (listener) => {
    host.listeners.push(listener);
  },
  status: () => ({
    site,
    held,
    choice,
    lead: held ? "" : lead().slice(0, 22),
    user: user?.id,
    view,
    queued: waiting().length,
    sent,
    refused,
    dropped: lost(),
    retry_at: retryAt,
  }),
};

/** @param {any} given the arguments of one call; a loop over them fails where they are none */
const call = (given) => attempt(() => {
  const [method, ...rest] = given;
  look();
  return calls[method](...rest);
});

const leaving = () => {
  look();
  settle();
  exit();
};

const start = () => {
  /** @type {any} */
  const stub = window.leadlight;
  // A second copy of the snippet finds the first one at work.
  if (stub?.v == 1) return;
  consent();
  attach(unsettled, offer, (gpc) => {
    if (changed() || gpc) follow(gpc);
  });
  watch(end);
  overhear();
  addEventListener("pagehide", leaving);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leaving();
    else {
      arm();
      wake(0);
    }
  });
  addEventListener("online", hurry);
  addEventListener("storage", ({ key }) => {
    // Pages write keys of their own, and other tabs what waits there; without a key all was emptied.
    if (!key || (key.startsWith(prefix) && !key.includes(".q."))) meanwhile();
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) {
      meanwhile();
      again();
    }
  });
  /** @type {any} */
  const leadlight = (/** @type {any[]} */ ...given) => call(given);
  leadlight.v = 1;
  // Whoever holds on to the stub goes on pushing here.
  leadlight.q = { push: call };
  attempt(() => {
    window.leadlight = leadlight;
    stub?.q?.forEach(call);
  });
  started = true;
};

if (!site && (window.Intercom || window.intercomSettings)) {
  // The page speaks Intercom: it says there who it is, and when to begin.
  attempt(() => (window.leadlightSettings = { ...window.leadlightSettings, script }));
  load("intercom.js");
} else if (document.prerendering) document.addEventListener("prerenderingchange", start);
else start();
