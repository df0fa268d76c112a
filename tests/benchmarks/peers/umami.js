import "umami/src/tracker/index.js";

window.bench = {
  view: () => umami.track(),
  track: (n) => umami.track("bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => umami.identify({ name: "Ada", email: "ada@example.com" }),
};
