/** What of an address may leave the page: no query parameter that nobody named, no user name, no hash that was not asked for. */
import { attempt, option } from "./options.js";
import { get } from "./store.js";

// Campaigns, and the click ids of advertisers: gclid, fbclid, msclkid, ttclid, twclid, yclid, gbraid, wbraid, LinkedIn's.
const KNOWN = /^(utm_\w+|ref|\w{1,2}clk?id|[gw]braid|li_fat_id)$/;

/** @param {string} address @returns {string} the part of it that may be sent; empty for none */
export const visible = (address) =>
  (address && attempt(() => {
    const url = new URL(address);
    url.username = url.password = "";
    // What the tag names, and what the site's page rules ask for.
    const asked = ("" + [option("query"), get("query")]).split(/[\s,]+/);
    for (const name of [...url.searchParams.keys()]) KNOWN.test(name) || asked.includes(name) || url.searchParams.delete(name);
    // A route in the hash is wanted, the tokens that sign-in services and hand-overs leave there are not.
    url.hash = option("hash") ? url.hash.replace(/(#_ll)?[?&=].*/, "") : "";
    return url.href;
  })) || "";

/** @returns {string | false} the address that the page gives as its own, where the site goes by it and it is of this host */
export const canonical = () => {
  /** @type {HTMLLinkElement | null} */
  const link = option("canonical") && document.querySelector("link[rel~=canonical]");
  return link?.href.split("/")[2] == location.host && visible(link.href);
};
