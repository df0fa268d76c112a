import { newTracker, setUserId, trackPageView, trackSelfDescribingEvent } from "@snowplow/browser-tracker";

const SCHEMAS = "iglu:com.example";

newTracker("sp", COLLECTOR, { appId: "shop" });
trackPageView();
window.bench = {
  view: () => trackPageView(),
  track: (n) => trackSelfDescribingEvent({ event: { schema: SCHEMAS + "/bench-event/jsonschema/1-0-0", data: { n, plan: "pro", item: "Desk lamp" } } }),
  identify: () => {
    setUserId("user-1");
    trackSelfDescribingEvent({ event: { schema: SCHEMAS + "/user/jsonschema/1-0-0", data: { name: "Ada", email: "ada@example.com" } } });
  },
};
