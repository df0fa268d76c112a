/**
 * Shows one message in an open shadow root on the document element, which body swaps leave alone. A card in the corner lies beside the
 * page and takes no focus; one in the centre is a modal dialog of the browser's own.
 */
import { modal, quiet } from "./page.js";
import { watch } from "./seen.js";
import { style } from "./style.js";
import { build, link, make, picture, safe } from "./tree.js";

/**
 * @typedef {import("./claim.js").Message} Message
 * @typedef {import("./claim.js").Button} Button
 * @typedef {import("../tracker/messages.js").Host} Host
 */

const LOOK = 300;
const LEAVING = 200;

/** @param {string[]} paths @returns {SVGSVGElement} */
const cross = (...paths) => {
  const space = "http://www.w3.org/2000/svg";
  const icon = /** @type {SVGSVGElement} */ (document.createElementNS(space, "svg"));
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  for (const path of paths) {
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", path);
    icon.append(line);
  }
  return icon;
};

/**
 * @param {Host} host @param {Message} message
 * @param {AbortSignal} signal aborted when the view ends
 * @returns {Promise<void>} resolved when it is gone
 */
export const show = (host, message, signal) =>
  new Promise((resolve) => {
    const center = message.position == "center";
    const root = document.createElement("leadlight-message");
    const shadow = root.attachShadow({ mode: "open" });
    style(shadow);
    const over = new AbortController();

    /** @param {string} action @param {string} [label] of the button or address of the link */
    const tell = (action, label) => {
      if (action != "shown" && action != "closed") {
        host.record({ type: "message", message: message.id, delivery: message.delivery, action, at: Date.now(), link: label });
      }
      for (const listener of host.listeners) {
        try {
          listener({ id: message.id, action });
        } catch (error) {
          host.log(error);
        }
      }
    };

    const close = make("button", "close", cross("M3.5 3.5l9 9", "M12.5 3.5l-9 9"));
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    const title = message.title ? make("h2", "", message.title) : "";
    const text = make("div", "text", title, make("div", "body", ...build(message.body)));
    const actions = make("div", "actions");
    const image = message.image_url ? picture(message.image_url, "") : "";
    const card = make(center ? "dialog" : "section", center ? "card center" : "card corner", make("div", "scroll", image, text, actions), close);
    if (message.test) /** @type {Element} */ (card.firstChild).prepend(make("p", "test", "Test, counted nowhere"));
    card.setAttribute("role", "dialog");
    if (title) {
      title.id = "title";
      card.setAttribute("aria-labelledby", "title");
    } else card.setAttribute("aria-label", "Message");
    if (center) card.setAttribute("aria-modal", "true");
    // Many pages set the direction on the body, which the document element's children do not inherit.
    if (document.body) card.dir = getComputedStyle(document.body).direction;

    const before = document.activeElement;
    const end = () => {
      if (over.signal.aborted) return;
      over.abort();
      clearInterval(looking);
      const inside = center || !!shadow.activeElement;
      card.classList.add("leaving");
      tell("closed");
      setTimeout(() => {
        if (center) /** @type {HTMLDialogElement} */ (card).close();
        root.remove();
        if (inside && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
        resolve();
      }, matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : LEAVING);
    };
    const dismiss = () => {
      tell("dismissed");
      end();
    };

    /** @param {Button} button @param {number} index */
    const add = ({ label, action, url, event }, index) => {
      if (action == "url" && !safe(url)) return;
      const element = action == "url" ? link(url || "") : make("button");
      if (element instanceof HTMLButtonElement) element.type = "button";
      element.className = index ? "button" : "button first";
      element.append(label);
      element.addEventListener("click", () => {
        if (action == "dismiss") return dismiss();
        tell("clicked", label);
        if (action == "track" && event) host.track(event);
        end();
      });
      actions.append(element);
    };
    (message.buttons || []).forEach(add);
    if (!actions.firstChild) actions.remove();

    close.addEventListener("click", dismiss);
    text.addEventListener("click", (event) => {
      const anchor = event.target instanceof Element && event.target.closest("a");
      if (anchor) tell("clicked", anchor.href);
    });
    card.addEventListener("keydown", (event) => {
      const { key, shiftKey } = /** @type {KeyboardEvent} */ (event);
      if (key == "Escape") {
        event.preventDefault();
        event.stopPropagation();
        dismiss();
      }
      if (key != "Tab" || !center) return;
      // The browser's own trap lets the focus out into its toolbar; here it goes round.
      const stops = [...card.querySelectorAll("a,button")].filter((stop) => stop != close).concat(close);
      const edge = stops[shiftKey ? 0 : stops.length - 1];
      if (shadow.activeElement == edge || shadow.activeElement == card) {
        event.preventDefault();
        /** @type {HTMLElement} */ (stops[shiftKey ? stops.length - 1 : 0]).focus();
      }
    });
    // Escape reaches a dialog also without a key event of the page's (a gesture, a screen reader).
    card.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (!over.signal.aborted) dismiss();
    });
    signal.addEventListener("abort", end);

    // A modal that the page opens later is never covered, whatever the page's own layers are.
    const looking = setInterval(() => {
      if (quiet()) return end();
      if (!center) root.hidden = modal();
      // Frameworks that throw the document away take the message with it.
      if (!root.isConnected) document.documentElement.append(root);
    }, LOOK);

    const region = make("div");
    // Said by screen readers without taking the focus, since nobody asked for it.
    if (!center) region.setAttribute("aria-live", "polite");
    shadow.append(region);
    document.documentElement.append(root);
    region.append(card);
    if (center) {
      const dialog = /** @type {HTMLDialogElement} */ (card);
      dialog.tabIndex = -1;
      dialog.showModal();
      // On the card, not on a button: nobody presses one by accident, and the title is read first.
      dialog.focus({ preventScroll: true });
    }
    tell("shown");
    watch(card, () => tell("seen"), over.signal);
  });
