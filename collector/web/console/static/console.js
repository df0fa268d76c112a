// The little that plain HTML cannot do: copy a snippet, close an open menu, count again and look again while somebody looks.

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue; // plain http outside loopback: people select the text themselves
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

const menus = [...document.querySelectorAll("details.menu")];
document.addEventListener("click", (event) => {
  for (const menu of menus) if (menu.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus) {
    if (!menu.open) continue;
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

const COUNT_EVERY_MS = 3000; // with the time an answer takes, a number that is looked at is less than 5 s old

for (const part of document.querySelectorAll("[data-counts]")) {
  const time = part.querySelector("[data-counted-at]");
  const late = part.querySelector("[data-late]");
  let timer = 0;
  let asking = false;
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(count, COUNT_EVERY_MS);
  };
  const count = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(part.dataset.counts, { redirect: "error", signal: AbortSignal.timeout(COUNT_EVERY_MS * 5) });
      if (!answer.ok) throw new Error(answer.statusText);
      const counted = await answer.json();
      for (const number of part.querySelectorAll("[data-count]")) number.textContent = counted.people[number.dataset.count] ?? "–";
      time.textContent = counted.clock;
      time.dateTime = counted.at;
      late.hidden = true;
    } catch {
      late.hidden = false;
    }
    asking = false;
    again();
  };
  document.addEventListener("visibilitychange", count);
  again();
}

const LOOK_EVERY_MS = 2000;

if (document.querySelector("[data-again]")) {
  setInterval(() => {
    if (!document.hidden) location.reload();
  }, LOOK_EVERY_MS);
}
