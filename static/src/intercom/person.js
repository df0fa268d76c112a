/** What of Intercom's settings is about the person: the rest is for its messenger, or for the next call to know who speaks. */

// Of no use here, or worked out by the collector. What is not among them is an attribute, under the name the page gave it.
const OURS = /^(app_id|api_base|region|widgetUrl|installation_type|widget|custom_launcher_selector|alignment|(vertical|horizontal)_padding|z_index|hide_(default_launcher|notifications)|session_duration|(action|background|link)_color|theme_mode|messenger_style_id|auth_tokens|page_title|last_request_at|user_id)$/;
// Of a token, what is about the token.
const ITS_OWN = /^(user_id|exp|iat|nbf|iss|aud|sub|jti)$/;

/** @param {any} token a JWT @returns {any} what it claims; the collector checks whether it may */
const claims = (token) => {
  const bytes = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0))));
};

/** @param {any} value @returns {Record<string, any>} a copy of what can be read of it */
export const copy = (value) => {
  /** @type {Record<string, any>} */
  const found = {};
  try {
    for (const name of Object.keys(Object(value))) {
      try {
        found[name] = value[name];
      } catch {
        // a throwing getter: this setting alone is left out
      }
    }
  } catch {
    // a revoked proxy has nothing to read
  }
  return found;
};

/**
 * @param {Record<string, any>} settings @returns {[id: any, attributes: Record<string, any>]} the user id, where they name one, and the
 * attributes, with what proves the id among them
 */
export const person = (settings) => {
  let { user_id } = settings;
  /** @type {Record<string, any>} */
  const attributes = {};
  try {
    // A page that signs its user leaves out of the settings what the token holds.
    const signed = claims(settings.intercom_user_jwt);
    user_id = signed.user_id ?? user_id;
    for (const name of Object.keys(signed)) if (!ITS_OWN.test(name)) attributes[name] = signed[name];
  } catch {
    // no token, or none that can be read: the collector refuses that one
  }
  for (const name of Object.keys(settings)) if (!OURS.test(name)) attributes[name] ??= settings[name];
  // The tracker has a name of its own for the token.
  const { intercom_user_jwt: jwt, ...others } = attributes;
  return [user_id === "" ? null : user_id, jwt ? { jwt, ...others } : others];
};
