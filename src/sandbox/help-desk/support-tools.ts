import { z } from 'zod';
import { ToolRejected } from '../../core/execution/tool-rejected.ts';
import { defineTool, type ToolDefinition, type ToolRun } from '../../core/tool/tool.ts';
import { NewEmail, NewTicket, Ticket } from './ticket.ts';

const TicketId = z.string().regex(/^[A-Z0-9-]{1,40}$/, 'expected an id such as ACME-1007');

/**
 * What the support agent may ask for. No argument says whose tickets: the help desk knows that from the token, which is
 * fetched for the tenant and environment of the call.
 * @param helpDeskUrl `http://127.0.0.1:4000`, no slash at its end.
 */
export function supportTools(helpDeskUrl: string): ToolDefinition[] {
  const helpDesk = new HelpDeskClient(helpDeskUrl);
  return [
    defineTool({
      name: 'ticket.read',
      description: 'Reads one ticket, or lists all that are open or closed. Give either id or status.',
      effect: 'read',
      input: z
        .strictObject({ id: TicketId.optional(), status: z.enum(['open', 'closed']).optional() })
        .refine(
          ({ id, status }) => (id === undefined) !== (status === undefined),
          'give either id or status',
        ),
      execute: ({ id, status }, run) =>
        helpDesk.get(id === undefined ? `/tickets?status=${status}` : `/tickets/${id}`, run),
    }),
    defineTool({
      name: 'kb.read',
      description: 'Finds up to three articles of the knowledge base that speak of the question.',
      effect: 'read',
      input: z.strictObject({ question: z.string().min(1).max(300) }),
      execute: ({ question }, run) => helpDesk.get(`/kb?q=${encodeURIComponent(question)}`, run),
    }),
    defineTool({
      name: 'ticket.close',
      description: 'Closes one ticket. For a duplicate, duplicate_of names the ticket that stays open.',
      effect: 'write',
      // It can be opened again; what the customer has read by then stays read, so the policy asks people all the same.
      irreversible: false,
      idempotent: true,
      input: z.strictObject({
        id: TicketId,
        resolution: z.enum(['duplicate', 'resolved', 'spam']),
        duplicate_of: TicketId.optional(),
        note: z.string().min(1).max(1_000).optional(),
      }),
      preview: async ({ id, resolution, duplicate_of, note }, run) => {
        const ticket = await helpDesk.ticket(id, run);
        const original = duplicate_of === undefined ? undefined : await helpDesk.ticket(duplicate_of, run);
        return closingInWords(ticket, { resolution, original, note });
      },
      execute: ({ id, resolution, duplicate_of, note }, run) =>
        helpDesk.post(`/tickets/${id}/close`, { resolution, duplicateOf: duplicate_of, note }, run),
    }),
    defineTool({
      name: 'ticket.create',
      description: 'Opens a ticket in the name of a customer.',
      effect: 'write',
      irreversible: false,
      idempotent: true,
      input: NewTicket,
      execute: (ticket, run) => helpDesk.post('/tickets', ticket, run),
    }),
    defineTool({
      name: 'email.send',
      description: 'Sends an email to one customer.',
      effect: 'write',
      irreversible: true,
      idempotent: true,
      input: NewEmail,
      preview: async ({ to, subject, body }, run) => {
        const open = Tickets.parse(await helpDesk.get('/tickets?status=open', run));
        const theirs = open.filter(({ customer }) => customer === to).map(({ id }) => id);
        const known =
          theirs.length === 0 ? 'no open ticket' : `open tickets ${theirs.slice(0, 5).join(', ')}`;
        return `To: ${to} (${known} from this address)\nSubject: ${subject}\n\n${body}`;
      },
      execute: (email, run) => helpDesk.post('/emails', email, run),
    }),
  ];
}

const Tickets = z.array(Ticket);

/** Before and after: what the one who approves would otherwise look up in the help desk. */
function closingInWords(
  ticket: Ticket,
  {
    resolution,
    original,
    note,
  }: { resolution: string; original: Ticket | undefined; note: string | undefined },
): string {
  const lines = [
    nameOf(ticket),
    ticket.status === 'closed'
      ? `  status: closed already (${ticket.closed?.resolution ?? 'no resolution'}); nothing would change`
      : `  status: open → closed (${resolution})`,
  ];
  if (note !== undefined) lines.push(`  note: (none) → ${note}`);
  if (original === undefined) return lines.join('\n');
  lines.push('Duplicate of:', nameOf(original), `  status: ${original.status}, stays so`);
  if (original.customer !== ticket.customer)
    lines.push('  NOTE: the two tickets are from different customers');
  if (original.id === ticket.id) lines.push('  NOTE: this is the very same ticket');
  return lines.join('\n');
}

function nameOf({ id, subject, customer }: Ticket): string {
  return `${id}: ${subject.slice(0, 80)}\n  from: ${customer}`;
}

const Refused = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

class HelpDeskClient {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  get(path: string, run: ToolRun): Promise<unknown> {
    return this.#ask(path, {}, run);
  }

  async ticket(id: string, run: ToolRun): Promise<Ticket> {
    return Ticket.parse(await this.get(`/tickets/${id}`, run));
  }

  post(path: string, body: unknown, run: ToolRun): Promise<unknown> {
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': run.idempotencyKey };
    return this.#ask(path, { method: 'POST', body: JSON.stringify(body), headers }, run);
  }

  async #ask(path: string, init: RequestInit, run: ToolRun): Promise<unknown> {
    const headers = { ...init.headers, Authorization: `Bearer ${run.credentials.get('token')}` };
    const response = await fetch(`${this.#url}${path}`, {
      ...init,
      headers,
      signal: run.signal,
      redirect: 'error',
    }).catch(neverLeft);
    const answer: unknown = await response.json();
    if (response.ok) return answer;
    const refused = Refused.safeParse(answer);
    // With a 5xx it may have written before it broke; what is not the help desk's own answer says nothing either.
    if (response.status >= 500 || !refused.success)
      throw new Error(`the help desk answered ${response.status}`);
    const { code, message } = refused.data.error;
    throw new ToolRejected(code, `${message} (${response.status})`);
  }
}

/** Nobody listens: no byte of the call has arrived anywhere. Any other broken connection leaves that open. */
function neverLeft(error: unknown): never {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED') {
    throw new ToolRejected('help_desk_down', 'The help desk does not run.', { cause: error });
  }
  throw error;
}
