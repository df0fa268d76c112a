/** Two small values that pages on sibling hosts share: the lead and the visitor's choice. Cookies, and localStorage where those fail. */
import { attempt, option, prefix } from "./options.js";
import { local } from "./store.js";

const AGE = 34560000; // 400 days, the longest a browser keeps one

/** The Domain part; nothing before it was looked for. @type {string | undefined} */
let domain;

/** @param {string} name */
const read = (name) => attempt(() => ("; " + document.cookie).split(`; ${name}=`)[1]?.split(";")[0]);

/** @param {string} name @param {string} value @param {number} age in seconds */
const bake = (name, value, age) => {
  document.cookie = `${name}=${value};path=/;max-age=${age};samesite=lax${domain}` + (location.protocol == "https:" ? ";secure" : "");
};

/** Finds the widest domain that takes a cookie. Only a trial tells: no rule knows that `co.uk` or `github.io` is nobody's own. */
const widen = () => {
  const asked = option("cookieDomain", "cookie_domain");
  const labels = location.hostname.split(".");
  const probe = prefix + "_try";
  for (let count = 2; !asked && count <= labels.length; count++) {
    domain = ";domain=" + labels.slice(-count).join(".");
    bake(probe, "1", 9);
    if (read(probe)) return bake(probe, "", 0);
  }
  domain = asked && asked != "none" ? ";domain=" + asked : "";
};

/** @param {string} name @returns {string | undefined} */
export const recall = (name) => read(name) || local[name];

/** @param {string} name @param {string} value an empty one forgets it */
export const keep = (name, value) => {
  delete local[name];
  attempt(() => {
    if (domain == null) widen();
    bake(name, value, value ? AGE : 0);
  });
  if (value && read(name) != value) attempt(() => (local[name] = value));
};
