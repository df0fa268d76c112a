/**
 * Shows one message in an open shadow root on the document element, which body swaps leave alone. A card in the corner (popup, chat) and a
 * banner lie beside the page and take no focus; a card in the centre is a modal dialog of the browser's own.
 */
import { modal, quiet } from "./page.js";
import { ask } from "./question.js";
import { watch } from "./seen.js";
import { style } from "./style.js";
import { build, link, make, picture, safe } from "./tree.js";

/**
 * @typedef {import("./claim.js").Message} Message
 * @typedef {import("./claim.js").Button} Button
 * @typedef {import("../tracker/messages.js").Host} Host
 */

const STOPS = "a,button,textarea,input,[tabindex='0']";
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

/** @type {Button} */
const SEND = { label: "Send", action: "answer" };

/** @param {any} element @returns {string} empty where it is no field */
const name = (element) => element?.name || "";

/** @param {string} sender */
const initial = (sender) => {
  const avatar = make("span", "avatar", [...sender.trim()][0].toUpperCase());
  avatar.setAttribute("aria-hidden", "true");
  return avatar;
};

/**
 * @param {Host} host @param {Message} message
 * @param {AbortSignal} signal aborted when the view ends
 * @returns {Promise<void>} resolved when it is gone
 */
export const show = (host, message, signal) =>
  new Promise((resolve) => {
    const { question, sender } = message;
    const center = message.position == "center";
    const banner = message.type == "banner";
    const chat = message.type == "chat";
    const root = document.createElement("leadlight-message");
    const shadow = root.attachShadow({ mode: "open" });
    style(shadow, message.brand);
    const over = new AbortController();

    /** @param {string} action @param {{link?: string, answer?: string | number}} [more] `link`: label of the button or address of the link */
    const tell = (action, more) => {
      if (action != "shown" && action != "closed") {
        host.record({ type: "message", message: message.id, delivery: message.delivery, action, at: Date.now(), ...more });
      }
      for (const listener of host.listeners) {
        try {
          listener({ id: message.id, action, ...(action == "answered" && { question: question?.kind }) });
        } catch (error) {
          host.log(error);
        }
      }
    };

    const close = make("button", "close", cross("M3.5 3.5l9 9", "M12.5 3.5l-9 9"));
    close.type = "button";
    close.setAttribute("aria-label", "Close");
    const title = message.title ? make("h2", "", message.title) : "";
    const body = make("div", "body", ...build(message.body, title ? "h3" : "h2"));
    body.id = "body";
    const from = sender ? make("p", "sender", chat ? initial(sender) : "", make("bdi", "", sender)) : "";
    const text = make("div", "text", from, title, body);
    const actions = make("div", "actions");
    const image = message.image_url ? picture(message.image_url, "") : "";
    const look = banner ? "banner " + message.position : center ? "center" : chat ? "corner chat" : "corner";
    const scroll = make("div", "scroll", image, text, actions);
    const card = make(center ? "dialog" : "section", "card " + look, scroll, close);
    if (message.test) scroll.prepend(make("p", "test", "Test, counted nowhere"));
    card.setAttribute("role", banner ? "region" : "dialog");
    if (title) {
      title.id = "title";
      card.setAttribute("aria-labelledby", "title");
    } else card.setAttribute("aria-label", sender || "Message");
    if (center) card.setAttribute("aria-modal", "true");
    // Many pages set the direction on the body, which the document element's children do not inherit.
    if (document.body) card.dir = getComputedStyle(document.body).direction;

    let before = document.activeElement;
    // Whoever goes into a card beside the page may come from elsewhere by then, and goes back there.
    card.addEventListener("focusin", (event) => {
      const { relatedTarget } = /** @type {FocusEvent} */ (event);
      if (relatedTarget instanceof HTMLElement && !card.contains(relatedTarget)) before = relatedTarget;
    });
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
    let answered = false;
    const dismiss = () => {
      if (!answered) tell("dismissed");
      end();
    };

    /** @param {Button} button @param {number} index */
    const add = ({ label, action, url, event }, index) => {
      if ((action == "url" && !safe(url)) || (action == "answer" && !question)) return;
      const element = action == "url" ? link(url || "") : make("button");
      if (element instanceof HTMLButtonElement) element.type = action == "answer" ? "submit" : "button";
      element.className = index ? "button" : "button first";
      element.append(label);
      actions.append(element);
      if (action == "answer") return;
      element.addEventListener("click", () => {
        if (action == "dismiss") return dismiss();
        tell("clicked", { link: label });
        if (action == "track" && event) host.track(event);
        end();
      });
    };
    const buttons = message.buttons || [];
    // A question can always be answered, whatever its author left out.
    const send = question && !buttons.some(({ action }) => action == "answer");
    [...(send ? [SEND] : []), ...buttons].forEach(add);
    if (!actions.firstChild) actions.remove();
    if (question) {
      const form = ask(question, title ? "title" : "body", title ? "body" : "", actions, (answer) => {
        // Enter twice, or while the card leaves.
        if (answered || over.signal.aborted) return;
        answered = true;
        tell("answered", { answer });
        if (!chat) return end();
        // What was said stays in sight, and the live region says it.
        form.replaceWith(make("p", "reply", "" + answer));
        close.focus({ preventScroll: true });
      });
      scroll.append(form);
    }

    // Where there is nothing to go to inside, the arrow keys need a place to scroll from.
    const reach = new ResizeObserver(() => {
      scroll.removeAttribute("tabindex");
      if (scroll.scrollHeight > scroll.clientHeight && !scroll.querySelector(STOPS)) scroll.tabIndex = 0;
    });
    reach.observe(scroll);
    reach.observe(text);

    close.addEventListener("click", dismiss);
    text.addEventListener("click", (event) => {
      const anchor = event.target instanceof Element && event.target.closest("a");
      if (anchor) tell("clicked", { link: anchor.href });
    });
    card.addEventListener("keydown", (event) => {
      const { key, shiftKey, isComposing } = /** @type {KeyboardEvent} */ (event);
      if (key == "Escape" && !isComposing) {
        event.preventDefault();
        event.stopPropagation();
        dismiss();
      }
      if (key != "Tab" || !center) return;
      // The browser's own trap lets the focus out into its toolbar; here it goes round.
      const chosen = card.querySelector(":checked");
      const stops = [...card.querySelectorAll(STOPS)]
        .filter((stop) => stop != close && !(chosen && stop != chosen && name(stop) == name(chosen)))
        .concat(close);
      const edge = stops[shiftKey ? 0 : stops.length - 1];
      const active = shadow.activeElement;
      // Radio buttons are one stop together.
      if (active == edge || active == card || (name(active) && name(active) == name(edge))) {
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
      if (!root.isConnected) place();
    }, LOOK);

    const region = make("div");
    // What people write is no shortcut of the page's, which cannot see that it goes into a field.
    for (const type of ["keydown", "keypress", "keyup"]) {
      region.addEventListener(type, (event) => name(event.target) && event.stopPropagation());
    }
    // Said by screen readers without taking the focus, since nobody asked for it.
    if (!center) region.setAttribute("aria-live", "polite");
    shadow.append(region);
    const place = () => {
      document.documentElement.append(root);
      region.append(card);
      if (center) {
        const dialog = /** @type {HTMLDialogElement} */ (card);
        dialog.tabIndex = -1;
        // One that was taken out of the page is open still, but not above it.
        dialog.close();
        dialog.showModal();
        // On the card, not on a button: nobody presses one by accident, and the title is read first.
        dialog.focus({ preventScroll: true });
      }
    };
    place();
    tell("shown");
    watch(card, () => tell("seen"), over.signal);
  });
