/** What of the page goes with an event: texts and attributes, and never what somebody enters or chooses. */

/** @typedef {import("../tracker/messages.js").Host} Host */

const { matches, closest, getAttribute, querySelector } = Element.prototype;
const children = /** @type {() => NodeListOf<Node>} */ (Object.getOwnPropertyDescriptor(Node.prototype, "childNodes")?.get);

/** Fields, native ones and those that pages make. */
const FIELD = "input,textarea,select,option,optgroup,datalist,[contenteditable]:not([contenteditable=false i])"
  + ["textbox", "searchbox", "combobox", "listbox", "option", "slider", "spinbutton"].map((role) => `,[role~=${role} i]`).join("");
const ADDRESS = /(^|[-:])(href|src|srcset|action|url|uri|link|cite|poster|ping)$/i;
const ABSOLUTE = /^([a-z][a-z\d+.-]*:|\/\/)/i;
const LINK = /^(https?|mailto|tel):/i;
const LONGEST = 255;
const LONGEST_LINK = 2048;

/** @param {Element} element @returns {boolean} whether it is a field, or inside of one */
const entered = (element) => {
  /** @type {Element | undefined} */
  let at = element;
  while (at && !closest.call(at, FIELD)) at = /** @type {any} */ (Node.prototype.getRootNode.call(at)).host;
  return !!at || document.designMode == "on";
};

/** @param {Node} node @returns {string} the text that is shown of it, fields left out */
const words = (node) => {
  if (node instanceof Text) return node.data.replace(/\s+/g, " ");
  if (!(node instanceof Element) || matches.call(node, FIELD)) return "";
  const { display } = getComputedStyle(node);
  if (display == "none") return "";
  let text = "";
  for (const child of children.call(node)) {
    text += words(child);
    if (text.length > LONGEST_LINK) break;
  }
  return /^(inline|contents)/.test(display) && !(node instanceof HTMLBRElement) ? text : ` ${text} `;
};

/** @param {string} text @returns {string} as the collector keeps it: a text cut, a link whole or not at all */
const short = (text) => {
  text = text.replace(/\s+/g, " ").trim();
  if (LINK.test(text)) return text.length > LONGEST_LINK ? "" : text;
  return [...text.slice(0, LONGEST * 2)].slice(0, LONGEST).join("").trim();
};

/**
 * Of an address goes what goes of those of pages and referrers: no query parameter that nobody named. Relative ones stay relative.
 * @param {string} text @param {string | null} attribute @param {Host} host @returns {string}
 */
const allowed = (text, attribute, { visible = (address) => address.replace(/[?#].*/s, "") }) => {
  text = text.trim();
  if (attribute ? !ADDRESS.test(attribute) && !/^(https?:|\.{0,2}\/)/i.test(text) : !/^https?:\S*$/i.test(text)) return text;
  const shown = visible(new URL(text, document.baseURI).href);
  return ABSOLUTE.test(text) ? shown : text.replace(/[?#].*/s, "") + (/[?#].*/s.exec(shown) || [""])[0];
};

/**
 * @param {Element} element what a rule matched
 * @param {import("./main.js").Reading[]} readings
 * @param {Host} host
 * @returns {Record<string, string>} what was found of it
 */
export const metadata = (element, readings, host) => {
  const found = Object.create(null);
  for (const [key, attribute, selector] of readings) {
    try {
      const from = selector ? querySelector.call(element, selector) : element;
      if (from && !entered(from)) {
        const text = short(allowed((attribute ? getAttribute.call(from, attribute) : words(from)) || "", attribute, host));
        if (text) found[key] = text;
      }
    } catch (error) {
      // no selector: this key alone is left out
      host.log(key, error);
    }
  }
  return found;
};
