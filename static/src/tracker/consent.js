/**
 * Whether anything may be kept or sent, and why not: the visitor's explicit choice, then the browser's signal, then the site's default.
 */
import { attempt, base, option, prefix, setting, site } from "./options.js";
import { keep, recall } from "./cookie.js";
import { local } from "./store.js";

const NAME = prefix + "_choice";

/** What the envelope says where the site counts its own tests. */
export const counted = option("automation") == "count" ? "count" : undefined;

/** `in` or `out`, and after a point the version of the text that was agreed to. */
export let choice = "";

/** Why nothing is kept or sent; empty where it may be. Nothing before it was asked for. @type {string} */
export let held;

/** @type {any} */
let impersonated = option("impersonated");

/** Whether the browser's signal is there, also where the collector alone sees it, in a header that an extension adds. @type {any} */
let signal;

/**
 * Reads the choice anew; another tab may have made one.
 * @param {any} [gpc] whether the collector says that the browser asks not to be tracked
 * @param {any} [staff] whether somebody of the staff looks at the page as the user who is identified; without it as before
 * @param {string} [made] the choice that the visitor makes now, which is not written down yet
 * @returns {boolean} whether this changed what holds
 */
export const ask = (gpc, staff = impersonated, made = recall(NAME)) => {
  impersonated = staff;
  signal = gpc || signal || navigator.globalPrivacyControl;
  const before = held;
  const asked = option("consent");
  choice = made || choice;
  held = !site || !base ? "site_missing"
    : top != window && !option("frames") ? "frame"
    : navigator.webdriver && !counted ? "automation"
    : choice && choice[0] != "i" ? "opted_out"
    : impersonated ? "impersonated"
    : choice ? ""
    : signal ? "gpc"
    : navigator.doNotTrack == "1" ? "dnt"
    // what nobody knows holds everything back, and so does a no
    : (asked ?? "granted") == "granted" ? ""
    : "consent_" + asked;
  return held != before;
};

/** @param {string} made */
export const choose = (made) => keep(NAME, (choice = made));

/**
 * Keeps a withdrawal beside its cookie, since some browsers drop a script's cookies after seven days. Not a consent: another host may hear
 * of its end, and this one would not, once both cookies are gone.
 */
export const remember = () =>
  attempt(() => {
    if (choice[0] == "o") local[NAME] = choice;
    else if (choice && local[NAME] == "out") delete local[NAME];
  });

/** Whether anything may be tracked, if only to wait in memory for a consent to come. What a page asks of us in `paused` may change. */
export const mayWait = () => !setting("paused") && (!held || /^[gdc]/.test(held));
