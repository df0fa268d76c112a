/** Page views: one for each document load, and for each change of the visible address inside a document, however the router does it. */
import { attempt } from "./options.js";
import { canonical, visible } from "./address.js";
import { visit } from "./sender.js";
import { look, record, wake } from "./delivery.js";
import { uuid } from "./ids.js";

const TITLE = 500;
const HANDOVER = 1e3; // a view whose lead may come along in the address waits for that too

/** The id of the page view that is on now. */
export let view = "";
let url = "";
let referrer = "";
/** When it began. */
let at = 0;
/** The last one that the collector heard of again because of its address, or is not to: it is not of who is here now. */
let reheard = "";

let pending = false;
let shown = false;

/** @type {any} */
let timer;

/** Called when a view ends: its message goes. */
let leave = () => {};

/** Whether the first items had better wait for the view they belong to. A tab that nobody ever saw has none. */
export const unsettled = () => pending && shown;

/** @returns {{url: string, title?: string, referrer: string}} */
export const page = () => ({ url: canonical() || url, title: attempt(() => "" + document.title), referrer });

/** @param {string} name @param {any} metadata @param {true} [repeat] says who is here in this view, and counts nothing @param {number} time @param {string} [id] */
export const happened = (name, metadata, repeat, time = Date.now(), id = uuid()) => {
  look(); // before the visit is asked for
  record({ type: "event", id, name, at: time, visit: visit(), view, page: page(), metadata, repeat });
};

/** Queues the view that waited for its title. */
export const settle = () => {
  if (unsettled()) {
    pending = false;
    happened("page-view", {}, undefined, at, view);
    wake(0);
  }
};

/** Gives the title its time, once the tab is seen. */
export const arm = () => {
  clearTimeout(timer);
  shown = shown || !document.hidden;
  if (pending) timer = setTimeout(settle, location.hash[1] == "_" ? HANDOVER : TITLE);
};

/** @param {string} from what the view came from */
export const begin = (from) => {
  settle();
  leave();
  view = uuid();
  url = visible(location.href);
  referrer = from;
  at = Date.now();
  pending = true;
  arm();
};

/** Somebody else is here now: the message of whoever was goes, and the view stays theirs. */
export const part = () => {
  reheard = view;
  leave();
};

/** The collector hears who is here in this view, unless it has yet to hear of the view at all; that counts nothing. */
export const repeat = () => {
  if (!pending) happened("page-view", {}, true);
};

/** Another view of the address that is shown, because the page says so. */
export const again = () => begin(referrer);

/**
 * Other parameters may leave the page. Where this address has some, the collector hears of the view again. Once
 * for each view: collectors that share the work may not agree yet.
 */
export const reread = () => {
  if (url != (url = visible(location.href))) {
    if (reheard != (reheard = view) && !pending) happened("page-view", {}, undefined, at, view);
  }
};

const turn = () => {
  if (visible(location.href) != url) begin(url);
};

/**
 * Begins the first view and watches for the next ones.
 * @param {() => void} ended called when a view gives way to another
 */
export const watch = (ended) => {
  leave = ended;
  begin(visible(document.referrer));
  for (const name of /** @type {const} */ (["pushState", "replaceState"])) {
    attempt(() => {
      const original = history[name];
      history[name] = function (...given) {
        original.apply(this, given);
        turn();
      };
    });
  }
  addEventListener("popstate", turn);
  // A router that kept the original pushState is heard here.
  /** @type {any} */ (window).navigation?.addEventListener("currententrychange", turn);
};
