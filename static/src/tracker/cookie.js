/** Two small values that pages on sibling hosts share: the lead and the visitor's choice. Cookies, and localStorage where those fail. */
import { attempt, option, prefix } from "./options.js";
import { local } from "./store.js";

const AGE = 34560000; // seconds: 400 days, the longest a browser keeps one

/** The Domain part; nothing before it was looked for. @type {string | undefined} */
let domain;

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
    jar = "; " + attempt(() => document.cookie);
    forget();
  }
  return jar;
};

/** @returns {boolean} whether any cookie is another one than when this was last asked; pages of sibling hosts share nothing else */
export const changed = () => before != (before = all());

/** @param {string} name @returns {string[]} every value: pages of sibling hosts may have set one of the same name for another path or domain */
const read = (name) => all().split(`; ${name}=`).slice(1).map((rest) => rest.split(";")[0]);

/** @param {string} name @param {string} value an empty one forgets it */
const bake = (name, value) => {
  document.cookie = `${name}=${value};path=/;max-age=${value ? AGE : 0};samesite=lax${domain}` + (location.protocol == "https:" ? ";secure" : "");
  jar = "";
};

/** @param {string} name @param {(value: string) => any} [fits] what it has to be @returns {string | undefined} the first that does */
export const recall = (name, fits = Boolean) => [...read(name), local[name]].find(fits);

/**
 * Writes a value for the widest domain that takes a cookie. Only a trial tells which: no rule knows that `co.uk` or `github.io` is nobody's
 * own. What is new tells by itself whether it was taken, what is renewed does not. Each writing and each reading after one waits for
 * another process.
 * @param {string} name @param {string} value an empty one forgets it
 */
export const keep = (name, value) => {
  delete local[name];
  attempt(() => {
    if (domain == null) {
      const asked = option("cookie_domain");
      const labels = asked ? [] : location.hostname.split(".");
      const trial = value && !read(name).includes(value) ? name : prefix + "_try";
      const said = value || "1";
      for (let count = 2; count <= labels.length; count++) {
        domain = ";domain=" + labels.slice(-count).join(".");
        bake(trial, said);
        if (read(trial).includes(said)) return trial == name || (bake(trial, ""), bake(name, value));
      }
      domain = asked && asked != "none" ? ";domain=" + asked : "";
    }
    bake(name, value);
  });
  if (value && !read(name).includes(value)) attempt(() => (local[name] = value));
};
