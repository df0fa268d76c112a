/** Where this script comes from, and the tracker that it brings once the page boots. */

const given = Object(window.leadlightSettings);

/** @param {any} one @returns {any} nothing where it is markup that took the name: a page may show what strangers wrote */
const own = (one) => one?.src && one.name == null && one;

// A classic script, as Intercom's snippet loads one; or imported by tracker.js, which hands over its own tag. Modules have no
// currentScript, and loaders that re-create scripts leave it null: then the tag is found by its address, which is not Intercom's own.
const tag = own(document.currentScript) || own(given.script) || document.querySelector('script[src*="/intercom.js"],script[src*="/widget/"]:not([src*="intercom.io/"])');
const { href, pathname } = new URL(tag.src);
const [, key] = pathname.match(/\/widget\/([^/]+)$/) || [];

/** The site key that the address names: what a boot without `app_id` means. */
export const named = key && decodeURIComponent(key);

const TRACKER = new URL(key ? "../tracker.js" : "tracker.js", href).href;

/** @type {Leadlight.Settings} */
export const settings = { ...given, script: { src: TRACKER, dataset: tag.dataset } };

/**
 * @param {string} site @param {() => void} ready called once the tracker is there; never where it does not come, nor in a page that was
 * prerendered and that nobody looks at
 */
export const start = (site, ready) => {
  settings.site = site;
  window.leadlightSettings = settings;
  // The page may have a tracker already, by a tag of its own.
  if (window.leadlight?.v) return ready();
  import(TRACKER).then(() => {
    // The tracker asked for this before us.
    if (document.prerendering) document.addEventListener("prerenderingchange", ready, { once: true });
    else ready();
  }).catch(console.error);
};
