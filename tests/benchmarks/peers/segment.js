import { AnalyticsBrowser } from "@segment/analytics-next";

// Settings handed in, so that none are fetched.
const [protocol, apiHost] = COLLECTOR.split("://");
const cdnSettings = { integrations: { "Segment.io": { apiKey: "key", apiHost: apiHost + "/v1", protocol } } };
const analytics = AnalyticsBrowser.load({ writeKey: "key", cdnSettings });
analytics.page();
window.bench = {
  view: () => analytics.page(),
  track: (n) => analytics.track("bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => analytics.identify("user-1", { name: "Ada", email: "ada@example.com" }),
};
