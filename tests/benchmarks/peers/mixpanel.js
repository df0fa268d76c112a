// Without the recorder, which its makers offer as the light way.
import mixpanel from "mixpanel-browser/src/loaders/loader-module-core";

mixpanel.init("0123456789", { api_host: COLLECTOR, track_pageview: true });
window.bench = {
  view: () => mixpanel.track_pageview(),
  track: (n) => mixpanel.track("bench-event", { n, plan: "pro", item: "Desk lamp" }),
  identify: () => {
    mixpanel.identify("user-1");
    mixpanel.people.set({ $name: "Ada", $email: "ada@example.com" });
  },
};
