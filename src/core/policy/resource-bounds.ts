import { z } from 'zod';

/**
 * The boundary inside a tenant: which argument values a policy permits. A small part of JSON Schema's vocabulary, with
 * two differences that make it a boundary: an argument that is bounded must be there (unless `optional`), and a keyword
 * on a value of another type refuses it. There are no patterns: a regular expression from a policy may never end.
 */
export interface Bound {
  readonly enum?: readonly JsonScalar[] | undefined;
  readonly const?: JsonScalar | undefined;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  /** In code points. */
  readonly max_length?: number | undefined;
  readonly prefix?: string | undefined;
  /** Holds for every item of an array. */
  readonly items?: Bound | undefined;
  readonly max_items?: number | undefined;
  readonly properties?: Readonly<Record<string, Bound>> | undefined;
  readonly optional?: boolean | undefined;
}

type JsonScalar = string | number | boolean | null;

const Scalar = z.union([z.string(), z.number(), z.boolean(), z.null()], {
  error: 'expected a string, a number, true, false or null',
});

/** `https://api.example.com` also begins `https://api.example.com.evil.example`: the host must have ended. */
const endsItsHost = (prefix: string) => /^(?![a-z][a-z0-9+.-]*:\/\/)|^[^:]+:\/\/[^/]+\//i.test(prefix);

const Prefix = z.string().min(1).refine(endsItsHost, {
  error: 'a URL prefix must end its host with a slash, or other hosts begin with it too',
});

const Bound: z.ZodType<Bound> = z
  .strictObject({
    enum: z.array(Scalar).min(1).optional(),
    const: Scalar.optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    max_length: z.int().min(0).optional(),
    prefix: Prefix.optional(),
    get items() {
      return Bound.optional();
    },
    max_items: z.int().min(0).optional(),
    get properties() {
      return Properties.optional();
    },
    optional: z.boolean().optional(),
  })
  .refine((bound) => Object.keys(bound).some((keyword) => keyword !== 'optional'), {
    error:
      'bounds nothing: give enum, const, minimum, maximum, max_length, prefix, items, max_items or properties',
  })
  .refine(({ minimum = -Infinity, maximum = Infinity }) => minimum <= maximum, {
    error: 'minimum is above maximum: no value fits',
  });

const Properties = z
  .record(z.string().min(1).max(64), Bound)
  .refine((properties) => Object.keys(properties).length > 0, { error: 'names no argument' });

export const ArgumentBounds = z.strictObject({ properties: Properties });
export type ArgumentBounds = z.infer<typeof ArgumentBounds>;

export interface OutOfBounds {
  /** As the policy spells it, from the outermost argument: `filter.queue`. */
  readonly argument: string;
  /** What the policy wants of it. Never the value that was given: that is the agent's. */
  readonly expected: string;
}

/** The first argument, in the policy's order, that leaves its bounds. `args` is a value of strict JSON. */
export function firstOutOfBounds(bounds: ArgumentBounds, args: unknown): OutOfBounds | undefined {
  return outsideProperties(bounds.properties, args, '');
}

function outsideProperties(
  properties: Readonly<Record<string, Bound>>,
  value: unknown,
  at: string,
): OutOfBounds | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { argument: at === '' ? '(the arguments)' : at, expected: 'an object' };
  }
  for (const [name, bound] of Object.entries(properties)) {
    const argument = at === '' ? name : `${at}.${name}`;
    if (!Object.hasOwn(value, name)) {
      if (bound.optional === true) continue;
      return { argument, expected: 'present' };
    }
    const outside = outsideBound(bound, Reflect.get(value, name), argument);
    if (outside !== undefined) return outside;
  }
  return undefined;
}

function outsideBound(bound: Bound, value: unknown, argument: string): OutOfBounds | undefined {
  const expected = unmetKeyword(bound, value);
  if (expected !== undefined) return { argument, expected };
  if (bound.properties !== undefined) {
    const outside = outsideProperties(bound.properties, value, argument);
    if (outside !== undefined) return outside;
  }
  if (bound.items !== undefined) {
    if (!Array.isArray(value)) return { argument, expected: 'a list' };
    for (const [index, item] of value.entries()) {
      const outside = outsideBound(bound.items, item, `${argument}[${index}]`);
      if (outside !== undefined) return outside;
    }
  }
  return undefined;
}

function unmetKeyword(bound: Bound, value: unknown): string | undefined {
  const { minimum, maximum, max_length, max_items, prefix } = bound;
  if (bound.enum !== undefined && !bound.enum.some((one) => one === value)) {
    return `one of ${bound.enum.map((one) => JSON.stringify(one)).join(', ')}`;
  }
  if (bound.const !== undefined && bound.const !== value) return JSON.stringify(bound.const);
  if (minimum !== undefined && !(typeof value === 'number' && value >= minimum)) {
    return `a number, at least ${minimum}`;
  }
  if (maximum !== undefined && !(typeof value === 'number' && value <= maximum)) {
    return `a number, at most ${maximum}`;
  }
  if (max_length !== undefined && !(typeof value === 'string' && [...value].length <= max_length)) {
    return `a text of at most ${max_length} characters`;
  }
  if (max_items !== undefined && !(Array.isArray(value) && value.length <= max_items)) {
    return `a list of at most ${max_items} items`;
  }
  if (prefix !== undefined && !(typeof value === 'string' && staysUnder(prefix, value))) {
    return `a text that begins with ${JSON.stringify(prefix)} and does not climb out of it`;
  }
  return undefined;
}

/** `files/../secrets` begins with `files/`, and every system that resolves it ends up elsewhere. */
function staysUnder(prefix: string, value: string): boolean {
  if (!value.startsWith(prefix)) return false;
  if (!prefix.includes('/')) return true;
  return !value
    .replaceAll(/%2e/gi, '.')
    .replaceAll(/%(?:2f|5c)/gi, '/')
    .split(/[/\\?#]/)
    .some((segment) => segment === '.' || segment === '..');
}
