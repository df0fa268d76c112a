/**
 * Events without code: clicks and submits that a rule of the site selects are tracked under the rule's name. The collector serves this
 * script with the rules in front of it; tracker.js loads it where there are any.
 */
import { holds } from "./page.js";
import { metadata } from "./read.js";

/**
 * @typedef {[key: string, attribute: string | null, selector: string | null]} Reading
 * @typedef {{event: string, on: string, selector: string, page: import("./page.js").PageRule | null, read: Reading[]}} Rule
 * @typedef {import("../tracker/messages.js").Host} Host
 */

// A form's own properties are hidden by fields of the same name.
const { matches } = Element.prototype;

/** @param {Host} host */
export const start = (host) => {
  const nowhere = document.createDocumentFragment();
  let rules = RULES.filter(({ selector }) => {
    try {
      nowhere.querySelector(selector);
      return true;
    } catch (error) {
      host.log("no selector", selector, error);
    }
  });
  // Other rules come with another script. This one hears on, and nothing comes of it.
  host.stop = () => {
    rules = [];
  };

  /** What the present click, or submit, was counted for: the click that a label hands on to its field is the same one. @type {Set<Rule>} */
  const counted = new Set();

  /** @param {string} type @param {EventTarget[]} path what it happened on and in, the innermost first */
  const judge = (type, path) => {
    try {
      // What happens to a message of ours is counted with the message.
      if (path.some((node) => node instanceof Element && node.localName == "leadlight-message")) return;
      // A submit does not leave its shadow tree, but the click or the focus before it does.
      for (const node of path) if (node instanceof ShadowRoot) node.addEventListener("submit", heard, true);
      for (const rule of rules) {
        const element = rule.on == type && !counted.has(rule) && path.find((node) => node instanceof Element && matches.call(node, rule.selector));
        if (element && (!rule.page || holds(rule.page, host.page().url))) {
          if (!counted.size) setTimeout(() => counted.clear());
          counted.add(rule);
          host.track(rule.event, metadata(/** @type {Element} */ (element), rule.read, host));
        }
      }
    } catch (error) {
      host.log(error);
    }
  };
  /** @param {Event} event */
  const heard = (event) => judge(event.type, event.composedPath());
  // What was clicked since counts as if it were clicked now, so only in the view that is still on, and once for each
  // rule. Old trackers kept nothing.
  for (const [type, path, view] of host.early || []) if (view == host.view()) judge(type, path);
  host.early = undefined;
  for (const type of ["click", "submit", "focusin"]) document.addEventListener(type, heard, true);
};
