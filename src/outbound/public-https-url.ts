import { domainToASCII, domainToUnicode } from 'node:url';
import { z } from 'zod';
import { brief } from '../core/tool/visible-text.ts';

export interface PublicUrlRules {
  /** Ports beside or instead of 443. Default: 443 alone. */
  readonly ports?: readonly number[];
  /**
   * The hosts that may be called: `status.example.com`, or `*.example.com` for every name below it. Default: any. Of a
   * read nobody is asked: what an agent knows can leave in a URL, so name the hosts wherever they are known.
   */
  readonly hosts?: readonly string[];
}

/** A URL as it stands, taken apart. Nothing of it was normalised: it had to come in normal form. */
export interface PublicUrlParts {
  readonly origin: string;
  readonly host: string;
  readonly port: number;
  /** Path and query, exactly as written. */
  readonly path: string;
}

export type PublicUrlJudgement =
  | { readonly ok: true; readonly url: PublicUrlParts }
  | { readonly ok: false; readonly why: string };

const LONGEST = 2_000;
const HTTPS_PORT = 443;

/** Letters, digits and hyphens, at least two labels, none of more than 63 and all together of at most 253 characters. */
const NAME = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Names that no public registry gives out: RFC 6761, 6762, 7686, 8375, 9476, and what networks use at home and at work. */
const NOT_PUBLIC_ENDINGS = [
  ...['alt', 'arpa', 'corp', 'example', 'home', 'internal', 'intranet', 'invalid', 'lan', 'local'],
  ...['localdomain', 'localhost', 'onion', 'private', 'test'],
];

/**
 * An argument that is a public https URL in its normal form, so that the text on the card is, byte by byte, what is
 * called. It judges and never changes: a URL in another spelling is refused with the right one in the message. The
 * rules stand in its description, which models see and which is in the tool's digest.
 */
export function publicHttpsUrl(rules: PublicUrlRules = {}): z.ZodString {
  return z
    .string()
    .check((judged) => {
      const judgement = judgePublicUrl(judged.value, rules);
      if (judgement.ok) return;
      judged.issues.push({ code: 'custom', input: judged.value, message: judgement.why });
    })
    .describe(descriptionOf(rules));
}

function descriptionOf({ ports = [HTTPS_PORT], hosts }: PublicUrlRules): string {
  const where = hosts === undefined ? 'on any public host' : `on ${hosts.join(', ')}`;
  return `A public https URL in normal form, ${where}, port ${ports.join(' or ')}, without user and fragment.`;
}

/** What a name resolves to is not known here; that is judged when it is called. */
export function judgePublicUrl(text: string, rules: PublicUrlRules = {}): PublicUrlJudgement {
  if (text.length > LONGEST) return refused(`the URL is longer than ${LONGEST} characters`);
  if (!URL.canParse(text)) return refused('that is no URL');
  const url = new URL(text);
  if (url.protocol !== 'https:') return refused('only https is called');
  if (url.username !== '' || url.password !== '') return refused('a URL must not hold a user or a password');
  if (text.includes('#')) return refused('a URL must not hold a fragment: it is never sent');
  const host = url.hostname;
  const inside = whyNotPublic(host);
  if (inside !== undefined) return refused(inside);
  if (url.href !== text) return refused(`the URL is not in its normal form; write ${brief(url.href)}`);
  const port = url.port === '' ? HTTPS_PORT : Number(url.port);
  const { ports = [HTTPS_PORT], hosts } = rules;
  if (!ports.includes(port)) return refused(`port ${port} is not called; only ${ports.join(', ')}`);
  if (hosts !== undefined && !hosts.some((pattern) => covers(pattern, host))) {
    return refused(`${brief(host)} is none of the hosts that are called`);
  }
  return { ok: true, url: { origin: url.origin, host, port, path: text.slice(url.origin.length) } };
}

const refused = (why: string) => ({ ok: false, why }) as const;

function whyNotPublic(host: string): string | undefined {
  // The URL parser has read 0x7f.1, 2130706433 and their like as the address that they are.
  if (host.startsWith('[') || /^[0-9.]+$/.test(host)) return 'an address is not called; write a host name';
  if (host.endsWith('.')) return 'the host must not end in a dot';
  if (!NAME.test(host) || !isGenuinePunycode(host)) return `${brief(host)} is no public host name`;
  const ending = host.slice(host.lastIndexOf('.') + 1);
  return NOT_PUBLIC_ENDINGS.includes(ending) ? `.${ending} is no public ending of a host name` : undefined;
}

/** Newer versions of Node take labels that say xn-- and decode to nothing; older ones do not, and both may judge one URL. */
function isGenuinePunycode(host: string): boolean {
  const unicode = domainToUnicode(host);
  return !unicode.split('.').some((label) => label.startsWith('xn--')) && domainToASCII(unicode) === host;
}

const covers = (pattern: string, host: string) =>
  pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern;
