/** The content-hashed file name of the messenger, put in by the build. */
declare const MESSENGER: string;

interface Navigator {
  globalPrivacyControl?: boolean;
}
interface Document {
  prerendering?: boolean;
}
