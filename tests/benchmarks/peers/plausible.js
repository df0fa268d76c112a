import { init, track } from "@plausible-analytics/tracker";

init({ domain: "shop.example", endpoint: COLLECTOR + "/api/event" });
window.bench = {
  view: () => track("pageview", {}),
  track: (n) => track("bench-event", { props: { n, plan: "pro", item: "Desk lamp" } }),
  // It knows nobody; an event in its place.
  identify: () => track("identify", { props: { name: "Ada", email: "ada@example.com" } }),
};
