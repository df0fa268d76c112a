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
 * Finds the widest domain that takes a cookie. Only a trial tells which: no rule knows that `co.uk` or `github.io` is nobody's own. What is
 * new tells by itself whether it was taken, what is renewed does not. Each writing and each reading after one waits for another process.
 * @param {string} name @param {string} value what is about to be written
 */
const widest = (name, value) => {
  const asked = option("cookie_domain");
  const labels = asked ? [] : location.hostname.split(".");
  const trial = read(name).includes(value) ? prefix + "_try" : name;
  for (let count = 2; count <= labels.length; count++) {
    domain = ";domain=" + labels.slice(-count).join(".");
    bake(trial, value, AGE);
    if (read(trial).includes(value)) return trial != name && bake(trial, "", 0);
  }
  domain = asked && asked != "none" ? ";domain=" + asked : "";
};

/** @param {string} name @param {string} value an empty one forgets it */
export const keep = (name, value) => {
  delete local[name];
  attempt(() => {
    domain ?? widest(name, value);
    bake(name, value, value ? AGE : 0);
  });
  if (value && !read(name).includes(value)) attempt(() => (local[name] = value));
};
