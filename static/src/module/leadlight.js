/**
 * The tracker's calls by name, for pages that are bundled. The tracker itself comes from the collector, so that its fixes arrive without
 * an update of this file. It is its own build: bundlers need the comments inside of import().
 */

/** @type {(...given: any[]) => any} */
const call = (...given) => {
  // A server renders for many visitors: what one of them does must not wait there for another.
  if (typeof window == "undefined") return;
  if (!window.leadlight) {
    /** @type {any[]} */
    const q = [];
    /** @type {any} */
    const stub = (/** @type {any[]} */ ...later) => void q.push(later);
    window.leadlight = Object.assign(stub, { q });
  }
  return /** @type {any} */ (window.leadlight)(...given);
};

/** @param {string} host @param {Leadlight.Settings} settings @returns {Promise<unknown>} */
const fetched = async (host, settings) => {
  const folder = (/^(https?:\/)?\//.test(host) ? host : "https://" + host).replace(/\/?$/, "/");
  const src = new URL(folder + "tracker.js", location.href).href;
  window.leadlightSettings = { ...window.leadlightSettings, ...settings, script: { src, dataset: {} } };
  // Not a script tag: import() passes Trusted Types, and takes the nonce of the script that calls it.
  return import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ src);
};

let loaded = false;

/** @type {Leadlight.Module["load"]} */
export const load = (given) => {
  if (typeof window == "undefined" || loaded) return;
  const { site, host, ...options } = Object(given);
  if (!site || !host) return console.error("leadlight: load() needs site and host, got", { site, host });
  loaded = true;
  fetched(host, { ...options, site }).catch((error) => {
    loaded = false; // it may be asked for again, by a page that was without a network
    console.warn("leadlight: no tracker from", host, error);
  });
};

/** @type {Leadlight.Module["track"]} */
export const track = (...given) => call("track", ...given);

/** @type {Leadlight.Module["page"]} */
export const page = () => call("page");

/** @type {Leadlight.Module["identify"]} */
export const identify = (...given) => call("identify", ...given);

/** @type {Leadlight.Module["reset"]} */
export const reset = () => call("reset");

/** @type {Leadlight.Module["optIn"]} */
export const optIn = (...given) => call("optIn", ...given);

/** @type {Leadlight.Module["optOut"]} */
export const optOut = () => call("optOut");

/** @type {Leadlight.Module["showMessage"]} */
export const showMessage = (...given) => call("showMessage", ...given);

/** @type {Leadlight.Module["onMessage"]} */
export const onMessage = (...given) => call("onMessage", ...given);

/** @type {Leadlight.Module["status"]} */
export const status = () => (typeof window != "undefined" && window.leadlight?.v ? window.leadlight("status") : undefined);
