import { z } from 'zod';

/** A workspace (`T…`), or a whole organisation of Enterprise Grid (`E…`) that the app was installed in at once. */
export const WorkspaceId = z.string().regex(/^[TE][A-Z0-9]{1,20}$/, 'a workspace id begins with T or E');

const Refresh = z.strictObject({
  token: z.string(),
  /**
   * Written before the token is used, because it can be used once: whoever finds this long after `at` knows that a
   * process may have ended between using it and storing what it got.
   */
  begun: z.strictObject({ at: z.number(), by: z.string() }).optional(),
  /** Slack no longer takes the token. The installation works until it expires, and has to be made anew. */
  refused: z.strictObject({ at: z.number(), why: z.string() }).optional(),
});

/** One workspace that somebody installed the app in. Only ever stored in a box (`secrets/sealed-box.ts`). */
export const Installation = z.strictObject({
  v: z.literal(1),
  team: WorkspaceId,
  enterprise: WorkspaceId.optional(),
  name: z.string(),
  /** `https://acme.slack.com/` */
  url: z.string(),
  /** `A…` */
  app: z.string().optional(),
  botUser: z.string(),
  botId: z.string().optional(),
  installedBy: z.string(),
  /** Wall clock, ms, as every time here: each is compared with minutes and hours. */
  installedAt: z.number(),
  state: z.discriminatedUnion('status', [
    z.strictObject({
      status: z.literal('live'),
      token: z.string(),
      /** With token rotation alone. */
      expires: z.strictObject({ at: z.number(), refresh: Refresh }).optional(),
    }),
    z.strictObject({ status: z.literal('lost'), since: z.number(), why: z.string() }),
  ]),
});
export type Installation = z.infer<typeof Installation>;
export type LiveInstallation = Installation & { readonly state: { readonly status: 'live' } };

export function isLive(installation: Installation): installation is LiveInstallation {
  return installation.state.status === 'live';
}
