import { z } from 'zod';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { defineTool, type ToolRun } from '../../src/core/tool/tool.ts';

/** What must never come out at a wrong place, each unlike everything else in the world. */
export const PLANTED = {
  /** Of an argument that its tool declares secret: for the tool, and the agent that gave it. */
  declared: 'declared-4f7a92c81d0b',
  /** Of arguments like any others: for people as well. */
  argument: 'argument-7c1e6b3fa052',
  edited: 'edited-c90d2e4871bb',
  reason: 'agentsreason-51fe0a77c2d9',
  idempotencyKey: 'idempotency-88ab61d3fe20',
  /** What a tool says of its own accord: for the agent, and people where it failed. */
  answered: 'answered-2d90fb6c4e17',
  /** Handed out by the credential providers: for the tool alone. */
  writeToken: 'write/token+b7e3"5f19ü=4a',
  readToken: 'read/token+0c6d"82b1ü=7e',
} as const;

/** What the tools were given, to see that the secrets did reach them. */
export const received: unknown[] = [];

/** As an HTTP client's error has it: everything that was sent is in it. */
function httpError(message: string, token: string): Error {
  const cause = new AggregateError([new Error(`Bearer ${token}`)], `first try: ${token}`);
  const config = {
    headers: { authorization: `Bearer ${token}` },
    data: `token=${encodeURIComponent(token)}`,
  };
  const error = Object.assign(new Error(message, { cause }), { config, request: config });
  error.name = `HttpError ${token}`;
  return error;
}

function answer(args: unknown, { credentials }: ToolRun): Record<string, unknown> {
  const token = credentials.get('token');
  received.push({ args, token });
  return {
    said: PLANTED.answered,
    headers: { authorization: `Basic ${Buffer.from(`bot:${token}`).toString('base64')}` },
    body: JSON.stringify(JSON.stringify({ token })),
    url: `https://api.example/?token=${encodeURIComponent(token)}`,
    [token]: token,
  };
}

export const tools = [
  defineTool({
    name: 'vault.put',
    description: 'Stores a password.',
    input: z.strictObject({
      name: z.string(),
      password: z.string().refine((text) => text !== `${PLANTED.declared}-refused`, {
        error: ({ input }) => `"${String(input)}" was used before`,
      }),
    }),
    redact: ['password'],
    preview: (args, { credentials }) =>
      `${args.name} becomes ${args.password}, by ${credentials.get('token')}`,
    execute: (args, run) => {
      const answered = answer(args, run);
      if (args.name === 'taken') throw new ToolRejected('taken', `${args.password} is in use`);
      return { ...answered, stored: args.password };
    },
  }),
  defineTool({
    name: 'note.write',
    description: 'Writes a note.',
    input: z.strictObject({ text: z.string(), fate: z.enum(['done', 'rejected', 'thrown', 'no_error']) }),
    preview: ({ text }, { credentials }) => {
      if (text.includes('preview fails')) throw httpError(text, credentials.get('token'));
      return `writes ${text} as ${credentials.get('token')}`;
    },
    execute: (args, run) => {
      const answered = answer(args, run);
      const token = run.credentials.get('token');
      const words = `${PLANTED.answered} ${args.text}: authorization: Bearer ${token}`;
      if (args.fate === 'rejected') throw new ToolRejected('refused_there', `${'x'.repeat(380)} ${words}`);
      if (args.fate === 'thrown') throw httpError(words, token);
      if (args.fate === 'no_error') throw words;
      return answered;
    },
  }),
  defineTool({
    name: 'note.read',
    description: 'Reads a note.',
    effect: 'read',
    input: z.strictObject({ text: z.string(), fails: z.boolean() }),
    execute: (args, run) => {
      const answered = answer(args, run);
      if (args.fails) throw httpError(args.text, run.credentials.get('token'));
      return answered;
    },
  }),
];
