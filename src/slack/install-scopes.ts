/** What the app is asked for when it is installed, as in manifest.yml: with less, some of it would fail silently. */
export const BOT_SCOPES = [
  'chat:write',
  'commands',
  'users:read',
  'users:read.email',
  'usergroups:read',
  'channels:read',
  'groups:read',
] as const;
