import posthog from "posthog-js";

posthog.init("phc_0123456789", { api_host: COLLECTOR });
window.bench = {
  view: () => posthog.capture("$pageview"),
  track: (n) => posthog.capture("bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => posthog.identify("user-1", { name: "Ada", email: "ada@example.com" }),
};
