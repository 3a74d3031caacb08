import type { StoredGrant } from '../core/grant/grant-store.ts';
import type { TenantId } from '../core/identity/ids.ts';
import { isOpen, revokeButton, usesText } from './grant-card.ts';
import { patternText } from './grant-terms.ts';
import { type Answer, type Subcommand, WRITES_COMMAND } from './subcommand.ts';
import { asWritten, code, counted, type KnownBlock, localTime, mention, ourSection } from './wording.ts';

export interface GrantListParts {
  readonly openGrants: (tenant: TenantId, limit: number) => Promise<readonly StoredGrant[]>;
  readonly isGenuine: (grant: StoredGrant) => boolean;
  /** Redis's clock, ms. */
  readonly now: () => Promise<number>;
}

const MOST = 100;
/** Well below what Slack takes in one message; what does not fit is said, and has its own card in the channel. */
const LIST_BYTES = 9_000;
const LIST_BLOCKS = 46;

/** `/agent-writes grants`: what runs without asking, in full, each with a button that ends it. */
export function grantsSubcommand(parts: GrantListParts): Subcommand {
  return {
    name: 'grants',
    help: `\`${WRITES_COMMAND} grants\` lists what people allowed ahead, what is left of it, and lets you revoke it.`,
    async run({ tenants, team }): Promise<Answer> {
      const [now, ...lists] = await Promise.all([
        parts.now(),
        ...tenants.map((tenant) => parts.openGrants(tenant, MOST)),
      ]);
      const open = lists.flat().filter((grant) => parts.isGenuine(grant) && isOpen({ grant, now }));
      if (open.length === 0)
        return { text: 'No grant is open here: every call that needs people asks them.' };
      return listed(open, team);
    },
  };
}

function listed(open: readonly StoredGrant[], team: string): Answer {
  const text = `${counted(open.length, 'open grant')}: what runs without asking people`;
  const blocks: KnownBlock[] = [ourSection(`*${text}*, the first to end first:`)];
  let shown = 0;
  for (const grant of open) {
    const own = blocksOf(grant, team);
    const size = Buffer.byteLength(JSON.stringify([...blocks, ...own]));
    if (size > LIST_BYTES || blocks.length + own.length > LIST_BLOCKS) break;
    blocks.push(...own);
    shown += 1;
  }
  if (shown < open.length) {
    const more = open.length - shown;
    blocks.push(
      ourSection(
        `*${counted(more, 'more grant')} not shown here*, because the list would be too long. ${more === 1 ? 'Its card is' : 'Their cards are'} in the channel, each with a Revoke button; revoke some of these and type this again to see the rest.`,
      ),
    );
  }
  return { text, blocks };
}

function blocksOf(grant: StoredGrant, team: string): KnownBlock[] {
  const { statement } = grant.signed;
  const principal = statement.principal.startsWith('slack:')
    ? mention(statement.principal as Parameters<typeof mention>[0], team)
    : code(statement.principal);
  const where = `${code(statement.tool)} for ${code(statement.tenant)} in ${code(statement.environment)}, by ${code(statement.agent)} on behalf of ${principal}`;
  return [
    ourSection(
      `${where}\nGiven by ${mention(statement.person, team)}; *${usesText({ grant })}*; ends ${localTime(statement.expires)}`,
    ),
    asWritten(patternText(statement.pattern)),
    { type: 'actions', elements: [revokeButton(statement.grant)] },
  ];
}
