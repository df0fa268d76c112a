/** The content-hashed file name of the messenger, put in by the build. */
declare const MESSENGER: string;
/** The site's rules by selector; the collector puts them in front of the script. */
declare const RULES: import("./rules/main.js").Rule[];

// Not among the public types: the packages made for Intercom bring their own.
interface Window {
  Intercom?: (method: string, ...given: any[]) => any;
  intercomSettings?: { app_id?: string; [name: string]: any };
}
interface Navigator {
  globalPrivacyControl?: boolean;
}
interface Document {
  prerendering?: boolean;
}
