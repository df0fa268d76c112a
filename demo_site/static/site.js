// The product's own script: the menu, focus on what went wrong, and events that happen in the page.
"use strict";

document.documentElement.classList.add("with-menu");

const menuButton = document.getElementById("menu-button");
const nav = document.getElementById("site-nav");
menuButton.addEventListener("click", () => {
  const open = nav.classList.toggle("open");
  menuButton.setAttribute("aria-expanded", String(open));
});

// After a form was refused, keyboard and screen reader start at what has to be put right.
document.querySelector('.summary[tabindex="-1"]')?.focus();

// Links and forms carry their event as data. The page may be left at once: Leadlight sees to it that the event arrives.
function trackElement(element) {
  const metadata = JSON.parse(element.dataset.metadata);
  const quantity = element.elements?.quantity;
  if (quantity) metadata.quantity = Number(quantity.value);
  window.leadlight("track", element.dataset.event, metadata);
  // For the strip at the bottom, which says what was sent; a real site would not need this line.
  document.dispatchEvent(new CustomEvent("plainsheet:tracked", { detail: { name: element.dataset.event, metadata } }));
}

document.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-event]")) trackElement(event.target);
});
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest("a[data-event]");
  if (link) trackElement(link);
});
