/**
 * Which script this is, and what the page asked for. Read once, when the script runs: `currentScript` is gone later.
 */

/** @template T @param {() => T} work @returns {T | undefined} what it gave, or nothing where it threw */
export const attempt = (work) => {
  try {
    return work();
  } catch (error) {
    log(error);
  }
};

/** @type {any} */
let debug;

/** @param {...any} words said in the console while debugging */
export const log = (...words) => {
  if (debug) console.log("leadlight", ...words);
};

/**
 * @param {string} name @returns {any} what the page set now; a getter of its may throw. What strangers wrote into it, elements of that id,
 * the window has as well, but not as its own.
 */
export const setting = (name) => attempt(() => /** @type {any} */ ({}.hasOwnProperty.call(window, "leadlightSettings") ? window.leadlightSettings : 0)[name]);

// Loaders that re-create scripts leave currentScript null: then the tag is found by its address, one that names a site first.
// Imported there is no tag, and whoever imports says what stands for it. What has a name is markup that took that one's place: a page may
// show what strangers wrote, and an image among it must not say where scripts come from.
const current = setting("script") || document.currentScript;
/** @type {Pick<HTMLScriptElement, "src" | "dataset"> | null} */
export const script = current?.src && current.name == null ? current
  : document.querySelector('script[src*="/tracker.js"][data-site],script[src*="/tracker.js?"]') || document.querySelector('script[src*="/tracker.js"]');
const address = script && new URL(script.src);

/**
 * An option: the attribute of the tag, else the setting. An attribute without a value is true.
 * @param {string} name as among the settings; a dataset writes its last word with a capital letter @returns {any}
 */
export const option = (name) => {
  const value = script?.dataset[name.replace("_d", "D")] ?? setting(name);
  return value === "" || (value != "false" && value);
};

/** The folder of the script, where the collector answers. */
export const base = address && new URL(".", address).href;

/** @type {string | undefined} */
export const site = script?.dataset.site || setting("site") || address?.searchParams.get("site");

/** The name of the cookie, and the beginning of every key in storage. */
export const prefix = "leadlight_" + site;

debug = option("debug") || /leadlight_debug=1/.test(location.search);
