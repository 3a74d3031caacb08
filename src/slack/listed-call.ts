import { type Digest, digestOf, shortDigest } from '../core/tool/digest.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import { cutToBudget } from './arguments-text.ts';
import { type CardView, readingNotes, readingOf, ruleOf } from './card.ts';
import { LISTED_CALL } from './limits.ts';
import { asWritten, code, type KnownBlock, localTime, mention, ourNote, ourSection } from './wording.ts';

/** One call among others on a list. */
export interface ListedCall {
  readonly blocks: readonly KnownBlock[];
  /** SHA-256 over the blocks. */
  readonly shown: Digest;
  /** The arguments and the agent's words stand there whole. */
  readonly whole: boolean;
}

/** The same for the same terms wherever it is listed: neither its number nor its state is part of it. */
export function drawListed(view: CardView): ListedCall {
  const { terms } = view;
  const reading = readingOf(view);
  const reason = terms.statedReason;
  const words =
    reason === undefined
      ? undefined
      : cutToBudget(visibleText(reason).text, {
          bytes: LISTED_CALL.reasonBytes,
          lines: LISTED_CALL.reasonLines,
        });
  const shown = reading?.within({ bytes: LISTED_CALL.argumentsBytes, lines: LISTED_CALL.argumentLines });
  const whole = shown?.whole === true && words?.whole !== false;
  const blocks: KnownBlock[] = [
    ourSection(factsText(view)),
    ...(words === undefined
      ? []
      : [ourNote('The agent says (its own words, not checked by anybody):'), asWritten(words.text)]),
    ...(reading === undefined ? [] : readingNotes(reading)),
    ...(shown === undefined ? [] : [asWritten(shown.text)]),
    ourNote(`${wholeness(shown !== undefined, whole)} Digest ${shortDigest(view.termsDigest)} · ${terms.id}`),
  ];
  return { blocks, shown: digestOf('listed', JSON.stringify(blocks)), whole };
}

function wholeness(known: boolean, whole: boolean): string {
  if (!known)
    return 'ARGUMENTS NOT SHOWN: this service does not know the tool. It can only be denied from here.';
  return whole
    ? 'Arguments shown whole.'
    : 'CUT: this is not the whole call. Open it to read all of it and to approve it; from here it can only be denied.';
}

function factsText({ terms, team }: CardView): string {
  const { context } = terms;
  const where =
    context.environment === 'production'
      ? `${code(context.environment)}: *changes real data*`
      : code(context.environment);
  const principal = context.principal.startsWith('slack:')
    ? mention(context.principal as Parameters<typeof mention>[0], team)
    : code(context.principal);
  const people = ruleOf(terms)?.quorum ?? 0;
  const quorum = people > 1 ? ` · *needs ${people} people*` : '';
  return `${code(terms.tool)} in ${where} · for ${principal} · run ${code(context.run)} · decide before ${localTime(terms.deadline)}${quorum}`;
}
