/** Two small values that pages on sibling hosts share: the lead and the visitor's choice. Cookies, and localStorage where those fail. */
import { attempt, option } from "./options.js";
import { local } from "./store.js";

const AGE = 34560000; // seconds: 400 days, the longest a browser keeps one

/** All cookies, read once in each task, since each reading waits for another process. Empty: to be read. */
let jar = "";

/** They as this page last looked at them. */
let before = "";

/** Awaits, since no page can spoil that. */
const forget = async () => {
  jar = await "";
};

/** @returns {string} */
const all = () => {
  if (!jar) {
    // Not as the document's own: an image named so, in what strangers wrote, would stand in its place.
    attempt(() => (jar = "; " + Reflect.get(Document.prototype, "cookie", document)));
    forget();
  }
  return jar;
};

/** @returns {boolean} whether any cookie is another one than when this was last asked; pages of sibling hosts share nothing else */
export const changed = () => before != (before = all());

/** @param {string} name @returns {string[]} every value: pages of sibling hosts may have set one of the same name for another path or domain */
const read = (name) => all().split(`; ${name}=`).slice(1).map((rest) => rest.split(";")[0]);

/** @param {string} name @param {string} value an empty one forgets it @param {string} domain none for this host alone */
const bake = (name, value, domain) => {
  document.cookie = `${name}=${value};path=/;max-age=${value ? AGE : 0};samesite=lax` + (domain && ";domain=" + domain) + (/s:/.test(location.protocol) ? ";secure" : "");
  jar = "";
};

/** @param {string} name @param {(value: string) => any} [fits] what it has to be @returns {string | undefined} the first that does */
export const recall = (name, fits = Boolean) => [...read(name), local[name]].find(fits);

/**
 * Writes a value for the widest domain that takes a cookie. Only a trial tells which: no rule knows that `co.uk` or `github.io` is nobody's
 * own. What was kept for another domain, also when the site asked for that, goes afterwards: a tab that finds nothing in between makes
 * somebody new of the visitor, or brings back who has signed out. Each writing and each reading after one waits for another process.
 * @param {string} name @param {string} value an empty one forgets it
 */
export const keep = (name, value) =>
  attempt(() => {
    const asked = ("" + (option("cookie_domain") || "")).toLowerCase().replace(/^\./, "");
    const labels = location.hostname.split(".");
    const domains = ["", ...labels.slice(1).map((label, at) => labels.slice(at).join("."))];
    /** @type {string | undefined} */
    let taken;
    const clear = () => domains.forEach((domain) => domain == taken || bake(name, "", domain));
    // What is there already would pass for taken: on trial it ends with a point.
    const trial = value + (read(name).includes(value) ? "." : "");
    const kept = (/** @type {string} */ domain) =>
      attempt(() => {
        bake(name, trial, domain);
        return read(name).includes(trial);
      });
    if (value) taken = (asked ? [asked == "none" ? "" : asked] : domains.reverse()).find(kept);
    if (trial != value && taken != null) bake(name, value, taken);
    if (read(name)[taken == null ? 0 : 1]) clear();
    if (value && !read(name).includes(value)) local[name] = value;
    else delete local[name];
  });
