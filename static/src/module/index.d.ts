/// <reference path="../../types.d.ts" />

export const load: Leadlight.Module["load"];
export const track: Leadlight.Module["track"];
export const page: Leadlight.Module["page"];
export const identify: Leadlight.Module["identify"];
export const reset: Leadlight.Module["reset"];
export const optIn: Leadlight.Module["optIn"];
export const optOut: Leadlight.Module["optOut"];
export const showMessage: Leadlight.Module["showMessage"];
export const onMessage: Leadlight.Module["onMessage"];
export const status: Leadlight.Module["status"];
