/** Page rules, as the collector understands them (collector/values/page_rules): a test asks both of the same addresses. */

/**
 * @typedef {["AND" | "OR" | "NOT", PageRule[]]} Group
 * @typedef {[operator: string, field: string, pattern: string, name: string | null]} FieldRule
 * @typedef {Group | FieldRule} PageRule
 */

/** What one character of a segment may not be. @type {Record<string, RegExp>} */
const ENDS = { host: /\./, path: /\//, query: /\//, url: /[/?#]/ };

/** @param {string} path @returns {string} percent-decoded, but for encoded slashes, which separate nothing */
const decoded = (path) =>
  path.replace(/(%[\da-f]{2})+/gi, (run) =>
    new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(new Uint8Array((run.match(/[\da-f]{2}/gi) || []).map((pair) => parseInt(pair, 16))))
      .replace(/\//g, "%2F"));

/** @param {string} pattern @param {string} text @param {RegExp} end @returns {boolean} */
const wild = (pattern, text, end) => {
  /** The places of the text up to which the pattern may have come. */
  let places = new Set([0]);
  for (const part of pattern.split(/(\*+)/)) {
    const next = new Set();
    for (const place of places) {
      if (part[0] != "*") {
        if (text.startsWith(part, place)) next.add(place + part.length);
        continue;
      }
      if (part[1]) next.add(place);
      // Whoever comes to a place that was reached already would go the same way on.
      for (let at = place + 1; at <= text.length && !next.has(at) && (part[1] || !end.test(text[at - 1])); at++) next.add(at);
    }
    places = next;
  }
  return places.has(text.length);
};

/** @param {URL} url @param {string} field @param {string} name @returns {string[]} texts of which any may match */
const texts = ({ host, hostname, href, pathname, hash, searchParams }, field, name) => {
  if (field == "host") return [hostname, host];
  if (field == "path") return [decoded(pathname)];
  return field == "query" ? searchParams.getAll(name) : [href, href.slice(0, href.length - hash.length)];
};

/** @param {PageRule} rule @param {URL} url @returns {boolean} */
const judge = (rule, url) => {
  const [operator, field, pattern, name] = /** @type {any[]} */ (rule);
  if (typeof field != "string") {
    const holding = (/** @type {PageRule} */ one) => judge(one, url);
    return operator == "AND" ? field.every(holding) : field.some(holding) == (operator == "OR");
  }
  return texts(url, field, name).some((text) =>
    operator == "is" ? text == pattern
      : operator == "starts" ? text.startsWith(pattern)
      : operator == "contains" ? text.includes(pattern)
      : wild(pattern, text, ENDS[field]));
};

/** @param {PageRule} rule @param {string} address @returns {boolean} what is no web address meets none, not even a NOT */
export const holds = (rule, address) => /^https?:/.test(address) && judge(rule, new URL(address));
