/** Builds the body of a message out of the node tree of the wire, element by element: no HTML text is ever parsed. */

const TAGS = ["p", "strong", "em", "a", "ul", "ol", "li", "br", "h1", "h2", "h3", "code", "pre", "blockquote", "img", "hr"];
const SCHEMES = ["http:", "https:", "mailto:", "tel:"];

/** @param {string | null | undefined} address @param {number} [most] how many of the schemes will do @returns {string} empty where it may not be followed */
export const safe = (address, most = SCHEMES.length) => {
  try {
    const url = new URL(/** @type {string} */ (address), document.baseURI);
    return address && SCHEMES.slice(0, most).includes(url.protocol) ? url.href : "";
  } catch {
    return "";
  }
};

/** @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {string} [name] class @param {...(Node | string)} children */
export const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
};

/** @param {string} address @param {string} alt @returns {HTMLImageElement | ""} taken out again where it does not load or the page forbids it */
export const picture = (address, alt) => {
  const source = safe(address, 2);
  if (!source) return "";
  const image = make("img");
  image.alt = alt;
  image.referrerPolicy = "no-referrer";
  image.onerror = () => image.remove();
  image.src = source;
  return image;
};

/** @param {string} address @returns {HTMLElement} a link, or the mere text of one that may not be followed */
export const link = (address) => {
  const href = safe(address);
  if (!href) return make("span");
  const anchor = make("a");
  anchor.href = href;
  anchor.rel = "noopener";
  return anchor;
};

/**
 * @param {import("./claim.js").Node[] | undefined} nodes
 * @param {string} heading what headings become, which all look alike
 * @param {number} [depth] @returns {(Node | string)[]}
 */
export const build = (nodes, heading, depth = 0) => {
  if (!Array.isArray(nodes) || depth > 20) return [];
  return nodes.flatMap((node) => {
    if (typeof node == "string") return [node];
    if (!node || !TAGS.includes(node.tag)) return build(node?.children, heading, depth + 1);
    if (node.tag == "img") return [picture(node.src || "", node.alt || "")];
    const element = node.tag == "a" ? link(node.href || "") : document.createElement(/^h\d/.test(node.tag) ? heading : node.tag);
    element.append(...build(node.children, heading, depth + 1));
    return [element];
  });
};
