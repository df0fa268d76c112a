/**
 * Takes the visitor's lead along to the site's other domains, and over from them. tracker.js loads it where the page names such domains.
 *
 * The parameter is good once and for two minutes, and stands in the fragment: no server, log, cache or referrer ever sees it, and no index
 * keeps it. A link is changed for its own click alone, so what is copied never has it. Where it is not there in time, the link is followed
 * as it is.
 */

/** @typedef {import("../tracker/messages.js").Host} Host */
/** @typedef {{lead?: string, value?: string, until: number}} Given `value` is the parameter for that lead, until a time (ms) */

const FRESH = 9e4; // of the parameter's two minutes; the rest is for the navigation
const QUIET = 5e3; // after a failure
const PATIENCE = 1e4;

/** @param {string} host @param {string} domain @returns {boolean} */
const within = (host, domain) => ("." + host).endsWith("." + domain);

/** @param {any} listed text or list @returns {string[]} the site's other domains, as browsers write host names */
const others = (listed) =>
  ("" + listed).split(/[\s,]+/).flatMap((name) => {
    try {
      const { hostname } = new URL("http://" + name);
      // Hosts of one domain share the cookie, or are kept apart on purpose.
      return within(location.hostname, hostname) ? [] : hostname;
    } catch {
      return [];
    }
  });

/** @param {string} path @param {string} body @returns {Promise<any>} what the collector answers; an error is an answer without what was asked for */
const ask = async (path, body) => {
  const response = await fetch(new URL(path, import.meta.url), { method: "POST", body, signal: AbortSignal.timeout?.(PATIENCE) });
  return Object(await response.json());
};

/** @param {Event} event @returns {HTMLAnchorElement | undefined} the link it happened to, also in a shadow tree */
const linkOf = (event) => /** @type {any} */ (event.composedPath().find((/** @type {any} */ node) => /^(a|area)$/.test(node.localName) && node.host));

/** @returns {string} the public id of the lead; empty while nothing may be sent */
const visitor = () => window.leadlight("status").lead;

/** @param {string[]} domains @param {Host} host @param {() => string} visit its id */
const watch = (domains, host, visit) => {
  /** By domain. @type {Map<string, Given>} */
  const given = new Map();

  /** @param {HTMLAnchorElement | undefined} link @returns {string | undefined} the domain it leads to, where it can be handed something */
  const target = (link) => (link && !link.hash && (link.protocol == "https:" || link.protocol == location.protocol) ? domains.find((name) => within(link.hostname, name)) : undefined);

  /** @param {Event} event */
  const near = async (event) => {
    const domain = target(linkOf(event));
    const lead = domain && visitor();
    const known = domain && given.get(domain);
    if (!domain || !lead || (known && known.lead == lead && Date.now() < known.until)) return;
    /** @type {Given} */
    const entry = { lead, until: Date.now() + PATIENCE };
    given.set(domain, entry);
    try {
      entry.value = (await ask("handover", host.claim({ to: domain, view: undefined, page: undefined }))).handover;
    } catch (error) {
      host.log(error);
    }
    entry.until = Date.now() + (entry.value ? FRESH : QUIET);
  };

  /** @param {MouseEvent} event */
  const followed = (event) => {
    const link = linkOf(event);
    const domain = target(link);
    const entry = domain && given.get(domain);
    // The right button opens a menu, from which links are copied. A lead that was given up since is handed to nobody.
    if (!link || !entry || !entry.value || event.button > 1 || entry.until < Date.now() || entry.lead != visitor()) return;
    given.delete(domain);
    const before = link.getAttribute("href") || "";
    link.hash = "_ll=" + entry.value + "~" + visit();
    setTimeout(() => link.setAttribute("href", before));
  };

  for (const type of ["pointerover", "pointerdown", "focusin"]) document.addEventListener(type, near, true);
  for (const type of /** @type {const} */ (["click", "auxclick"])) document.addEventListener(type, followed, true);
};

let watching = false;

/**
 * Watches the links of this page, and takes over what its own address brought. Where storage may be used only now, what waited is the
 * taken lead's too. Called again where the visitor withdrew and agreed again.
 * @param {any} listed the option
 * @param {Host} host
 * @param {(lead: string) => void} rotate to another lead
 * @param {() => string[]} waiting keys of what waits to be sent
 * @param {(name: string) => string | undefined} get
 * @param {(name: string, value: string) => void} set
 */
export const start = async (listed, host, rotate, waiting, get, set) => {
  const domains = others(listed);
  const visit = () => (get("whovisit") || "").split(" ")[0];
  if (!watching) watch(domains, host, visit);
  watching = true;
  const [, parameter, visited] = /^#_ll=([^~]+)~?(.*)/.exec(location.hash) || [];
  if (!parameter) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  // A link that was pasted, mailed or put on a stranger's page was not followed on a page of the site: whoever opens it is not the visitor
  // it was made for.
  if (!document.referrer || !domains.some((domain) => within(new URL(document.referrer).hostname, domain))) return;
  const question = host.claim({ handover: parameter, view: undefined, page: undefined });
  const own = JSON.parse(question).lead;
  const { lead, session } = await ask("handover/take", question);
  // Refused above all where the collector knows the browser's own lead: nobody who is somebody becomes somebody else by a link.
  if (!lead || visitor() != own.slice(0, 22)) return;
  rotate(lead);
  if (session) set("who", JSON.stringify({ ...session, lead }));
  for (const key of waiting()) set(key, /** @type {string} */ (get(key)).replace(own, lead));
  // One visit goes on, or the site itself would be what the latest one was referred by.
  if (/^[\w-]{36}$/.test(visited)) set("whovisit", `${visited} ${Math.floor(Date.now() / 1e3)} ${lead.slice(23, 28)}`);
};
