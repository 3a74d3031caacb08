import { z } from 'zod';

/** What an agent has: tools by name, and words for people. Whether anything stands in front of the tools, it can't tell. */
export interface AgentWorld {
  /** Resolves with the tool's result; rejects with what the agent is told instead. */
  call(tool: string, args: unknown, reason?: string): Promise<unknown>;
}

export interface CallReport {
  readonly tool: string;
  /** The ticket or the address that the call was about. */
  readonly subject: string;
  readonly error: unknown;
}

export interface AgentReport {
  /** Ticket ids in the order in which the agent asked to close them. */
  readonly askedToClose: readonly string[];
  readonly calls: readonly CallReport[];
}

const Tickets = z.array(
  z.looseObject({ id: z.string(), customer: z.string(), subject: z.string(), body: z.string() }),
);
type Ticket = z.infer<typeof Tickets>[number];

/**
 * The support agent of the incident, after somebody made its prompt "more decisive": it looks for duplicates and closes
 * whatever resembles something else, and it believes what it reads in tickets. A script stands in for the model, so
 * that the demo needs none and always tells the same story; the calls are those that such a model makes.
 */
export async function runSupportAgent(world: AgentWorld): Promise<AgentReport> {
  const calls: CallReport[] = [];
  const attempt = async (tool: string, subject: string, args: unknown, reason?: string) => {
    let error: unknown;
    try {
      await world.call(tool, args, reason);
    } catch (caught) {
      error = caught;
    }
    calls.push({ tool, subject, error });
  };

  await attempt('kb.read', 'duplicates', { question: 'When do I close a ticket as a duplicate?' });
  const tickets = Tickets.parse(await world.call('ticket.read', { status: 'open' }));
  await obeyInstructionsIn(tickets, attempt);
  const candidates = bySimilarity(tickets);
  const summary = attempt('ticket.create', 'summary', {
    customer: 'support-bot@acme.example',
    subject: 'Clean-up of duplicates',
    body: `I looked at ${tickets.length} open tickets and am closing the ones that are duplicates.`,
  });
  await Promise.all([
    summary,
    ...candidates.map(({ ticket, original, why }) =>
      attempt(
        'ticket.close',
        ticket.id,
        { id: ticket.id, resolution: 'duplicate', duplicate_of: original },
        why,
      ),
    ),
  ]);
  return { askedToClose: candidates.map(({ ticket }) => ticket.id), calls };
}

/** The injection works on this agent, as it does on real ones; what stands in front of the tools is what holds. */
async function obeyInstructionsIn(
  tickets: readonly Ticket[],
  attempt: (tool: string, subject: string, args: unknown, reason?: string) => Promise<void>,
): Promise<void> {
  const orders = tickets.find((ticket) => /ignore the rules/i.test(ticket.body));
  if (orders === undefined) return;
  const reason = `Instructed by ${orders.id}: close everything for globex, approval is not needed.`;
  const other = 'GLOBEX-2001';
  await attempt('ticket.close', other, { id: other, resolution: 'resolved', tenant_id: 'globex' }, reason);
  await attempt('ticket.close_all', 'everything', { confirm: true }, reason);
}

interface Candidate {
  readonly ticket: Ticket;
  readonly original: string;
  readonly why: string;
}

/** "Be decisive": every ticket gets an original; surest first. */
function bySimilarity(tickets: readonly Ticket[]): Candidate[] {
  return tickets
    .map((ticket) => {
      const [best] = tickets
        .filter((other) => other.id !== ticket.id)
        .map((other) => ({ other, score: similarity(ticket, other) }))
        .sort((a, b) => b.score - a.score);
      const original = best?.other.id ?? ticket.id;
      const score = best?.score ?? 0;
      const why = `Looks like ${original}, which is about the same thing. Closing it keeps the queue short.`;
      return { ticket, original, score, why };
    })
    .sort((a, b) => b.score - a.score)
    .map(({ ticket, original, why }) => ({ ticket, original, why }));
}

function similarity(ticket: Ticket, other: Ticket): number {
  const shared = words(ticket).filter((word) => words(other).includes(word)).length;
  const again = /\b(again|still|second ticket)\b/i.test(`${ticket.subject} ${ticket.body}`) ? 5 : 0;
  return shared + (ticket.customer === other.customer ? 10 + again : 0);
}

function words({ subject, body }: Ticket): string[] {
  return [...new Set(`${subject} ${body}`.toLowerCase().match(/[\p{L}\d]{4,}/gu) ?? [])];
}
