/** Two small values that pages on sibling hosts share: the lead and the visitor's choice. Cookies, and localStorage where those fail. */
import { attempt, option, prefix } from "./options.js";
import { local } from "./store.js";

const AGE = 34560000; // 400 days, the longest a browser keeps one

/** The Domain part; nothing before it was looked for. @type {string | undefined} */
let domain;

/** @param {string} name @returns {string[]} every value: pages of sibling hosts may have set one of the same name for another path or domain */
const read = (name) => attempt(() => ("; " + document.cookie).split(`; ${name}=`).slice(1).map((rest) => rest.split(";")[0])) || [];

/** @param {string} name @param {string} value @param {number} age in seconds */
const bake = (name, value, age) => {
  document.cookie = `${name}=${value};path=/;max-age=${age};samesite=lax${domain}` + (location.protocol == "https:" ? ";secure" : "");
};

/** @param {string} name @param {(value: string) => any} [fits] what it has to be @returns {string | undefined} the first that does */
export const recall = (name, fits = Boolean) => [...read(name), local[name]].find(fits);

/**
 * Writes a value for the widest domain that takes a cookie. Only a trial tells which: no rule knows that `co.uk` or `github.io` is nobody's
 * own. What is new tells by itself whether it was taken, what is renewed does not. Each writing and each reading after one waits for
 * another process.
 * @param {string} name @param {string} value
 */
const write = (name, value) => {
  const age = value ? AGE : 0;
  if (domain == null) {
    const asked = option("cookie_domain");
    const labels = asked ? [] : location.hostname.split(".");
    const trial = value && !read(name).includes(value) ? name : prefix + "_try";
    const said = value || "1";
    for (let count = 2; count <= labels.length; count++) {
      domain = ";domain=" + labels.slice(-count).join(".");
      bake(trial, said, AGE);
      if (read(trial).includes(said)) return trial == name || (bake(trial, "", 0), bake(name, value, age));
    }
    domain = asked && asked != "none" ? ";domain=" + asked : "";
  }
  bake(name, value, age);
};

/** @param {string} name @param {string} value an empty one forgets it */
export const keep = (name, value) => {
  delete local[name];
  attempt(() => write(name, value));
  if (value && !read(name).includes(value)) attempt(() => (local[name] = value));
};
