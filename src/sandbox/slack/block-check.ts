import { z } from 'zod';
import { Block, type Choice, type InteractiveElement, interactiveElements, optionsOf } from './block-kit.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';

/** What Slack writes into `response_metadata.messages`, without the `[ERROR] ` before it. */
export type SchemaProblem = string;

export type Checked<T> = { ok: true; value: T } | { ok: false; problems: SchemaProblem[] };

/** Zod's issues in Slack's words, each with the JSON pointer of the place. */
export function inSlackWords(error: z.ZodError, root: string, input: unknown): SchemaProblem[] {
  return error.issues.flatMap((issue) => problemsOf(issue, root, input));
}

type Issue = z.core.$ZodIssue;

function problemsOf(issue: Issue, root: string, input: unknown): SchemaProblem[] {
  const pointer = [root, ...issue.path.map(String)].join('/');
  const at = (text: string, where = pointer) => `${text} [json-pointer:${where}]`;
  const parent = pointer.slice(0, pointer.lastIndexOf('/'));
  const field = String(issue.path.at(-1) ?? '');
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => at(`invalid additional property: ${key}`));
    case 'too_big':
      return issue.origin === 'string'
        ? [at(`must be less than ${Number(issue.maximum) + 1} characters`)]
        : issue.origin === 'array'
          ? [at(`no more than ${issue.maximum} items allowed`)]
          : [at(`must be less than ${Number(issue.maximum) + 1}`)];
    case 'too_small':
      return issue.origin === 'string'
        ? [at(`must be more than ${Number(issue.minimum) - 1} characters`)]
        : issue.origin === 'array'
          ? [at(`must provide at least ${issue.minimum} items`)]
          : [at(`must be at least ${issue.minimum}`)];
    case 'invalid_type':
      return valueAt(input, issue.path) === undefined
        ? [at(`missing required field: ${field}`, parent)]
        : [at(`must provide a value of type ${issue.expected}`)];
    case 'invalid_union': {
      const type = valueAt(input, issue.path);
      return issue.errors.length === 0
        ? [
            type === undefined
              ? at(`missing required field: ${field}`, parent)
              : at(`unsupported type: ${String(type)}`),
          ]
        : [at('failed to match all allowed schemas')];
    }
    default:
      return [at(issue.message)];
  }
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

export type Surface = 'message' | 'modal' | 'home';

/**
 * A surface's blocks as Slack would keep them: every limit held, ids given where the app left them out, and `emoji: true`
 * where a plain_text says nothing (so `:tada:` in it does become a picture, as in Slack).
 */
export function checkBlocks(input: unknown, surface: Surface, newId: () => string): Checked<Block[]> {
  const most = surface === 'message' ? LIMITS.messageBlocks : LIMITS.viewBlocks;
  const root = surface === 'message' ? '/blocks' : '/view/blocks';
  const parsed = z.array(Block).max(most).safeParse(input);
  if (!parsed.success) return { ok: false, problems: inSlackWords(parsed.error, root, input) };
  const problems = parsed.data.flatMap((candidate, index) => [
    ...foreignToSurface(candidate, surface, `${root}/${index}`),
    ...repeatedActionIds(candidate, `${root}/${index}`),
    ...badChoices(candidate, `${root}/${index}`),
  ]);
  problems.push(...repeatedBlockIds(parsed.data, root), ...tooMuchMarkdown(parsed.data, root));
  if (problems.length > 0) return { ok: false, problems };
  return { ok: true, value: parsed.data.map((candidate) => asStored(candidate, newId)) };
}

function foreignToSurface(candidate: Block, surface: Surface, at: string): SchemaProblem[] {
  return candidate.type === 'markdown' && surface !== 'message'
    ? [`unsupported type: markdown [json-pointer:${at}/type]`]
    : [];
}

function repeatedActionIds(candidate: Block, at: string): SchemaProblem[] {
  const ids = interactiveElements(candidate).flatMap((element) => element.action_id ?? []);
  return repeated(ids).map((twice) => `action_id ${twice} is not unique in its block [json-pointer:${at}]`);
}

function repeatedBlockIds(blocks: Block[], at: string): SchemaProblem[] {
  const ids = blocks.flatMap((candidate) => candidate.block_id ?? []);
  return repeated(ids).map((twice) => `block_id ${twice} is not unique [json-pointer:${at}]`);
}

function repeated(values: string[]): string[] {
  return [...new Set(values.filter((value, index) => values.indexOf(value) !== index))];
}

function tooMuchMarkdown(blocks: Block[], at: string): SchemaProblem[] {
  const length = blocks.reduce(
    (sum, candidate) => sum + (candidate.type === 'markdown' ? candidate.text.length : 0),
    0,
  );
  return length > LIMITS.markdownText
    ? [`must be less than ${LIMITS.markdownText + 1} characters in all markdown blocks [json-pointer:${at}]`]
    : [];
}

/** What a schema alone cannot say: select sources, option values told apart, and initial options that exist. */
function badChoices(candidate: Block, at: string): SchemaProblem[] {
  return interactiveElements(candidate).flatMap((element) => {
    const problems: SchemaProblem[] = [];
    if (element.type === 'static_select' || element.type === 'multi_static_select') {
      if ((element.options === undefined) === (element.option_groups === undefined)) {
        problems.push(`must provide options or option_groups, not both [json-pointer:${at}]`);
      }
    }
    if (
      element.type === 'plain_text_input' &&
      (element.min_length ?? 0) > (element.max_length ?? LIMITS.inputLength)
    ) {
      problems.push(`min_length must not be more than max_length [json-pointer:${at}]`);
    }
    const values = optionsOf(element).map((choice) => choice.value);
    problems.push(
      ...repeated(values).map((value) => `duplicate option value: ${value} [json-pointer:${at}]`),
    );
    for (const initial of initialOptionsOf(element)) {
      if (!values.includes(initial.value))
        problems.push(`initial option is not an option [json-pointer:${at}]`);
    }
    return problems;
  });
}

function initialOptionsOf(element: InteractiveElement): Choice[] {
  if ('initial_options' in element) return element.initial_options ?? [];
  if ('initial_option' in element && element.initial_option !== undefined) return [element.initial_option];
  return [];
}

function asStored(candidate: Block, newId: () => string): Block {
  const copy = withTextDefaults(structuredClone(candidate));
  copy.block_id ??= newId();
  for (const element of interactiveElements(copy)) element.action_id ??= newId();
  return copy;
}

function withTextDefaults<T>(value: T): T {
  if (Array.isArray(value)) {
    for (const item of value) withTextDefaults(item);
  } else if (typeof value === 'object' && value !== null) {
    const node = value as Record<string, unknown>;
    if (node.type === 'plain_text') node.emoji ??= true;
    if (node.type === 'mrkdwn') node.verbatim ??= false;
    for (const item of Object.values(node)) withTextDefaults(item);
  }
  return value;
}
