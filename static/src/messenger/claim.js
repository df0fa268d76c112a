/** Asks the collector for one message. Only the claim gives out a body, and it is decided there and then. */

/**
 * @typedef {string | {tag: string, children?: Node[], href?: string, src?: string, alt?: string}} Node
 * @typedef {{kind: "email" | "text" | "choice" | "rating", choices?: string[] | null, scale?: string | null}} Question
 * @typedef {{label: string, action: "url" | "dismiss" | "track" | "answer", url?: string | null, event?: string | null}} Button
 * @typedef {{accent: string, link: string}} Shades of edges, marks and rings; of links; each as #rrggbb
 * @typedef {{fill: string, on: string, light: Shades, dark: Shades}} Brand the site's own colour, and that of text upon it
 * @typedef {object} Message
 * @property {string} id
 * @property {string} delivery
 * @property {string} [type] what an older messenger does not know is shown as a popup
 * @property {string | null} [title]
 * @property {Node[]} [body]
 * @property {string | null} [image_url]
 * @property {"corner" | "center" | "top" | "bottom"} [position]
 * @property {string | null} [sender]
 * @property {Question | null} [question]
 * @property {Button[]} [buttons]
 * @property {Brand} [brand]
 * @property {boolean} [test] opened by a test link: it says so, and counts nowhere
 */

const RETRY = 1000;
const ADDRESS = new URL("claim", import.meta.url).href;

/** @returns {string} 16 random bytes as 22 characters of base64url */
const random = () =>
  btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).slice(0, 22).replace(/\+/g, "-").replace(/\//g, "_");

/**
 * @param {import("../tracker/messages.js").Host} host @param {import("../tracker/messages.js").Candidate} candidate
 * @param {() => boolean} over whether the view has changed meanwhile, or the visitor, or what they allow
 * @returns {Promise<Message | null>} nothing where it was refused or did not come
 */
export const claim = async (host, candidate, over) => {
  const nonce = random();
  for (let attempt = 0; attempt < 2 && !over(); attempt++) {
    try {
      const body = host.claim({ message: candidate.id, nonce, event: candidate.event, trigger: candidate.trigger });
      // The tracker looks around for it: another page may have signed the user out, or withdrawn the consent.
      if (over()) break;
      const response = await fetch(ADDRESS, { method: "POST", body });
      if (response.status < 500) {
        const { message, reason, errors } = await response.json();
        if (!message) host.log("not shown", candidate.id, reason || errors);
        return message || null;
      }
    } catch (error) {
      host.log(error);
    }
    // The answer may be what was lost: the same nonce gets the same one again.
    if (!attempt) await new Promise((resolve) => setTimeout(resolve, RETRY));
  }
  return null;
};
